"""The simulator as a Starlette application: routes, and which decision comes after which.

A request is taken in whole (`intake`), controls in the settings and the header are obeyed first, then
the route's own rules, in the order of the real API: credential, version, body. Each answer is a
`Script`, performed by `delivery`.
"""

from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ferryman.simulator import control as controls
from ferryman.simulator.answer import compose
from ferryman.simulator.call import Call
from ferryman.simulator.delivery import deliver
from ferryman.simulator.errors import ApiError
from ferryman.simulator.events import message_events
from ferryman.simulator.headers import (
    accepts_gzip,
    api_version,
    authenticate,
    decoded_body,
    has_beta,
    standard_headers,
    too_large,
)
from ferryman.simulator.ids import stable_id
from ferryman.simulator.intake import Receive, Scope, Send, take
from ferryman.simulator.models import check_model, model_info, model_page
from ferryman.simulator.recorder import Recorder
from ferryman.simulator.script import (
    Envelope,
    Script,
    body_script,
    error_script,
    json_script,
    stream_script,
)
from ferryman.simulator.settings import SimulatorSettings
from ferryman.simulator.tokens import prompt_tokens
from ferryman.simulator.validate import (
    MessageRequest,
    read_count_request,
    read_json,
    read_message_request,
)

OWN_PATHS = "/simulator/"
_CALL = "ferryman.simulator.call"  # the key in the ASGI scope


def create_app(settings: SimulatorSettings) -> Starlette:
    """Make a simulator of its own; its recorder is `app.state.recorder`.

    Raises:
        ValueError: When `settings.always` is no valid control text.
    """
    try:
        controls.parse(settings.always)
    except ApiError as error:
        raise ValueError(f"SimulatorSettings.always: {error}") from error
    simulator = _Simulator(settings)
    app = Starlette(
        routes=[
            Route("/v1/messages", simulator.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", simulator.count_tokens, methods=["POST"]),
            Route("/v1/models", simulator.models, methods=["GET"]),
            Route("/v1/models/{model_id}", simulator.model, methods=["GET"]),
            Route("/api/hello", simulator.hello, methods=["GET"]),
            Route("/simulator/requests", simulator.recorded, methods=["GET", "DELETE"]),
        ],
        middleware=[Middleware(_Intake, simulator=simulator)],
        exception_handlers={ApiError: simulator.failed, HTTPException: simulator.refused},
    )
    app.router.redirect_slashes = False  # the API does not redirect
    app.state.recorder = simulator.recorder
    return app


class _Simulator:
    """The endpoints, around the settings and the recorder of one app."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.recorder = Recorder(
            settings.recorded_requests, settings.recorded_bytes, settings.recorded_response_bytes
        )

    async def messages(self, request: Request) -> Response:
        """`POST /v1/messages`."""
        call = _call(request)
        payload, version = self._payload(call)
        asked = read_message_request(payload, version, has_beta=has_beta(call))
        self._heed_model(call, asked)
        message = compose(asked, call.control, call.digest, call.headers)
        envelope = self._envelope(call, prompt_tokens(asked).input_tokens, message.output_tokens)
        if not asked.stream:
            return _Performance(json_script(envelope, message.as_json()), call)
        events = message_events(message, call.control)
        return _Performance(
            stream_script(envelope, events, ApiError(529, "Overloaded"), _request_id(call)), call
        )

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`."""
        call = _call(request)
        payload, version = self._payload(call)
        asked = read_count_request(payload, version, has_beta=has_beta(call))
        self._heed_model(call, asked)
        return self._json(call, {"input_tokens": prompt_tokens(asked).total})

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        call = self._known_caller(request)
        return self._json(call, model_page(self.settings.models, request.query_params))

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`."""
        call = self._known_caller(request)
        name = request.path_params["model_id"]
        check_model(name, self.settings.models, is_strict=True)
        return self._json(call, model_info(name))

    async def hello(self, request: Request) -> Response:
        """`GET|HEAD /api/hello`, which Claude Code asks for at start, without a credential."""
        return self._json(_call(request), {"message": "hello"})

    async def recorded(self, request: Request) -> Response:
        """`GET|DELETE /simulator/requests`: what was received, or to forget it."""
        if request.method == "DELETE":
            self.recorder.clear()
            return Response(status_code=204)
        connections = {"open": self.recorder.connections_open, "total": self.recorder.connections_total}
        requests = [recorded.as_json() for recorded in self.recorder.requests]
        return JSONResponse({"connections": connections, "requests": requests})

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer with an error that one of the endpoints raised."""
        call = _call(request)
        return _Performance(self.error_script(call, cast("ApiError", error)), call)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer with an error of the router's: no such path, or not with this method."""
        status, headers = cast("HTTPException", error).status_code, cast("HTTPException", error).headers
        message = "Method Not Allowed" if status == 405 else "Not found"
        refusal = ApiError(status, message, headers=headers)
        if _CALL not in request.scope:  # below OWN_PATHS
            return JSONResponse(refusal.body("req_none"), status, headers)
        return await self.failed(request, refusal)

    def error_script(self, call: Call, error: ApiError) -> Script:
        """The answer for an error."""
        return error_script(self._envelope(call), error, _request_id(call))

    def first_script(self, call: Call) -> Script | None:
        """What settings and header alone decide, for any path: None lets the route decide.

        Raises:
            ApiError: 400 for a bad control, the error it asks for, or 413.
        """
        self._heed(call)
        if call.is_too_large:
            raise too_large()
        if call.control.echo:
            content_type = call.header("content-type") or "application/octet-stream"
            return body_script(self._envelope(call), call.body, content_type)
        return None

    def _heed(self, call: Call, model_control: str = "") -> None:
        wishes = call.header(controls.HEADER, separator=";")
        control = controls.parse(self.settings.always, model_control, wishes)
        if control.times is not None and call.repetition > control.times:
            control = control.without_faults()
        call.control = control
        if control.status is not None:
            raise ApiError(control.status, f"The simulator was asked to answer with {control.status}.")

    def _heed_model(self, call: Call, asked: MessageRequest) -> None:
        check_model(asked.model, self.settings.models, is_strict=self.settings.strict_models)
        if asked.control:
            self._heed(call, asked.control)

    def _known_caller(self, request: Request) -> Call:
        call = _call(request)
        authenticate(call, self.settings)
        api_version(call)
        return call

    def _payload(self, call: Call) -> tuple[dict[str, Any], str]:
        authenticate(call, self.settings)
        version = api_version(call)
        return read_json(decoded_body(call, self.settings.max_body_bytes)), version

    def _json(self, call: Call, value: object) -> Response:
        return _Performance(json_script(self._envelope(call), value), call)

    def _envelope(self, call: Call, input_tokens: int = 0, output_tokens: int = 0) -> Envelope:
        headers = standard_headers(self.settings, _request_id(call), input_tokens, output_tokens)
        return Envelope(headers, call.control, accepts_gzip(call))


class _Intake:
    """The outermost layer: everything but the simulator's own paths is taken in and recorded here."""

    def __init__(self, app: ASGIApp, simulator: _Simulator) -> None:
        self.app = app
        self.simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN_PATHS):
            await self.app(scope, receive, send)
            return
        call = await take(scope, receive, self.simulator.recorder, self.simulator.settings.max_body_bytes)
        if call is None:
            return
        scope[_CALL] = call
        try:
            script = self.simulator.first_script(call)
        except ApiError as error:
            script = self.simulator.error_script(call, error)
        if script is None:
            await self.app(scope, receive, send)
        else:
            await deliver(script, call, receive, send)


class _Performance(Response):
    """A response that performs a script instead of sending a body at once."""

    def __init__(self, script: Script, call: Call) -> None:
        self.script = script
        self.call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await deliver(self.script, self.call, receive, send)


def _call(request: Request) -> Call:
    call: Call = request.scope[_CALL]
    return call


def _request_id(call: Call) -> str:
    return stable_id("req", call.digest, f"{call.method} {call.target.decode('latin-1')}")
