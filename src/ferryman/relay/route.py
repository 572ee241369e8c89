"""Which requests are relayed and where to, which are answered here, and which are refused."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from ferryman.errors import InvalidRequest, MethodNotAllowed, NotFound
from ferryman.http1.message import Request
from ferryman.http1.request import is_host
from ferryman.relay.values import Route
from ferryman.wire.owned import CHANGE, CLOSED, Resource, resource_of
from ferryman.wire.refers import refers
from ferryman.wire.shown import tells
from ferryman.wording import without_keys

OWN_PATHS = frozenset(
    {
        b"/",
        b"/api/hello",
        b"/health",
        b"/health/liveliness",
        b"/health/liveness",
        b"/health/readiness",
        b"/version",
    }
)
"""Answered by the worker itself. `liveliness` is LiteLLM's spelling; Claude Code asks `/api/hello`."""

_CONTROL = re.compile(
    rb"/(?:metrics|openapi\.json|ui|audit|refresh|global/spend|api/oauth/usage"
    rb"|(?:key|user|team|customer|end_user|budget|tag|spend|global/spend|ui|control|v2/key)/.*)",
    re.DOTALL,
)
"""Answered by the control plane. Most are LiteLLM's paths; one is Claude Code's, and one argo-proxy's."""

DECODABLE = frozenset({b"gzip", b"identity"})
"""Content codings that the meter can read."""

MAX_SHOWN_BYTES = 200
"""Of a path."""

KEPT_ROUTES: Final = 64
MAX_KEPT_BYTES: Final = 100
"""Of targets whose route is remembered; clients have a few, such as `/v1/messages?beta=true`."""

CHAT = b"/v1/chat/completions"
"""OpenAI's format; what its clients put into the query is not for Anthropic."""

_IDENTITY = frozenset({b"identity"})
_BATCHES = b"/v1/messages/batches"
_RESULTS = re.compile(rb"/v1/messages/batches/([^/]+)/results/?")
_FREE = re.compile(rb"/v1/(?:files|skills|messages/batches|models)(?:/|$)")
"""Anthropic charges nothing for storing and looking; what else is posted may start work that costs."""

_FREE_METHODS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
_AMBIGUOUS = re.compile(rb"//|/\.{1,2}(?:/|$)|%2f|%5c|\\|%00|%(?![0-9a-f]{2})", re.IGNORECASE)
_BASE_TWICE = re.compile(rb"/v1/(?:messages/)?v1/")
_ENCODED_DOTS = re.compile(rb"%2e", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"(http|https)://([^/?#]+)", re.IGNORECASE)
_OWN_PORTS = {b"http": b":80", b"https": b":443"}


def route(request: Request) -> Route:
    """Decide where `request` goes.

    Raises:
        InvalidRequest: a target that two servers could read as two different paths.
        NotFound: neither a relayed prefix nor an own path.
        MethodNotAllowed: TRACE.
    """
    target = request.target
    if request.method == b"POST" and len(target) <= MAX_KEPT_BYTES and (usual := _usual(target)) is not None:
        return usual
    path, mark, query = target.partition(b"?")
    if request.method == b"TRACE":  # its answer would show the client what goes upstream
        raise MethodNotAllowed("TRACE is not served here.")
    if absolute := _ABSOLUTE.match(path):  # RFC 9112, section 3.2.2
        path = path[absolute.end() :] or (b"" if mark else b"/")
        if not _agrees(absolute, request):
            raise InvalidRequest("The host in the target is not the one in `Host`.")
    if not path.startswith(b"/") or b"#" in request.target:
        raise InvalidRequest(f"`{shown(request.target)}` is not a path this gateway can read.")
    if _AMBIGUOUS.search(_ENCODED_DOTS.sub(b".", path)):
        raise InvalidRequest(
            f"`{shown(path)}` can be read as more than one path; leave out `//`, dot segments, "
            "backslashes, encoded slashes and incomplete escapes."
        )
    if path in OWN_PATHS and request.method in {b"GET", b"HEAD"}:
        return Route(shown(path), b"")
    if _CONTROL.fullmatch(path):
        return Route(shown(path), path + mark + query, whole=True, control=True)
    return relayed(path, mark + query, request.method)


def relayed(path: bytes, query: bytes, method: bytes) -> Route:
    """The route of a `path` that has one reading, with its `query` (`?` included).

    Raises:
        NotFound: it has none of the relayed prefixes, or the client's base URL has one of them too many.
    """
    if path.startswith(b"/anthropic/"):
        upstream_path = path[len(b"/anthropic") :]
    elif path.startswith(b"/v1/"):
        upstream_path = path
    else:
        raise NotFound(
            f"`{shown(path)}` is not served here. Anthropic's API is under `/anthropic/` and `/v1/`: "
            "try `/anthropic/v1/messages` or `/v1/messages`."
        )
    plain = unquote_to_bytes(upstream_path) if b"%" in upstream_path else upstream_path
    if twice := _BASE_TWICE.match(plain):
        extra = twice[0][: -len(b"/v1/")].decode()
        raise NotFound(
            f"`{shown(path)}` is not served here: clients add the path of an endpoint themselves, so leave "
            f"`{extra}` out of the base URL (`ANTHROPIC_BASE_URL`, `base_url`)."
        )
    if plain == CHAT and method == b"POST" and path.startswith(b"/v1/"):
        return _CHAT._replace(path=shown(path))
    resource = resource_of(method, upstream_path)
    route = Route(shown(path), upstream_path + query, kind=_kind(plain, method, resource), resource=resource)
    if method == b"POST":
        if plain == b"/v1/messages":
            return route._replace(
                reads_call=True, whole=True, metered=True, codings=DECODABLE, kind="messages"
            )
        if plain == b"/v1/messages/count_tokens":
            return route._replace(reads_call=True, whole=True, kind="count_tokens")
    if plain.startswith(_BATCHES) and plain[len(_BATCHES) :][:1] in {b"", b"/"}:
        return _batch_route(route, plain, method)
    return route


def _batch_route(route: Route, plain: bytes, method: bytes) -> Route:
    """The route of a request about batches: its answer is read, or edited, and so it has no coding."""
    if method == b"HEAD":
        return route
    what = "other"
    if method == b"POST" and plain.rstrip(b"/") == _BATCHES:
        return route._replace(whole=True, codings=_IDENTITY, batch="create", kind="batch")
    if method == b"GET" and _RESULTS.fullmatch(plain):
        what = "results"
    return route._replace(codings=_IDENTITY, batch=what)


def _kind(plain: bytes, method: bytes, resource: Resource | None) -> str:
    """What a request may cost whose body nobody looks into, by its path without escapes."""
    if resource is not None and resource.kind in CLOSED:
        return "closed"
    return "free" if method in _FREE_METHODS or _FREE.match(plain) else "unmetered"


def with_reading(route: Route, method: bytes, *, strict: bool) -> Route:
    """`route` such that what has to be read of a request and its answer can be.

    Args:
        route: of a request with a virtual key.
        method: of the request.
        strict: its caller does not see all.

    Raises:
        MethodNotAllowed: it changes a whole collection, or asks how long a list is.
    """
    resource = route.resource
    verb = None if resource is None or resource.id is not None else resource.verb  # of a collection
    if strict and verb is not None and (verb == CHANGE or method == b"HEAD"):
        # HEAD tells how long a list is before it is cut.
        raise MethodNotAllowed("A collection takes GET and POST only.")
    codings = route.codings
    if resource is not None and tells(resource):
        codings = DECODABLE if codings is None else codings & DECODABLE
    return route._replace(whole=route.whole or (strict and refers(resource)), codings=codings)


def is_off(route: Route) -> bool:
    """Whether `use_native_anthropic: false` turns `route` off: `/v1/messages` and what is below it."""
    is_native = (route.reads_call and not route.chat) or bool(route.batch)
    return is_native and not route.path.startswith("/anthropic/")


def messages_off(route: Route) -> NotFound:
    """The error for a route that is turned off."""
    return NotFound(
        f"`{route.path}` is turned off here (`use_native_anthropic: false`). To turn it on, start Ferryman "
        "with `--native-anthropic`, set `USE_NATIVE_ANTHROPIC=true`, or put `use_native_anthropic: true` "
        "into the config file."
    )


def batch_id_of(target: bytes) -> str:
    """The id of the batch whose results are at `target`; empty if they are not."""
    path = target.partition(b"?")[0]
    found = _RESULTS.fullmatch(unquote_to_bytes(path) if b"%" in path else path)
    return "" if found is None else found[1].decode("utf-8", "replace")


def _agrees(absolute: re.Match[bytes], request: Request) -> bool:
    """Whether the authority of an absolute target is a host, and the one in `Host`, as haproxy wants it."""
    own_port = _OWN_PORTS[absolute[1].lower()]
    authority = absolute[2].lower()
    host = request.fields.found.get(b"host", authority).lower()
    return is_host(authority) and authority.removesuffix(own_port) == host.removesuffix(own_port)


def shown(path: bytes) -> str:
    """`path` for people and records: not endless, without query, host and what stands before it, and keys."""
    path = path.partition(b"?")[0].partition(b"#")[0]
    if absolute := _ABSOLUTE.match(path):
        path = path[absolute.end() :]
    return without_keys(path[:MAX_SHOWN_BYTES].decode("ascii", "backslashreplace"))


_CHAT = Route(
    "",
    b"/v1/messages",
    reads_call=True,
    whole=True,
    metered=True,
    codings=_IDENTITY,
    kind="messages",
    chat=True,
)

_USUAL = frozenset(
    {
        b"/v1/messages",
        b"/v1/messages/count_tokens",
        b"/anthropic/v1/messages",
        b"/anthropic/v1/messages/count_tokens",
    }
)


@lru_cache(KEPT_ROUTES)
def _usual(target: bytes) -> Route | None:
    """The route of a POST, if it is a usual one; `None` for a target to be looked at closely."""
    path, mark, query = target.partition(b"?")
    return relayed(path, mark + query, b"POST") if path in _USUAL and b"#" not in query else None
