"""The head of a request, and the checks that llhttp leaves to its users."""

from __future__ import annotations

from ferryman.errors import ExpectationFailed, HeadTooLarge, InvalidRequest, VersionNotSupported
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader, Fields, list_tokens

MAX_HEADERS = 200
"""More lines than any client sends: Claude Code sends about 25; haproxy's default is 101."""

DROPPED = NOT_PASSED_ON | {b"host", b"expect"}
"""What a request says to us alone, whatever it asks for."""

_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})


class Request:
    """The head of a request as it came, and its body as far as it has come.

    `length` is the value of `Content-Length`, `None` if the body is chunked or absent.
    """

    __slots__ = (
        "body",
        "chunked",
        "complete",
        "expects_continue",
        "fields",
        "http10",
        "length",
        "method",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.http10 = False
        self.length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.body: list[bytes] = []  # filled only while the request waits for its turn
        self.complete = False


def read_head(head: bytes, reader: FieldReader) -> Request:
    """The request whose head is `head`, which llhttp has taken and which ends with the blank line.

    Raises:
        InvalidRequest: what llhttp leaves to its users: not exactly one `Host` (RFC 9112, section
            3.2), or a transfer coding other than a single `chunked`, which is what nginx takes too.
        HeadTooLarge: more than `MAX_HEADERS` lines.
        ExpectationFailed, VersionNotSupported: as their names say.
    """
    end = head.index(b"\r\n")
    parts = head[:end].split(b" ")
    if len(parts) != 3:
        raise InvalidRequest("The request line must have a method, a target and a version, one space apart.")
    request = Request(parts[0], parts[1], reader.read(head[end:-4]))
    if parts[2] == b"HTTP/1.0":
        request.http10 = True
    elif parts[2] != b"HTTP/1.1":
        raise VersionNotSupported("Only HTTP/1.1 and HTTP/1.0 are served here.")
    if request.fields.count > MAX_HEADERS:
        raise HeadTooLarge(f"The request has more than {MAX_HEADERS} headers.")
    _check_fields(request)
    return request


def _check_fields(request: Request) -> None:
    found = request.fields.found
    if request.fields.repeated and (twice := sorted(request.fields.repeated & _ONCE)):
        raise InvalidRequest(f"`{twice[0].decode().title()}` may stand only once.")
    if b"host" not in found and not request.http10:
        raise InvalidRequest("A request needs a `Host` header.")
    if (length := found.get(b"content-length")) is not None:
        request.length = int(length)
    if (coding := found.get(b"transfer-encoding")) is not None:
        if coding.lower() != b"chunked" or request.http10:
            raise InvalidRequest("`Transfer-Encoding` can only be `chunked`, and not in HTTP/1.0.")
        request.chunked = True
    if (expectation := found.get(b"expect")) is not None:
        if list_tokens([expectation]) != {b"100-continue"}:
            raise ExpectationFailed("`Expect` can only be `100-continue`.")
        request.expects_continue = not request.http10


def head_too_large(head_bytes: int) -> HeadTooLarge:
    """The error for a head of more than `head_bytes` bytes."""
    return HeadTooLarge(
        f"The request line and headers are larger than {head_bytes} bytes (`max_header_bytes`)."
    )
