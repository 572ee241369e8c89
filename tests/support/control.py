"""The control plane's paths on a thread of this process: real sockets, a real store, a worker's feed."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from ferryman.aliases import ModelList
from ferryman.clock import Clock
from ferryman.console.site import Console
from ferryman.console.visit import Backing
from ferryman.control.access.counters import LedgerSpends, Rows
from ferryman.control.access.desk import Desk
from ferryman.control.access.openapi import documented
from ferryman.control.access.publish import Publisher
from ferryman.control.app import Gate, create_app
from ferryman.control.feed import FeedServer
from ferryman.control.kept import Kept, redactor_of
from ferryman.control.processes import Processes
from ferryman.control.server import Server
from ferryman.control.spend import Spend
from ferryman.control.usage_page import Usage
from ferryman.limits.spec import KEYS, SCOPES, KeySpec, Scope, part_of_scope
from ferryman.pricing.catalog import load_catalog
from ferryman.process.messages import WorkerState
from ferryman.relay.authenticate import users
from ferryman.relay.feed import Feed
from ferryman.relay.keyring import Keyring, keyring_part
from ferryman.settings import Settings
from ferryman.settings_limits import gateway_limits
from ferryman.settings_models import configured_models
from ferryman.store.access_look import token_of
from ferryman.store.store import Store
from tests.support.gateway import HeldClock
from tests.support.raw import NO_TLS

MASTER = "sk-1234"
DEADLINE_SECONDS = 20.0


class Control:
    """Serves between `with` and its end.

    Attributes:
        feed: a worker's, which holds what it was told.
    """

    def __init__(self, store: Store, *, clock: Clock | None = None, **settings: Any) -> None:
        self.clock = clock or HeldClock()
        self.store = store
        self.settings = Settings(master_key=MASTER, **settings)
        self._directory = tempfile.TemporaryDirectory(prefix="ferryman-")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        port = self.run(self._start())
        url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=url, timeout=DEADLINE_SECONDS, verify=NO_TLS)
        self.until(lambda: self.feed.snapshot is not None)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._client is not None
        self._client.close()
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()
        self._directory.cleanup()

    def run(self, work: Any) -> Any:
        """What a coroutine returns that runs on the loop of the control plane."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(DEADLINE_SECONDS)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "still not so"
            time.sleep(0.005)

    def send(
        self, method: str, path: str, body: object = None, caller: str | None = MASTER, **more: Any
    ) -> httpx.Response:
        """The answer to a request of `caller`, by a key; `body` is JSON, or bytes as they are."""
        assert self._client is not None
        headers = {} if caller is None else {"authorization": f"Bearer {caller}"}
        if isinstance(body, bytes):
            more["content"] = body
        elif body is not None:
            more["json"] = body
        return self._client.request(method, path, headers=headers, **more)

    def post(self, path: str, body: object = None, caller: str | None = MASTER) -> Any:
        """The JSON that is answered to a POST, which succeeds."""
        response = self.send("POST", path, {} if body is None else body, caller)
        assert response.status_code == 200, response.text
        return response.json()

    def get(self, path: str, caller: str | None = MASTER, **parameters: Any) -> Any:
        """The JSON that is answered to a GET, which succeeds."""
        response = self.send("GET", path, caller=caller, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, body: object, status: int = 400, caller: str | None = MASTER) -> str:
        """The message with which a POST is refused."""
        response = self.send("POST", path, body, caller)
        assert response.status_code == status, response.text
        assert response.headers["x-should-retry"] == "false"
        return str(response.json()["error"]["message"])

    def key_spec(self, text: str) -> KeySpec | None:
        """What the worker knows of the key with this text."""
        key = self._ring().find(token_of(text))
        return None if key is None else key.spec

    def user_spec(self, name: str) -> KeySpec:
        """What the worker knows of the user who calls by this name."""
        return self._ring().in_force(users("key")(name)).spec

    def _ring(self) -> Keyring:
        ring = Keyring()
        told = {name: data for name, data in self.parts().items() if name.startswith((KEYS, SCOPES))}
        ring.take(1, {name: keyring_part(name, msgspec.Raw(data)) for name, data in told.items()})
        return ring

    def scope(self, scope_id: str) -> Scope | None:
        """What the worker knows of a scope."""
        scopes: list[Scope] = self._part(part_of_scope(scope_id), list[Scope])
        return next((scope for scope in scopes if scope.id == scope_id), None)

    def parts(self) -> dict[str, bytes]:
        """All that the worker holds."""
        assert self.feed.snapshot is not None
        return dict(self.feed.snapshot.parts)

    def _part(self, name: str, shape: Any) -> Any:
        data = self.parts().get(name)
        return [] if data is None else msgspec.json.decode(data, type=shape)

    async def _start(self) -> int:
        path = str(Path(self._directory.name) / "feed")
        self.feeds = FeedServer(self.clock)
        await self.feeds.start(path)
        limits = gateway_limits(self.settings)
        self.publisher = Publisher(self.store, self.feeds, limits, Rows())
        await self.publisher.begin()
        self.feed = Feed(path, self._state)
        self.feed.start()
        spends = LedgerSpends(self.store, self.clock, limits.time_zone)
        self.desk = Desk(self.store, self.publisher, spends, self.clock, MASTER)
        self.usage = Usage(self.store, spends, self.clock)
        self.spend = Spend(self.store.read, access=self.store.access)
        processes = Processes(self.feeds)
        self.kept = Kept(self.store, redactor_of(self.settings))
        parts = (processes, self.spend, self.desk, self.usage, self.kept)
        routes = [route for part in parts for route in part.routes()]
        self.console = Console(
            Backing(
                self.settings,
                self.store,
                self.desk,
                spends,
                processes,
                load_catalog,
                self.clock,
                lambda: configured_models(self.settings) or ModelList(),
            )
        )
        self.app = create_app([*documented(routes), *self.console.routes()], self.clock)
        self.server = Server(Gate(self.app, MASTER, self.clock, self.desk.caller_of))
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        await self.server.listen([sock])
        return int(sock.getsockname()[1])

    async def _stop(self) -> None:
        await self.server.stop()
        self.desk.close()
        await self.publisher.close()
        self.usage.close()
        await self.console.close()
        self.spend.close()
        self.kept.close()
        await self.feed.close()
        await self.feeds.close()

    def _state(self) -> WorkerState:
        version = self.feed.snapshot.version if self.feed.snapshot is not None else 0
        return WorkerState(number=1, pid=7, live=0, pool_open=0, held_bytes=0, snapshot_version=version)
