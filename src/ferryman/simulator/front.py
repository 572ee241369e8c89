"""What every endpoint does before and after its own part: controls, credentials, bodies, answers.

The endpoints (`app`, `batch_api`, `file_api`) are built on it; it knows none of them.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ferryman.simulator import control as controls
from ferryman.simulator.call import Call
from ferryman.simulator.clock import Clock
from ferryman.simulator.delivery import deliver
from ferryman.simulator.errors import ApiError
from ferryman.simulator.headers import (
    accepts_gzip,
    api_version,
    authenticate,
    decoded_body,
    standard_headers,
    too_large,
)
from ferryman.simulator.ids import stable_id
from ferryman.simulator.intake import Receive, Scope, Send
from ferryman.simulator.models import check_model
from ferryman.simulator.recorder import Recorder
from ferryman.simulator.script import Envelope, Script, body_script, error_script, json_script
from ferryman.simulator.settings import SimulatorSettings
from ferryman.simulator.validate import MessageRequest, read_json

MULTIPART_BYTES = 64 * 1024  # boundaries, the headers of the parts and the small fields of a form
CALL = "ferryman.simulator.call"  # the key in the ASGI scope


class Front:
    """The settings, the recorder and the clock of one app, and what follows from them alone."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.recorder = Recorder(
            settings.recorded_requests, settings.recorded_bytes, settings.recorded_response_bytes
        )

    def max_body_bytes(self, path: str) -> int:
        """The most that a request to this path may hold."""
        if path == "/v1/messages/batches":
            return self.settings.max_batch_bytes
        if path == "/v1/files":
            return self.settings.max_file_bytes + MULTIPART_BYTES
        return self.settings.max_body_bytes

    def first_script(self, call: Call) -> Script | None:
        """What settings and header alone decide, for any path: None lets the route decide.

        Raises:
            ApiError: 400 for a bad control, the error it asks for, or 413.
        """
        self.heed(call)
        if call.is_too_large:
            raise too_large()
        if call.control.echo:
            content_type = call.header("content-type") or "application/octet-stream"
            return body_script(self.envelope(call), call.body, content_type)
        return None

    def heed(self, call: Call, model_control: str = "") -> None:
        """Read the controls of a call, and fail if they ask for it.

        Raises:
            ApiError: 400 for a bad control, or the error it asks for.
        """
        control = self.control_of(call, model_control)
        if control.times is not None and call.repetition > control.times:
            control = control.without_faults()
        call.control = control
        raise_status(control)

    def control_of(self, call: Call, model_control: str) -> controls.Control:
        """The settings' controls, then the model's, then the header's.

        Raises:
            ApiError: 400.
        """
        return controls.parse(
            self.settings.always, model_control, call.header(controls.HEADER, separator=";")
        )

    def heed_model(self, call: Call, asked: MessageRequest) -> None:
        """Refuse an unknown model, and obey the controls in its name.

        Raises:
            ApiError: 404 for the model, else as `heed`.
        """
        check_model(asked.model, self.settings.models, is_strict=self.settings.strict_models)
        if asked.control:
            self.heed(call, asked.control)

    def known_caller(self, request: Request) -> Call:
        """The call behind a request that needs a credential and a version, but no body.

        Raises:
            ApiError: 401 or 400.
        """
        call = call_of(request)
        authenticate(call, self.settings)
        api_version(call)
        return call

    def body(self, call: Call) -> tuple[bytes, str]:
        """The decoded body of a call and its `anthropic-version`.

        Raises:
            ApiError: 401, 400 or 413.
        """
        authenticate(call, self.settings)
        version = api_version(call)
        path = call.target.decode("latin-1").partition("?")[0]
        return decoded_body(call, self.max_body_bytes(path)), version

    def payload(self, call: Call) -> tuple[dict[str, Any], str]:
        """The same as a JSON object.

        Raises:
            ApiError: 401, 400 or 413.
        """
        body, version = self.body(call)
        return read_json(body), version

    def json(self, call: Call, value: object) -> Response:
        """An answer in JSON."""
        return Performance(json_script(self.envelope(call), value), call)

    def envelope(self, call: Call, input_tokens: int = 0, output_tokens: int = 0) -> Envelope:
        """What the answers to a call have in common."""
        headers = standard_headers(self.settings, request_id(call), input_tokens, output_tokens)
        return Envelope(headers, call.control, accepts_gzip(call))

    def error_script(self, call: Call, error: ApiError) -> Script:
        """The answer for an error."""
        return error_script(self.envelope(call), error, request_id(call))


class Performance(Response):
    """A response that performs a script instead of sending a body at once."""

    def __init__(self, script: Script, call: Call) -> None:
        self.script = script
        self.call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await deliver(self.script, self.call, receive, send)


def raise_status(control: controls.Control) -> None:
    """Fail with the error that a control asks for.

    Raises:
        ApiError: If it asks for one.
    """
    if control.status is not None:
        raise ApiError(control.status, f"The simulator was asked to answer with {control.status}.")


def call_of(request: Request) -> Call:
    """The call that `intake` has made of a request."""
    call: Call = request.scope[CALL]
    return call


def request_id(call: Call) -> str:
    """The id of a call, which follows from its bytes."""
    return stable_id("req", call.digest, f"{call.method} {call.target.decode('latin-1')}")
