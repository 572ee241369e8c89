"""The request as the upstream gets it. No edit, no copy: the body is passed as it came."""

from __future__ import annotations

from typing import NamedTuple

from ferryman.http1.headers import FRAMING, HOP_BY_HOP, nominated
from ferryman.http1.request import Request
from ferryman.wire.names import DEFAULT_VERSION, OWN_CREDENTIALS, UPSTREAM_CREDENTIALS, VERSION

DECODABLE = frozenset({b"gzip", b"identity"})
"""Content codings that the meter can read."""

_ENCODING = b"accept-encoding"
_DROPPED = HOP_BY_HOP | FRAMING | OWN_CREDENTIALS | {b"host", b"expect"}


class UpstreamFace(NamedTuple):
    """What a request to the upstream is given, made once.

    Attributes:
        prefix: path of the upstream's base URL, without a slash at its end.
        host_line: the `Host` header with its CRLF.
        credential_lines: the upstream's own credential with its CRLF, empty under `passthrough`.
        dropped: names (lower case) that do not go upstream.
    """

    prefix: bytes
    host_line: bytes
    credential_lines: bytes
    dropped: frozenset[bytes]


def upstream_face(prefix: str, authority: str, api_key: str | None) -> UpstreamFace:
    """Prepare the unchanging parts; with `api_key` the client's credentials are replaced by it."""
    return UpstreamFace(
        prefix=prefix.rstrip("/").encode(),
        host_line=b"host: %b\r\n" % authority.encode(),
        credential_lines=b"x-api-key: %b\r\n" % api_key.encode() if api_key else b"",
        dropped=_DROPPED | UPSTREAM_CREDENTIALS if api_key else _DROPPED,
    )


def prepare(
    request: Request, target: bytes, body_bytes: int, face: UpstreamFace, *, metered: bool
) -> tuple[bytes, str]:
    """The head of the upstream request, and the names of what was changed in it.

    Args:
        request: as the client sent it.
        target: path and query below the upstream's base URL.
        body_bytes: length of the body.
        face: what the upstream wants.
        metered: narrow `accept-encoding` to what the meter can read.

    Returns:
        Request line and headers with the blank line; and the value for `x-ferryman-mutations`.
    """
    headers = request.headers
    dropped = face.dropped
    if request.nominates:
        dropped = dropped | nominated(headers)
    pieces = [request.method, b" ", face.prefix, target, b" HTTP/1.1\r\n", face.host_line]
    versioned = framed = False
    for lower, name, value in headers:
        if lower in dropped:
            framed = framed or lower in FRAMING
        elif lower == _ENCODING and metered:
            pieces += (name, b": ", narrowed(value), b"\r\n")
        else:
            versioned = versioned or lower == VERSION
            pieces += (name, b": ", value, b"\r\n")
    mutations = "none"
    if not versioned:
        pieces.append(b"anthropic-version: %b\r\n" % DEFAULT_VERSION)
        mutations = "anthropic-version"
    pieces.append(face.credential_lines)
    if body_bytes or framed:
        pieces.append(b"content-length: %d\r\n" % body_bytes)
    pieces.append(b"\r\n")
    return b"".join(pieces), mutations


def narrowed(accept_encoding: bytes) -> bytes:
    """`accept_encoding` with only the codings that the meter can read, spelled as they were."""
    kept = [
        member.strip()
        for member in accept_encoding.split(b",")
        if member.partition(b";")[0].strip().lower() in DECODABLE
    ]
    return b", ".join(kept) or b"identity"
