"""The endpoints below `/v1/messages/batches`."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.simulator import usage as usages
from ferryman.simulator.answer import compose
from ferryman.simulator.batches import Batch, BatchStore, Fate, Item, Verdict, read_items
from ferryman.simulator.call import Call
from ferryman.simulator.control import HEADER, Control, parse
from ferryman.simulator.errors import ApiError, invalid
from ferryman.simulator.front import Front, Performance, call_of, raise_status
from ferryman.simulator.headers import has_beta
from ferryman.simulator.ids import stable_id
from ferryman.simulator.models import check_model
from ferryman.simulator.paging import page_of
from ferryman.simulator.script import lines_script
from ferryman.simulator.validate import MessageRequest, read_json, read_message_request

PATH = "/v1/messages/batches"
ITEMS_PER_TURN = 200  # about ten milliseconds of judging, after which other requests have their turn


class Batches:
    """The endpoints, around the batches of one app."""

    def __init__(self, front: Front) -> None:
        self.front = front
        settings = front.settings
        self.store = BatchStore(settings.kept_batches, settings.kept_batch_bytes)

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(PATH, self.create, methods=["POST"]),
            Route(PATH, self.page, methods=["GET"]),
            Route(f"{PATH}/{{batch_id}}", self.retrieve, methods=["GET"]),
            Route(f"{PATH}/{{batch_id}}", self.delete, methods=["DELETE"]),
            Route(f"{PATH}/{{batch_id}}/cancel", self.cancel, methods=["POST"]),
            Route(f"{PATH}/{{batch_id}}/results", self.results, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /v1/messages/batches`."""
        call = call_of(request)
        body, version = self.front.body(call)
        items = read_items(body, has_beta=has_beta(call))
        reader = _Reader(self.front, call.header(HEADER, separator=";"), version, has_beta=has_beta(call))
        verdicts = []
        for index, item in enumerate(items):
            if index % ITEMS_PER_TURN == ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            verdicts.append(reader.judge(item))
        batch = Batch(
            id=stable_id("msgbatch", call.digest, str(self.store.created)),
            created_at=self.front.clock.now(),
            items=items,
            verdicts=tuple(verdicts),
            wishes=reader.wishes,
            control=call.control,
            version=version,
            has_beta=reader.has_beta,
            size_bytes=len(body),
        )
        self.store.add(batch)
        return self._show(call, request, batch)

    async def page(self, request: Request) -> Response:
        """`GET /v1/messages/batches`."""
        call = self.front.known_caller(request)

        def show(batch_id: str) -> dict[str, Any]:
            batch = self.store.get(batch_id)
            batch.look(self.front.clock.now())
            return batch.as_json(_origin(request))

        return self.front.json(call, page_of(self.store.ids, request.query_params, show))

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/messages/batches/{id}`."""
        call = self.front.known_caller(request)
        batch = self._batch(request)
        batch.look(self.front.clock.now(), is_poll=True)
        return self._show(call, request, batch)

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/messages/batches/{id}/cancel`."""
        call = self.front.known_caller(request)
        batch = self._batch(request)
        batch.cancel(self.front.clock.now())
        return self._show(call, request, batch)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/messages/batches/{id}`."""
        call = self.front.known_caller(request)
        batch_id = request.path_params["batch_id"]
        self.store.delete(batch_id)
        return self.front.json(call, {"id": batch_id, "type": "message_batch_deleted"})

    async def results(self, request: Request) -> Response:
        """`GET /v1/messages/batches/{id}/results`."""
        call = self.front.known_caller(request)
        batch = self._batch(request)
        if batch.control.results:
            self.front.heed(call, batch.control.results)
        batch.look(self.front.clock.now())
        if batch.ended_at is None:
            raise ApiError(404, f"Message batch `{batch.id}` has no results before its processing ends.")
        return Performance(lines_script(self.front.envelope(call), self._lines(batch)), call)

    def _lines(self, batch: Batch) -> Iterator[bytes]:
        reader = _Reader(self.front, batch.wishes, batch.version, has_beta=batch.has_beta)
        for index, item in enumerate(batch.items):
            line = {"custom_id": item.custom_id, "result": reader.result(batch, index)}
            yield msgspec.json.encode(line) + b"\n"

    def _batch(self, request: Request) -> Batch:
        return self.store.get(request.path_params["batch_id"])

    def _show(self, call: Call, request: Request, batch: Batch) -> Response:
        return self.front.json(call, batch.as_json(_origin(request)))


class _Reader:
    """Reads and answers the items of one batch."""

    def __init__(self, front: Front, wishes: str, version: str, *, has_beta: bool) -> None:
        self.front = front
        self.wishes = wishes
        self.version = version
        self.has_beta = has_beta
        self._control = parse(front.settings.always, wishes)

    def judge(self, item: Item) -> Verdict:
        """What will become of an item that is left in peace."""
        try:
            _, control = self.read(item)
        except ApiError:
            return Verdict(Fate.ERRORED)
        fate = Fate.EXPIRED if control.expire else Fate.SUCCEEDED
        return Verdict(fate, control.uninterruptible)

    def read(self, item: Item) -> tuple[MessageRequest, Control]:
        """The message of an item, and what it wishes.

        Raises:
            ApiError: What is wrong with it, or the error that it wishes.
        """
        payload = read_json(bytes(item.params))
        if payload.get("stream"):
            raise invalid("stream: Input should be false in a message batch")
        asked = read_message_request(payload, self.version, has_beta=self.has_beta)
        settings = self.front.settings
        check_model(asked.model, settings.models, is_strict=settings.strict_models)
        control = parse(settings.always, asked.control, self.wishes) if asked.control else self._control
        raise_status(control)
        return asked, control

    def result(self, batch: Batch, index: int) -> dict[str, Any]:
        """What has become of an item of a batch that has ended."""
        fate = batch.fate(index)
        item = batch.items[index]
        digest = hashlib.sha256(f"{batch.id} {item.custom_id}".encode()).digest()
        if fate in {Fate.CANCELED, Fate.EXPIRED}:
            return {"type": fate.value}
        try:
            asked, control = self.read(item)
        except ApiError as error:
            return {"type": fate.value, "error": error.body(stable_id("req", digest))}
        message = compose(asked, control, digest).as_json()
        message["usage"] = usages.in_batch(message["usage"], is_dictated=control.usage is not None)
        return {"type": fate.value, "message": message}


def _origin(request: Request) -> str:
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host}"
