"""The request as the upstream gets it. No edit, no copy: a body without our field is passed as it came."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from ferryman.http1.client import Body
from ferryman.http1.fields import pattern_of, without
from ferryman.http1.message import Fields, Request
from ferryman.http1.request import DROPPED
from ferryman.relay.values import Route
from ferryman.wire.names import (
    BETA,
    CHARGES,
    CLIENT_ADDRESS,
    CODING,
    DEFAULT_VERSION,
    OWN_CREDENTIALS,
    UPSTREAM_CREDENTIALS,
    VERSION,
)
from ferryman.wire.splice import Splice, named

_ENCODING = b"accept-encoding"
_ENCODING_LINE = pattern_of({_ENCODING})
_BETA_LINE = pattern_of({BETA})
_CODING = frozenset({CODING})

WATCHED = frozenset({_ENCODING, VERSION})


class Prepared:
    """What `prepare` made of a head, for when the client repeats it to the upstream with this `face`."""

    __slots__ = ("face", "head", "mutations", "target")

    def __init__(self, target: bytes, face: UpstreamFace, head: bytes, mutations: str) -> None:
        self.target = target
        self.face = face
        self.head = head
        self.mutations = mutations


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
        strips_betas: matches the whole names of betas that the upstream does not know, `None` for none.
        client_address: tells it from a connection's peer and a request's headers, for a target that is told
            it, and is given the client's own `Host`.
    """

    prefix: bytes
    host: bytes
    credential: bytes
    handed_on: tuple[bytes, ...] = ()
    adds_version: bool = True
    strips_betas: re.Pattern[str] | None = None
    client_address: Callable[[str, Fields], str | None] | None = None


def upstream_face(
    prefix: str, authority: str, api_key: str | None, proxy_credential: bytes = b""
) -> UpstreamFace:
    """Prepare the unchanging parts; with `api_key` the client's credentials are replaced by it."""
    return UpstreamFace(
        prefix=prefix.rstrip("/").encode(),
        host=authority.encode(),
        credential=(b"\r\nx-api-key: " + api_key.encode() if api_key else b"") + proxy_credential,
    )


def dropped(*, credentials: bool) -> AbstractSet[bytes]:
    """Names (lower case) of the request headers that do not go upstream; with or without `credentials`."""
    names = DROPPED | OWN_CREDENTIALS | CHARGES | {CLIENT_ADDRESS}
    return names | UPSTREAM_CREDENTIALS if credentials else names


def prepare(
    request: Request,
    route: Route,
    body: Body | None,
    face: UpstreamFace,
    *,
    peer: str = "",
    edits: Sequence[Splice] = (),
) -> tuple[bytes, str]:
    """The head of the upstream request, and the names of what was changed in it.

    Args:
        request: as the client sent it.
        route: where it goes.
        body: all of it, `None` if it goes on as it comes.
        face: what the upstream wants.
        peer: the other end of the client's connection.
        edits: those that were made to the body, which has no content coding any more if there are any.

    Returns:
        Request line and headers with the blank line; and the value for `x-ferryman-mutations`.
    """
    body_bytes = request.length if body is None else len(body)
    memo, target = request.fields.memo, route.target
    if isinstance(memo, Prepared) and memo.face is face and memo.target == target:
        head, mutations = memo.head, memo.mutations
    else:
        head, mutations = _unframed_head(request, route, face, peer)
        request.fields.memo = Prepared(target, face, head, mutations)
    if edits:
        head = without(head, _CODING)
        mutations = ", ".join(([] if mutations == "none" else [mutations]) + named(edits))
    if body_bytes is None:
        return head + b"\r\ntransfer-encoding: chunked\r\n\r\n", mutations
    if body_bytes or request.chunked or request.length is not None:
        return b"%b\r\ncontent-length: %d\r\n\r\n" % (head, body_bytes), mutations
    return head + b"\r\n\r\n", mutations


def _unframed_head(request: Request, route: Route, face: UpstreamFace, peer: str) -> tuple[bytes, str]:
    kept, codings = request.fields.kept, route.codings
    if codings is not None and _ENCODING in request.fields.found:
        kept = _ENCODING_LINE.sub(lambda line: b"\r\n%b: %b" % (line[1], narrowed(line[2], codings)), kept)
    added, mutations = face.credential, "none"
    if face.strips_betas is not None:
        told, kept = kept, without_betas(kept, face.strips_betas)
        mutations = "none" if told == kept else BETA.decode()
    for name in face.handed_on:
        added += b"".join(b"\r\n%b: %b" % (name, value) for value in request.fields.values(name))
    if face.adds_version and VERSION not in request.fields.found:
        added = b"\r\n%b: %b%b" % (VERSION, DEFAULT_VERSION, added)
        mutations = VERSION.decode() if mutations == "none" else f"{VERSION.decode()}, {mutations}"
    host = face.host
    if face.client_address is not None:
        host = request.fields.found.get(b"host", host)
        address = face.client_address(peer, request.fields) or ""
        added = b"%b\r\n%b: %b" % (added, CLIENT_ADDRESS, address.encode())
    head = (request.method, face.prefix, route.target, host, kept, added)
    return b"%b %b%b HTTP/1.1\r\nhost: %b%b%b" % head, mutations


def narrowed(accept_encoding: bytes, codings: AbstractSet[bytes]) -> bytes:
    """`accept_encoding` with only the `codings` (lower case), spelled as they were."""
    kept = [
        member.strip()
        for member in accept_encoding.split(b",")
        if member.partition(b";")[0].strip().lower() in codings
    ]
    return b", ".join(kept) or b"identity"


def without_betas(kept: bytes, strips: re.Pattern[str]) -> bytes:
    """The header lines `kept` without the betas that `strips` matches; others stay as they were spelled."""

    def told(line: re.Match[bytes]) -> bytes:
        members = line[2].split(b",")
        known = [one for one in members if not strips.fullmatch(one.strip().decode("latin-1"))]
        if len(known) == len(members):
            return line[0]
        return b"\r\n%b: %b" % (line[1], b",".join(known).strip()) if known else b""

    return _BETA_LINE.sub(told, kept)
