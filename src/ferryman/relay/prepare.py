"""The request as the upstream gets it. No edit, no copy: the body is passed as it came."""

from __future__ import annotations

from typing import NamedTuple

from ferryman.http1.fields import FRAMING, HOP_BY_HOP, drop_named
from ferryman.http1.request import Request
from ferryman.wire.names import DEFAULT_VERSION, OWN_CREDENTIALS, UPSTREAM_CREDENTIALS, VERSION

DECODABLE = frozenset({b"gzip", b"identity"})
"""Content codings that the meter can read."""

_ENCODING = b"accept-encoding"
_DROPPED = HOP_BY_HOP | FRAMING | OWN_CREDENTIALS | {b"host", b"expect"}

WATCHED = _DROPPED | UPSTREAM_CREDENTIALS | {_ENCODING, VERSION}


class UpstreamFace(NamedTuple):
    """What a request to the upstream is given, made once.

    Attributes:
        prefix: path of the upstream's base URL, without a slash at its end.
        version_and_host: the end of the request line, and the `Host` header.
        credential: the upstream's own credential behind a CRLF, empty under `passthrough`.
        dropped: names (lower case) that do not go upstream.
    """

    prefix: bytes
    version_and_host: bytes
    credential: bytes
    dropped: frozenset[bytes]


def upstream_face(prefix: str, authority: str, api_key: str | None) -> UpstreamFace:
    """Prepare the unchanging parts; with `api_key` the client's credentials are replaced by it."""
    return UpstreamFace(
        prefix=prefix.rstrip("/").encode(),
        version_and_host=b" HTTP/1.1\r\nhost: %b\r\n" % authority.encode(),
        credential=b"\r\nx-api-key: %b" % api_key.encode() if api_key else b"",
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
    fields = request.fields
    lines = fields.lines.copy()
    versioned = False
    for index, name, value in reversed(fields.marked):
        if name in face.dropped:
            del lines[index]
        elif name == VERSION:
            versioned = True
        elif name == _ENCODING and metered:
            lines[index] = lines[index][: len(_ENCODING)] + b": " + narrowed(value)
    if nominated := fields.nominated():
        lines = drop_named(lines, nominated)
    mutations = "none"
    if not versioned:
        lines.append(b"anthropic-version: " + DEFAULT_VERSION)
        mutations = "anthropic-version"
    head = b"%b %b%b%b%b%b" % (
        request.method,
        face.prefix,
        target,
        face.version_and_host,
        b"\r\n".join(lines),
        face.credential if lines else face.credential[2:],
    )
    if body_bytes or request.chunked or request.length is not None:
        return b"%b\r\ncontent-length: %d\r\n\r\n" % (head, body_bytes), mutations
    return head + b"\r\n\r\n", mutations


def narrowed(accept_encoding: bytes) -> bytes:
    """`accept_encoding` with only the codings that the meter can read, spelled as they were."""
    kept = [
        member.strip()
        for member in accept_encoding.split(b",")
        if member.partition(b";")[0].strip().lower() in DECODABLE
    ]
    return b", ".join(kept) or b"identity"
