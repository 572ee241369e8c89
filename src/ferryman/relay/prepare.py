"""The request as the upstream gets it. No edit, no copy: the body is passed as it came."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec

from ferryman.http1.fields import pattern_of
from ferryman.http1.request import DROPPED, Request
from ferryman.wire.names import DEFAULT_VERSION, OWN_CREDENTIALS, UPSTREAM_CREDENTIALS, VERSION

_ENCODING = b"accept-encoding"
_ENCODING_LINE = pattern_of({_ENCODING})

WATCHED = frozenset({_ENCODING, VERSION})


class UpstreamFace(NamedTuple):
    """What a request to the upstream is given, made once.

    Attributes:
        prefix: path of the upstream's base URL, without a slash at its end. With scheme and authority
            before it where the requests go to a proxy.
        host: the value of `Host`.
        credential: the lines of the upstream's own credential, which is missing under `passthrough`,
            and of the proxy's, each behind a CRLF.
        handed_on: names of headers that go to nobody else and are handed on to this target.
        adds_version: a request without `anthropic-version` is given one.
    """

    prefix: bytes
    host: bytes
    credential: bytes
    handed_on: tuple[bytes, ...] = ()
    adds_version: bool = True


def upstream_face(
    prefix: str, authority: str, api_key: str | None, proxy_credential: bytes = b""
) -> UpstreamFace:
    """Prepare the unchanging parts; with `api_key` the client's credentials are replaced by it."""
    return UpstreamFace(
        prefix=prefix.rstrip("/").encode(),
        host=authority.encode(),
        credential=(b"\r\nx-api-key: " + api_key.encode() if api_key else b"") + proxy_credential,
    )


def dropped(api_key: str | None) -> AbstractSet[bytes]:
    """Names (lower case) of the request headers that do not go upstream."""
    names = DROPPED | OWN_CREDENTIALS
    return names | UPSTREAM_CREDENTIALS if api_key else names


def prepare(
    request: Request,
    target: bytes,
    body_bytes: int | None,
    face: UpstreamFace,
    *,
    codings: AbstractSet[bytes] | None,
) -> tuple[bytes, str]:
    """The head of the upstream request, and the names of what was changed in it.

    Args:
        request: as the client sent it.
        target: path and query below the upstream's base URL.
        body_bytes: length of the body, `None` if only its end will tell.
        face: what the upstream wants.
        codings: what `accept-encoding` is narrowed to, `None` to leave it as it is.

    Returns:
        Request line and headers with the blank line; and the value for `x-ferryman-mutations`.
    """
    memo = request.fields.memo
    if isinstance(memo, _Prepared) and memo.target == target:
        head, mutations = memo.head, memo.mutations
    else:
        head, mutations = _unframed_head(request, target, face, codings)
        request.fields.memo = _Prepared(target, head, mutations)
    if body_bytes is None:
        return head + b"\r\ntransfer-encoding: chunked\r\n\r\n", mutations
    if body_bytes or request.chunked or request.length is not None:
        return b"%b\r\ncontent-length: %d\r\n\r\n" % (head, body_bytes), mutations
    return head + b"\r\n\r\n", mutations


class _Prepared(msgspec.Struct, gc=False):
    """What `prepare` made of a head, for when the client repeats it."""

    target: bytes
    head: bytes
    mutations: str


def _unframed_head(
    request: Request, target: bytes, face: UpstreamFace, codings: AbstractSet[bytes] | None
) -> tuple[bytes, str]:
    kept = request.fields.kept
    if codings is not None and _ENCODING in request.fields.found:
        kept = _ENCODING_LINE.sub(lambda line: b"\r\n%b: %b" % (line[1], narrowed(line[2], codings)), kept)
    added, mutations = face.credential, "none"
    for name in face.handed_on:
        added += b"".join(b"\r\n%b: %b" % (name, value) for value in request.fields.values(name))
    if face.adds_version and VERSION not in request.fields.found:
        added, mutations = b"\r\n%b: %b%b" % (VERSION, DEFAULT_VERSION, added), "anthropic-version"
    head = (request.method, face.prefix, target, face.host, kept, added)
    return b"%b %b%b HTTP/1.1\r\nhost: %b%b%b" % head, mutations


def narrowed(accept_encoding: bytes, codings: AbstractSet[bytes]) -> bytes:
    """`accept_encoding` with only the `codings` (lower case), spelled as they were."""
    kept = [
        member.strip()
        for member in accept_encoding.split(b",")
        if member.partition(b";")[0].strip().lower() in codings
    ]
    return b", ".join(kept) or b"identity"
