"""Bodies of requests and answers: taken from workers, redacted and kept, and told to administrators.

`POST /control/bodies` takes them; `GET /spend/logs/ui/{request_id}` is LiteLLM's path for one entry in full.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.control.asking import Asking
from ferryman.control.bodies import body_of
from ferryman.control.callers import OPERATOR
from ferryman.control.redact import Redactor
from ferryman.control.spend_row import row_of
from ferryman.errors import NotFound, PermissionDenied
from ferryman.model import Entry
from ferryman.process.messages import BODIES_PATH, BodiesTold, BodyCopy, KeptBodies
from ferryman.settings import Settings
from ferryman.settings_bodies import redacted_fields
from ferryman.settings_targets import upstreams_of
from ferryman.store.bodies import Body, Kind
from ferryman.store.store import Store
from ferryman.wire.assembled import message_in
from ferryman.wire.prefix import value_in

MAX_BODY_BYTES = 12 << 20
"""Of what a worker tells at once: both bodies of an exchange at the largest cap, in base64, and some room."""

_GZIP = 31  # zlib's number for the format


class Opened(NamedTuple):
    """A copy as a value.

    Attributes:
        value: JSON, `None` if it is none.
        truncated: there was more.
    """

    value: Any
    truncated: bool


class Kept:
    """Takes and tells bodies, on threads of its own: redacting takes milliseconds."""

    def __init__(self, store: Store, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor
        self._asking = Asking("looks at bodies", "the database")

    def __repr__(self) -> str:
        return f"<Kept {self._asking!r}>"

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route(BODIES_PATH, self._post, methods=["POST"]),
            Route("/spend/logs/ui/{request_id}", self._get, methods=["GET"]),
        ]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self._asking.close()

    async def _post(self, request: Request) -> Response:
        """Keep bodies that a worker tells of; nobody else may."""
        if getattr(request.state, "caller", OPERATOR) is not OPERATOR:
            raise PermissionDenied(f"`{BODIES_PATH}` is for Ferryman's workers.")
        told = await body_of(request, BodiesTold, MAX_BODY_BYTES)
        return await self._asking.answered(lambda: self._keep(told))

    def _keep(self, told: BodiesTold) -> bytes:
        bodies = [body for one in told.exchanges for body in bodies_of(one, self._redactor)]
        self._store.bodies.insert(bodies)
        return b"{}"

    async def _get(self, request: Request) -> Response:
        """Tell of one entry with its bodies, as far as they are kept."""
        if getattr(request.state, "caller", OPERATOR).role != "admin":
            raise PermissionDenied("Bodies are for administrators; `/spend/logs/v2` has all else.")
        entry_id = request.path_params["request_id"]
        return await self._asking.answered(lambda: msgspec.json.encode(self._told(entry_id)))

    def _told(self, entry_id: str) -> dict[str, Any]:
        entry = self._store.read.entry(entry_id)
        if entry is None:
            raise NotFound("There is no such entry. It is stored some moments after its exchange has ended.")
        return detail_of(entry, self._store.bodies.of(entry_id))


def redactor_of(settings: Settings) -> Redactor:
    """What leaves out under `settings`."""
    keys = [settings.master_key, settings.anthropic_api_key, settings.webhook_secret]
    keys += [upstream.api_key for upstream in upstreams_of(settings)]
    secrets = {key for key in keys if key}
    return Redactor(secrets, settings.log_bodies_redact, redacted_fields(settings))


def detail_of(entry: Entry, bodies: dict[Kind, Body]) -> dict[str, Any]:
    """An entry in full: the row of `/spend/logs/v2`, and the bodies by LiteLLM's names and ours."""
    request, response = bodies.get("request"), bodies.get("response")
    asked = None if request is None else msgspec.json.decode(request.text)
    return row_of(entry) | {
        "messages": asked.get("messages") if isinstance(asked, dict) else None,
        "response": None if response is None else msgspec.Raw(response.text.encode()),
        "proxy_server_request": asked,
        "bodies": {
            kind: {"total_bytes": one.total_bytes, "truncated": one.truncated, "redacted": one.redacted}
            for kind, one in bodies.items()
        },
    }


def bodies_of(told: KeptBodies, redactor: Redactor) -> list[Body]:
    """What is kept of an exchange."""
    found = [_body(told, "request", told.request, redactor)]
    if told.response is not None:
        found.append(_body(told, "response", told.response, redactor))
    return found


def _body(told: KeptBodies, kind: Kind, copy: BodyCopy, redactor: Redactor) -> Body:
    opened = opened_of(copy)
    redacts = told.mode != "full"
    note = f"[no JSON, {copy.total_bytes} bytes]"
    value = opened.value
    if value is None and not redacts:
        value = copy.data.decode("utf-8", "replace")
    try:
        if value is not None:
            value = redactor.redacted(value) if redacts else redactor.full(value)
        text = msgspec.json.encode(note if value is None else value).decode()
    except RecursionError:
        text = msgspec.json.encode(note).decode()
    made = int(told.started_at * 1_000_000)
    return Body(told.id, kind, made, copy.total_bytes, opened.truncated, redacts, text)


def opened_of(copy: BodyCopy) -> Opened:
    """A copy without its coding; of a stream the message that it has told."""
    data: bytes | None = copy.data
    truncated = len(copy.data) < copy.total_bytes
    coding = copy.coding.strip().lower()
    if coding == "gzip":
        data, more = _inflated(copy.data)
        truncated = truncated or more
    elif coding not in {"", "identity"}:
        data = None
    if data is None:
        return Opened(None, truncated)
    if copy.type.partition(";")[0].strip().lower() == "text/event-stream":
        message, over = message_in(data)
        return Opened(message, truncated or not over)
    try:
        return Opened(value_in(data, cut=truncated), truncated)
    except ValueError:
        return Opened(None, truncated)


def _inflated(data: bytes) -> tuple[bytes | None, bool]:
    """What `data` decodes to, as far as it is about as long as the largest cap; and whether there is more."""
    decoder = zlib.decompressobj(wbits=_GZIP)
    try:
        found = decoder.decompress(data, MAX_BODY_BYTES)
    except zlib.error:
        return None, True
    return found, not decoder.eof
