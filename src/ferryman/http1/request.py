"""The head of a request, and the checks that llhttp leaves to its users."""

from __future__ import annotations

import re
from typing import Final

from ferryman.errors import ExpectationFailed, HeadTooLarge, InvalidRequest, VersionNotSupported
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader, list_tokens
from ferryman.http1.message import Request

MAX_HEADERS = 200
"""More lines than any client sends: Claude Code sends about 25; haproxy's default is 101."""

DROPPED = NOT_PASSED_ON | {b"host", b"expect"}
"""What a request says to us alone, whatever it asks for."""

_MAX_LENGTH_DIGITS: Final = 19  # of 2**63, as much as a file can have

_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})

# RFC 3986, section 3.2.2, without user and password (RFC 9110, section 4.2.4), and without empty labels,
# which nginx refuses too.
_HOST = re.compile(
    rb"(?!\.)(?!.*\.\.)(?:\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[\w.~%!$&'()*+,;=-]+)(?::[0-9]*)?"
)


def read_head(head: bytes, reader: FieldReader) -> Request:
    """The request whose head is `head`, which llhttp has taken and which ends with the blank line.

    Raises:
        InvalidRequest: what llhttp leaves to its users: not exactly one `Host` that is one (RFC 9112,
            section 3.2), or a transfer coding other than a single `chunked`, which is what nginx takes too.
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
    if request.fields.block.count(b"\r\n") > MAX_HEADERS:
        raise HeadTooLarge(f"The request has more than {MAX_HEADERS} headers.")
    _check_fields(request)
    return request


def _check_fields(request: Request) -> None:
    found = request.fields.found
    if request.fields.repeated and (twice := sorted(_ONCE.intersection(request.fields.repeated))):
        raise InvalidRequest(f"`{twice[0].decode().title()}` may stand only once.")
    _check_host(found.get(b"host"), request)
    if (length := found.get(b"content-length")) is not None:
        if len(length) > _MAX_LENGTH_DIGITS:
            raise InvalidRequest("`Content-Length` has more digits than any length needs.")
        request.length = int(length)
    if (coding := found.get(b"transfer-encoding")) is not None:
        if coding.lower() != b"chunked" or request.http10:
            raise InvalidRequest("`Transfer-Encoding` can only be `chunked`, and not in HTTP/1.0.")
        request.chunked = True
    if (expectation := found.get(b"expect")) is not None:
        if list_tokens([expectation]) != {b"100-continue"}:
            raise ExpectationFailed("`Expect` can only be `100-continue`.")
        request.expects_continue = not request.http10


def _check_host(host: bytes | None, request: Request) -> None:
    if host is None:
        if not request.http10:
            raise InvalidRequest("A request needs a `Host` header.")
    elif not is_host(host):
        raise InvalidRequest("`Host` is not a host name or address, with or without a port.")


def is_host(text: bytes) -> bool:
    """Whether `text` is a host and perhaps a port, and nothing else."""
    return _HOST.fullmatch(text) is not None


def head_too_large(head_bytes: int) -> HeadTooLarge:
    """The error for a head of more than `head_bytes` bytes."""
    return HeadTooLarge(
        f"The request line and headers are larger than {head_bytes} bytes (`max_header_bytes`)."
    )


class RepeatedHead:
    """Recognises the head that a client has sent before on its connection, and that llhttp has taken.

    Clients send one head again and again, and only the length of the body changes. Two comparisons
    tell that, at a fifteenth of the cost of reading the head anew.
    """

    __slots__ = ("_after", "_before", "_request")

    def __init__(self, head: bytes, request: Request) -> None:
        """Remember `head`, which was read as `request`."""
        start = head.lower().find(b"\r\ncontent-length:")
        if start < 0:
            start = end = len(head)
        else:
            start += len(b"\r\ncontent-length:")
            end = head.index(b"\r\n", start)
        self._before = head[:start]
        self._after = head[end:]
        self._request = request

    def read(self, head: bytes) -> Request | None:
        """The request whose head is `head`, `None` if it is another one.

        Whoever got a request may take `head` for checked: only the digits of a length are new in it.
        """
        before, after = self._before, self._after
        if not (head.startswith(before) and head.endswith(after)):
            return None
        request = self._request
        number = head[len(before) : len(head) - len(after)].strip(b" \t")
        length: int | None = None
        if request.length is not None:
            if not number.isdigit() or len(number) > _MAX_LENGTH_DIGITS:
                return None
            length = int(number)
        elif number:
            return None
        return Request(
            request.method,
            request.target,
            request.fields,
            http10=request.http10,
            length=length,
            chunked=request.chunked,
            expects_continue=request.expects_continue,
        )
