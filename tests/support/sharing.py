"""A gateway that keeps apart what its keys have made, and a control plane that tells when a test lets it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any

from ferryman.errors import Unavailable
from ferryman.limits.owner import Owner
from ferryman.limits.spec import KeySpec
from ferryman.relay.owners import Ask
from ferryman.relay.ownership import Ownership
from ferryman.settings import Settings
from tests.conftest import KEY, Bench
from tests.support.edge import Connection, Script, Upstream
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, RawRequest, RawResponse, get, post
from tests.test_keys_on_the_line import MASTER, error_of, token_of

ANN, AMY, BOB, EVE = b"sk-ann", b"sk-amy", b"sk-bob", b"sk-eve"
TEAM = "team-1"
OWNERS = {
    "file_ann": Owner("id-ann", TEAM),
    "file_amy": Owner("id-amy", TEAM),
    "file_bob": Owner("id-bob"),
    "sesn_ann": Owner("id-ann", TEAM),
    "batch_ann": Owner("id-ann", TEAM),
}
BATCHES = b"/v1/messages/batches"
FAIR = b'{"id":"x"}'
PAGE = b'{"data":[{"id":"file_ann"}, {"id":"file_amy"},{"id":"file_bob"},{"id":"old"}],"has_more":false}'


def keys(sees: str = "key") -> list[KeySpec]:
    return [
        KeySpec(token_of(ANN), "id-ann", team_id=TEAM, sees=sees),
        KeySpec(token_of(AMY), "id-amy", team_id=TEAM, sees=sees),
        KeySpec(token_of(BOB), "id-bob", sees=sees),
        KeySpec(token_of(EVE), "id-eve", sees="all"),
    ]


class Book:
    """Stands for the control plane: tells owners, once it may; or is away."""

    def __init__(self, owners: Mapping[str, Owner]) -> None:
        self.owners = dict(owners)
        self.asked: list[list[str]] = []
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.is_away = False

    async def __call__(self, ids: list[str]) -> Mapping[str, Owner]:
        self.asked.append(ids)
        while not self.may_tell.is_set():  # noqa: ASYNC110  # another thread sets it
            await asyncio.sleep(0.005)
        if self.is_away:
            raise Unavailable("away")
        return {one: self.owners[one] for one in ids if one in self.owners}


class Shared:
    """A gateway that keeps keys apart, in front of an upstream that gives one answer."""

    def __init__(self, line: Bench, clock: HeldClock | None = None) -> None:
        self.line = line
        self.clock = clock
        self.book = Book(OWNERS)
        self.upstream: Upstream
        self.gateway: Gateway

    def open(
        self, body: bytes = FAIR, headers: bytes = b"", *, sees: str = "key", script: Script | None = None,
        status: int = 200, ask: Ask | None = None,
    ) -> None:  # fmt: skip
        def serve(connection: Connection) -> None:
            while True:
                connection.request()
                connection.answer(body, headers=headers, status=status)

        self.upstream = self.line.upstream(script or serve)
        settings = Settings(
            port=0, upstream_url=self.upstream.url, anthropic_api_key=KEY, master_key=MASTER, auth="keys"
        )
        self.gateway = self.line.enter(Gateway(settings, clock=self.clock, ask=ask or self.book))
        self.gateway.tell(keys(sees))

    @property
    def sent(self) -> list[RawRequest]:
        return self.upstream.requests

    @property
    def ownership(self) -> Ownership:
        found = self.gateway.worker.line.ownership
        assert found is not None
        return found

    def ask(self, key: bytes, request: bytes) -> RawResponse:
        with RawClient(self.gateway.port) as client:
            return client.ask(by(key, request))

    def get(self, key: bytes, path: bytes, method: bytes = b"GET") -> RawResponse:
        return self.ask(key, get(path, method=method))

    def post(self, key: bytes, path: bytes, body: object, headers: bytes = b"") -> RawResponse:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(key, post(text, path=path, headers=headers))


def by(key: bytes, request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return head + b"\r\nx-api-key: " + key + b"\r\n\r\n" + body


def message(file_id: str, text: str = "") -> dict[str, Any]:
    content = [
        {"type": "text", "text": text},
        {"type": "tool_result", "content": [{"type": "document", "source": {"file_id": file_id}}]},
    ]
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}


def batch(file_id: str, text: str = "") -> dict[str, Any]:
    return {"requests": [{"custom_id": "a", "params": message(file_id, text)}]}


def not_there(answer: RawResponse, resource_id: str) -> bool:
    status, kind, said = error_of(answer)
    assert (status, kind) == (404, "not_found_error"), said
    assert resource_id in said
    assert answer.values(b"x-should-retry") == [b"false"]
    return True
