"""The web application of the control plane. Routers of its parts are put together here."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ferryman.clock import Clock
from ferryman.control.callers import (
    ANYBODY,
    MASTER,
    REFRESH_PATH,
    Caller,
    check_role,
    is_console,
    shown_path,
)
from ferryman.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    RelayError,
    Unauthorized,
    error_body,
    error_headers,
)
from ferryman.ids import Ids
from ferryman.wire.names import CLIENT_ADDRESS

log = structlog.get_logger("ferryman.control")

CREDENTIALS = ("x-ferryman-key", "x-litellm-api-key", "x-api-key")
"""Headers with a key, beside `Authorization`."""

MAX_CREDENTIALS = 4
"""Of one request that are looked up; the four headers have one each."""


def create_app(routes: Iterable[BaseRoute], clock: Clock) -> Starlette:
    """The application without its gate; errors in Anthropic's shape.

    Args:
        routes: of all parts, with their whole paths.
        clock: for the ids of errors.
    """
    errors = Errors(clock)
    handlers: dict[type[Exception] | int, Callable[[Request, Exception], Awaitable[Response]]] = {
        HTTPException: errors.http,
        RelayError: errors.own,
        Exception: errors.unforeseen,
    }
    return Starlette(routes=list(routes), exception_handlers=handlers)


CallerOf = Callable[[bytes], Awaitable[Caller | None]]
"""Whose key that is; `None` if it is no virtual key, or one that is not good now."""


class Gate:
    """Lets requests from beyond this machine's operator in with the master key, or as far as a key's role.

    The console's paths pass: it has a sign-in of its own.
    `client` of those that a worker has passed on is the client that called the worker, with port 0. The
    application finds the `Caller` in the scope's `state`, as `caller`.
    """

    def __init__(
        self, app: ASGIApp, master_key: str | None, clock: Clock, caller_of: CallerOf | None = None
    ) -> None:
        """Stand before `app`; without a `master_key` nobody is let in."""
        self._app = app
        self._key = master_key.encode() if master_key is not None else None
        self._caller_of = caller_of
        self._errors = Errors(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401 or 403."""
        scope = introduced(scope)
        if scope["type"] == "http" and not is_console(scope["path"]):
            connection = HTTPConnection(scope)
            try:
                caller = await self._caller(connection)
                # Not `connection.url`, in which the `Host` that a client sends has a part.
                check_role(caller, scope["method"], scope["path"])
            except RelayError as error:
                await self._errors.answer(error)(scope, receive, send)
                return
            scope["state"] = {**scope.get("state", {}), "caller": caller}
        await self._app(scope, receive, send)

    async def _caller(self, connection: HTTPConnection) -> Caller:
        asked = connection.scope["path"]
        path = shown_path(asked)
        key = self._key
        if key is None:
            if asked == REFRESH_PATH:
                return ANYBODY
            raise Unauthorized(
                f"`{path}` is Ferryman's own and needs the master key, and none is set; set "
                "`master_key` (FERRYMAN_MASTER_KEY), or run `ferryman status` on the gateway's machine."
            )
        given = credentials(connection)
        if any(hmac.compare_digest(one, key) for one in given):
            return MASTER
        for one in dict.fromkeys(given[:MAX_CREDENTIALS]):
            if self._caller_of is not None and (caller := await self._caller_of(one)) is not None:
                return caller
        what = "no key came with it" if not given else "the key that came with it is another one"
        raise Unauthorized(
            f"`{path}` is Ferryman's own and needs the master key, and {what}; send it as "
            "`Authorization: Bearer`, `x-api-key` or `x-ferryman-key`."
        )


def introduced(scope: Scope) -> Scope:
    """`scope` with the client that a worker tells, who calls over a Unix socket, and without its header.

    Nobody else is believed: on `admin_port` the client is who has connected.
    """
    if scope["type"] != "http":
        return scope
    told = [value for name, value in scope["headers"] if name == CLIENT_ADDRESS]
    client = scope["client"]
    if client is None and told:
        client = (told[-1].decode("latin-1"), 0)
    headers = [header for header in scope["headers"] if header[0] != CLIENT_ADDRESS]
    return {**scope, "headers": headers, "client": client}


def credentials(connection: HTTPConnection) -> list[bytes]:
    """The keys that came with a request."""
    headers = connection.headers
    found = [value for name in CREDENTIALS for value in headers.getlist(name)]
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    return [value.encode("latin-1") for value in found if value]


class Errors:
    """Answers errors in Anthropic's shape."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = Ids()

    def answer(self, error: RelayError, request_id: str | None = None) -> Response:
        """What a client is told of `error`."""
        request_id = request_id or self._ids.next(self._clock.now())
        response = Response(error_body(error, request_id), error.status)
        for name, value in [*error_headers(error), (b"request-id", request_id.encode())]:
            response.headers[name.decode()] = value.decode()
        return response

    async def own(self, _request: Request, error: Exception) -> Response:
        """An error of Ferryman's own."""
        assert isinstance(error, RelayError)  # noqa: S101  # it is registered for these
        return self.answer(error)

    async def http(self, request: Request, error: Exception) -> Response:
        """One of Starlette's: no such path, or no such method on it."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        path = shown_path(request.url.path)
        if status == 404:
            return self.answer(NotFound(f"`{path}` is not served here, or not built yet."))
        response = self.answer(InvalidRequest(f"`{request.method}` is not for `{path}`."))
        response.status_code = status
        if isinstance(error, HTTPException) and error.headers is not None:
            response.headers.update(error.headers)
        return response

    async def unforeseen(self, request: Request, error: Exception) -> Response:
        """A mistake of ours."""
        request_id = self._ids.next(self._clock.now())
        log.error("answer failed", path=shown_path(request.url.path), request_id=request_id, exc_info=error)
        return self.answer(InternalError("Ferryman failed at this request; its log says where."), request_id)
