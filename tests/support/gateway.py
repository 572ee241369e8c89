"""A worker on a thread of this process, on real sockets, with a clock that tests may hold."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import uvloop

from ferryman.aliases import ModelList
from ferryman.clock import SystemClock
from ferryman.limits.admission import Admission
from ferryman.limits.spec import (
    DEFAULTS,
    Defaults,
    KeySpec,
    Scope,
    part_of_key,
    part_of_scope,
)
from ferryman.model import Entry
from ferryman.process.messages import MODELS, Snapshot
from ferryman.relay.bodies import Bodies
from ferryman.relay.keyring import keyring_part
from ferryman.relay.models import models_part
from ferryman.relay.owners import Ask
from ferryman.relay.worker import Worker
from ferryman.settings import Settings

DEADLINE_SECONDS = 10.0
NO_DEFAULTS = Defaults()

T = TypeVar("T")


class HeldClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Gateway:
    """`Worker` between `with` and its end; `entries` are the records it made."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: HeldClock | None = None,
        loop: str = "asyncio",
        control_socket: str | None = None,
        counters: Admission | None = None,
        ask: Ask | None = None,
        images_directory: Path | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self.entries: list[Entry] = []
        self.keeps: Callable[[Entry], Entry] = lambda entry: entry
        self.clock = clock
        self._changed = threading.Condition()
        self._started = threading.Event()
        self._loop = uvloop.new_event_loop() if loop == "uvloop" else asyncio.new_event_loop()
        self.worker = Worker(
            settings,
            record=self._record,
            clock=clock or SystemClock(),
            control_socket=control_socket,
            counters=counters,
            ask=ask,
            images_directory=images_directory,
            bodies=bodies,
        )
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(DEADLINE_SECONDS)
        assert self._thread.is_alive(), "the worker did not start; its traceback is above"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._loop.is_closed():
            self.stop(0)

    @property
    def port(self) -> int:
        return self.worker.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, grace_seconds: float) -> None:
        """Drain and end the worker."""
        self.begin_stop(grace_seconds).result(DEADLINE_SECONDS + grace_seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def begin_stop(self, grace_seconds: float) -> Future[None]:
        """Begin to drain, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(self.worker.stop(grace_seconds), self._loop)

    def run(self, work: Callable[[], T]) -> T:
        """Call `work` on the worker's loop; what it returns."""

        async def call() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(DEADLINE_SECONDS)

    def tell(
        self,
        keys: Iterable[KeySpec] = (),
        scopes: Iterable[Scope] = (),
        defaults: Defaults = NO_DEFAULTS,
        models: ModelList | None = None,
    ) -> None:
        """Have the worker take a snapshot with these, as the control plane would tell it."""
        told: dict[str, list[KeySpec] | list[Scope]] = {}
        for key in keys:
            told.setdefault(part_of_key(key.token), []).append(key)  # type: ignore[arg-type]  # a part has one kind
        for scope in scopes:
            told.setdefault(part_of_scope(scope.id), []).append(scope)  # type: ignore[arg-type]
        parts: dict[str, Any] = {
            name: keyring_part(name, msgspec.Raw(msgspec.json.encode(members)))
            for name, members in told.items()
        }
        if models is not None:
            parts[MODELS] = models_part(msgspec.Raw(msgspec.json.encode(models)))
        version = self.worker.keyring.version + 1
        self.run(lambda: self.worker.take(Snapshot(version, parts | {DEFAULTS: defaults})))

    def pass_time(self, seconds: float) -> None:
        """Move the held clock and let time-outs be looked at."""
        clock = self.clock
        assert clock is not None

        def move() -> None:  # on the loop, so that what is under way there is done first
            clock.seconds += seconds
            self.worker.sweep()

        self.run(move)

    def entry(self, number: int = 1) -> Entry:
        """The entry of the `number`th exchange to end, waited for."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.entries) >= number, DEADLINE_SECONDS)
            return self.entries[number - 1]

    def until(self, condition: Callable[[], T]) -> T:
        """Wait until `condition`, looked at on the worker's loop, is true; its value."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (value := self.run(condition)):
            assert time.monotonic() < deadline, f"still not so: {self.worker!r}"
        return value

    def _record(self, record: bytes) -> None:
        entry = msgspec.json.decode(record, type=Entry)
        with self._changed:
            self.entries.append(self.keeps(entry))
            self._changed.notify_all()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.worker.start())
        finally:
            self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
