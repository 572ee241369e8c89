"""The head of a request, and the checks that llhttp leaves to its users."""

from __future__ import annotations

from ferryman.errors import ExpectationFailed, HeadTooLarge, InvalidRequest, VersionNotSupported
from ferryman.http1.headers import Header, list_tokens

MAX_HEADERS = 200
"""More lines than any client sends: Claude Code sends about 25; haproxy's default is 101."""

_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive"})


class Request:
    """The head of a request as it came, and its body as far as it has come."""

    __slots__ = ("body", "complete", "expects_continue", "headers", "http10", "method", "nominates", "target")

    def __init__(self, method: bytes, target: bytes, headers: list[Header]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http10 = False
        self.expects_continue = False
        self.nominates = False  # `Connection` may declare further headers hop-by-hop
        self.body: list[bytes] = []  # filled only while the request waits for its turn
        self.complete = False


def check_head(request: Request, version: str) -> None:
    """Check what llhttp leaves to its users.

    Raises:
        InvalidRequest: not exactly one `Host` (RFC 9112, section 3.2), or a transfer coding other
            than a single `chunked`, which is what nginx takes too.
        ExpectationFailed, VersionNotSupported: as their names say.
    """
    if version == "1.0":
        request.http10 = True
    elif version != "1.1":
        raise VersionNotSupported(f"HTTP/{version} is not served here; use HTTP/1.1.")
    hosts = codings = 0
    for lower, _, value in request.headers:
        if lower == b"host":
            hosts += 1
        elif lower == b"connection":
            request.nominates = request.nominates or value.lower() not in _CONNECTION_OPTIONS
        elif lower == b"transfer-encoding":
            codings += 1
            check_coding(value, codings, request)
        elif lower == b"expect":
            check_expectation(value)
            request.expects_continue = not request.http10
    if hosts > 1 or (hosts == 0 and not request.http10):
        raise InvalidRequest(f"A request needs exactly one `Host` header; this one has {hosts}.")


def check_coding(value: bytes, count: int, request: Request) -> None:
    """Take a single `chunked` and nothing else, as nginx does.

    Raises:
        InvalidRequest: another coding, a second one, or one in HTTP/1.0 (RFC 9112, section 6.1).
    """
    if value.strip().lower() != b"chunked" or count > 1 or request.http10:
        raise InvalidRequest("`Transfer-Encoding` can only be a single `chunked`, and not in HTTP/1.0.")


def check_expectation(value: bytes) -> None:
    """Take `100-continue` and nothing else.

    Raises:
        ExpectationFailed: anything else.
    """
    if list_tokens([value]) != {b"100-continue"}:
        raise ExpectationFailed("`Expect` can only be `100-continue`.")


def check_size(request: Request, head_bytes: int) -> None:
    """Hold the head to its bounds.

    Raises:
        HeadTooLarge: more than `head_bytes` bytes, or more than `MAX_HEADERS` lines.
    """
    if len(request.headers) > MAX_HEADERS:
        raise HeadTooLarge(
            f"The request has {len(request.headers)} headers; at most {MAX_HEADERS} are taken."
        )
    size = len(request.target) + sum(len(name) + len(value) + 4 for _, name, value in request.headers)
    if size > head_bytes:
        raise head_too_large(head_bytes)


def head_too_large(head_bytes: int) -> HeadTooLarge:
    """The error for a head of more than `head_bytes` bytes."""
    return HeadTooLarge(
        f"The request line and headers are larger than {head_bytes} bytes (`max_header_bytes`)."
    )
