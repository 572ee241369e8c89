"""The simulator as a Starlette application: routes, and which decision comes after which.

A request is taken in whole (`intake`), controls in the settings and the header are obeyed first, then
the route's own rules, in the order of the real API: credential, version, body. Each answer is a
`Script`, performed by `delivery`.
"""

from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ferryman.simulator import control as controls
from ferryman.simulator.answer import compose
from ferryman.simulator.batch_api import Batches
from ferryman.simulator.delivery import deliver
from ferryman.simulator.errors import ApiError
from ferryman.simulator.events import message_events
from ferryman.simulator.file_api import Files
from ferryman.simulator.front import CALL, Front, Performance, call_of, request_id
from ferryman.simulator.headers import has_beta
from ferryman.simulator.intake import Receive, Scope, Send, take
from ferryman.simulator.models import argo_list, check_model, model_info, model_page
from ferryman.simulator.own_api import OwnPaths
from ferryman.simulator.script import json_script, stream_script
from ferryman.simulator.settings import SimulatorSettings
from ferryman.simulator.tokens import prompt_tokens
from ferryman.simulator.validate import ARGO_FIELDS, NO_FIELDS, read_count_request, read_message_request

OWN_PATHS = "/simulator/"

ARGO_MODELS = "/api/v1/models/"
"""Where argo-proxy 2.8.9 looks for Argo's list (models.py), without a credential."""


def create_app(settings: SimulatorSettings) -> Starlette:
    """Make a simulator of its own; `app.state` has its `recorder` and its `clock`.

    Raises:
        ValueError: When `settings.always` is no valid control text.
    """
    try:
        controls.parse(settings.always)
    except ApiError as error:
        raise ValueError(f"SimulatorSettings.always: {error}") from error
    front = Front(settings)
    simulator = _Simulator(front)
    app = Starlette(
        routes=[
            Route("/v1/messages", simulator.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", simulator.count_tokens, methods=["POST"]),
            *Batches(front).routes(),
            *Files(front).routes(),
            Route("/v1/models", simulator.models, methods=["GET"]),
            Route(ARGO_MODELS, simulator.argo_models, methods=["GET"]),
            Route("/v1/models/{model_id}", simulator.model, methods=["GET"]),
            Route("/api/hello", simulator.hello, methods=["GET"]),
            *OwnPaths(front).routes(),
        ],
        middleware=[Middleware(_Intake, front=front)],
        exception_handlers={ApiError: simulator.failed, HTTPException: simulator.refused},
    )
    app.router.redirect_slashes = False  # the API does not redirect
    app.state.recorder = front.recorder
    app.state.clock = front.clock
    return app


class _Simulator:
    """The endpoints of messages and models, and what is answered when any endpoint fails."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.settings = front.settings

    async def messages(self, request: Request) -> Response:
        """`POST /v1/messages`."""
        call = call_of(request)
        payload, version = self.front.payload(call)
        more = ARGO_FIELDS if self.settings.profile == "argo" else NO_FIELDS
        asked = read_message_request(payload, version, has_beta=has_beta(call), more=more)
        self.front.heed_model(call, asked)
        message = compose(asked, call.control, call.digest, call.headers)
        envelope = self.front.envelope(call, prompt_tokens(asked).input_tokens, message.output_tokens)
        if not asked.stream:
            return Performance(json_script(envelope, message.as_json()), call)
        events = message_events(message, call.control)
        return Performance(
            stream_script(envelope, events, ApiError(529, "Overloaded"), request_id(call)), call
        )

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`."""
        call = call_of(request)
        payload, version = self.front.payload(call)
        asked = read_count_request(payload, version, has_beta=has_beta(call))
        self.front.heed_model(call, asked)
        return self.front.json(call, {"input_tokens": prompt_tokens(asked).total})

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        call = self.front.known_caller(request)
        if self.settings.profile == "argo":
            return self.front.json(call, argo_list(self.settings.models))
        return self.front.json(call, model_page(self.settings.models, request.query_params))

    async def argo_models(self, request: Request) -> Response:
        """`GET /api/v1/models/`."""
        if self.settings.profile != "argo":
            raise ApiError(404, "Not found")
        return self.front.json(call_of(request), argo_list(self.settings.models))

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`."""
        call = self.front.known_caller(request)
        name = request.path_params["model_id"]
        check_model(name, self.settings.models, is_strict=True)
        return self.front.json(call, model_info(name))

    async def hello(self, request: Request) -> Response:
        """`GET|HEAD /api/hello`, which Claude Code asks for at start, without a credential."""
        return self.front.json(call_of(request), {"message": "hello"})

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer with an error that one of the endpoints raised."""
        if CALL not in request.scope:  # below OWN_PATHS
            refusal = cast("ApiError", error)
            return JSONResponse(refusal.body("req_none"), refusal.status, refusal.headers)
        call = call_of(request)
        return Performance(self.front.error_script(call, cast("ApiError", error)), call)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer with an error of the router's: no such path, or not with this method."""
        status, headers = cast("HTTPException", error).status_code, cast("HTTPException", error).headers
        message = "Method Not Allowed" if status == 405 else "Not found"
        return await self.failed(request, ApiError(status, message, headers=headers))


class _Intake:
    """The outermost layer: everything but the simulator's own paths is taken in and recorded here."""

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self.app = app
        self.front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN_PATHS):
            await self.app(scope, receive, send)
            return
        call = await take(scope, receive, self.front.recorder, self.front.max_body_bytes(scope["path"]))
        if call is None:
            return
        scope[CALL] = call
        try:
            script = self.front.first_script(call)
        except ApiError as error:
            script = self.front.error_script(call, error)
        if script is None:
            await self.app(scope, receive, send)
        else:
            await deliver(script, call, receive, send)
