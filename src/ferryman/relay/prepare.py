"""The request as the upstream gets it. No edit, no copy: the body is passed as it came."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from ferryman.http1.request import DROPPED, Request
from ferryman.wire.names import DEFAULT_VERSION, OWN_CREDENTIALS, UPSTREAM_CREDENTIALS, VERSION

DECODABLE = frozenset({b"gzip", b"identity"})
"""Content codings that the meter can read."""

_ENCODING = b"accept-encoding"
_DEFAULT_VERSION = b"\r\n%b: %b" % (VERSION, DEFAULT_VERSION)

WATCHED = frozenset({_ENCODING, VERSION})


class UpstreamFace(NamedTuple):
    """What a request to the upstream is given, made once.

    Attributes:
        prefix: path of the upstream's base URL, without a slash at its end.
        version_and_host: the end of the request line, and the `Host` line without its CRLF.
        credential: the upstream's own credential behind a CRLF, empty under `passthrough`.
    """

    prefix: bytes
    version_and_host: bytes
    credential: bytes


def upstream_face(prefix: str, authority: str, api_key: str | None) -> UpstreamFace:
    """Prepare the unchanging parts; with `api_key` the client's credentials are replaced by it."""
    return UpstreamFace(
        prefix=prefix.rstrip("/").encode(),
        version_and_host=b" HTTP/1.1\r\nhost: " + authority.encode(),
        credential=b"\r\nx-api-key: %b" % api_key.encode() if api_key else b"",
    )


def dropped(api_key: str | None) -> Set[bytes]:
    """Names (lower case) of the request headers that do not go upstream."""
    names = DROPPED | OWN_CREDENTIALS
    return names | UPSTREAM_CREDENTIALS if api_key else names


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
    found = request.fields.found
    kept = request.fields.kept
    if metered and (encoding := found.get(_ENCODING)) is not None:
        kept = kept.replace(encoding, _NARROWED.get(encoding) or narrowed(encoding), 1)
    added, mutations = face.credential, "none"
    if VERSION not in found:
        added, mutations = _DEFAULT_VERSION + added, "anthropic-version"
    if body_bytes or request.chunked or request.length is not None:
        added = b"%b\r\ncontent-length: %d" % (added, body_bytes)
    head = (request.method, face.prefix, target, face.version_and_host, kept, added)
    return b"%b %b%b%b%b%b\r\n\r\n" % head, mutations


def narrowed(accept_encoding: bytes) -> bytes:
    """`accept_encoding` with only the codings that the meter can read, spelled as they were."""
    kept = [
        member.strip()
        for member in accept_encoding.split(b",")
        if member.partition(b";")[0].strip().lower() in DECODABLE
    ]
    return b", ".join(kept) or b"identity"


_NARROWED = {value: narrowed(value) for value in (b"gzip, deflate", b"gzip, deflate, br, zstd")}
"""What the Python SDK and Claude Code send."""
