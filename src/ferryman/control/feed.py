"""The control plane's end of the workers' connections: snapshots go out, how workers fare comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import structlog

from ferryman.clock import Clock
from ferryman.process.messages import (
    MAX_PART_BYTES,
    MAX_SNAPSHOT_BYTES,
    Part,
    Removed,
    Version,
    Wanted,
    WorkerState,
    framed,
    read_message,
)
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.feed")

MAX_WORKERS = 1024
"""Connections at once: four times as many as there can be workers."""


class _Told(NamedTuple):
    """A part as it is told.

    Attributes:
        version: with which it has changed.
        size: of its JSON in bytes, `None` since it was removed.
        message: as it goes over the sockets, one for all of them.
    """

    version: int
    size: int | None
    message: bytes


class FeedServer:
    """Tells every worker what it works with, and again what of it changes.

    Attributes:
        on_wanted: hears of what calls wait for, and may not wait itself.
        on_gone: hears that a worker's connection has ended, and may not wait either.
        version: of what was published last, 0 before: until then workers go on with what they hold.
        size_bytes: of all parts together.
        states: of the workers that are connected, by their numbers.
    """

    def __init__(self, clock: Clock) -> None:
        """Listen to nobody yet."""
        self.version = 0
        self.size_bytes = 0
        self.on_wanted: Callable[[Wanted], None] = lambda _: None
        self.on_gone: Callable[[], None] = lambda: None
        self.states: dict[int, WorkerState] = {}
        self.all_gone = asyncio.Event()
        self.all_gone.set()
        self._clock = clock
        self._parts: dict[str, _Told] = {}
        self._changed: set[asyncio.Event] = set()  # one a connection
        self._server: asyncio.Server | None = None
        self._tasks = TaskOwner("feeds")

    def __repr__(self) -> str:
        return f"<FeedServer {len(self._changed)} workers, {len(self._parts)} parts, version {self.version}>"

    async def start(self, path: str) -> None:
        """Listen on the Unix socket `path`."""
        self._server = await asyncio.start_unix_server(self._accept, path)

    def publish(self, parts: Mapping[str, bytes | None]) -> int:
        """Tell all workers what has changed: JSON by the name of the part, `None` for one that is no more.

        The first time `parts` are all that there are. The version then is the time in microseconds, later one
        more a change: those of two control planes differ. A part that is the same as before is not told
        again. A worker that is slow gets the latest only: nothing is queued.

        Returns:
            The version with which `parts` hold.

        Raises:
            ValueError: a part is larger than `MAX_PART_BYTES`, or all are larger than `MAX_SNAPSHOT_BYTES`;
                nothing is changed then.
        """
        version = self.version + 1 if self.version else int(self._clock.now() * 1e6)
        new = {name: _told(version, name, data) for name, data in parts.items()}
        new = {name: part for name, part in new.items() if part.message != self._message_of(name)}
        if not new and self.version:
            return self.version
        after = self._parts | new
        size = sum(part.size or 0 for part in after.values())
        if size > MAX_SNAPSHOT_BYTES:
            raise ValueError(f"all parts have {size} bytes; at most {MAX_SNAPSHOT_BYTES}")
        self._parts, self.version, self.size_bytes = after, version, size
        for changed in self._changed:
            changed.set()
        return self.version

    async def close(self) -> None:
        """Let go of the workers."""
        if self._server is not None:
            self._server.close()
        await self._tasks.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._changed) < MAX_WORKERS:
            self._tasks.spawn(self._serve(reader, writer), "worker")
        else:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        changed = asyncio.Event()
        if self.version:
            changed.set()
        self._changed.add(changed)
        self.all_gone.clear()
        telling = TaskOwner("feed")
        telling.spawn(self._tell(writer, changed), "tell")
        try:
            await self._listen(reader)
        except ValueError as error:
            log.warning("feed broken off", reason=str(error))
        finally:
            self._changed.discard(changed)
            self.on_gone()
            if not self._changed:
                self.all_gone.set()
            await telling.close()
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        state: WorkerState | None = None
        try:
            while (message := await read_message(reader, WorkerState | Wanted)) is not None:  # type: ignore[arg-type]  # a union is a type to msgspec
                if isinstance(message, Wanted):
                    self.on_wanted(message)
                    continue
                state = message
                self.states[state.number] = state
        finally:
            # Its successor may be connected already, or itself anew.
            if state is not None and self.states.get(state.number) is state:
                del self.states[state.number]

    async def _tell(self, writer: asyncio.StreamWriter, changed: asyncio.Event) -> None:
        told = 0
        try:
            while await changed.wait():
                changed.clear()
                # What changes while these are on their way is told next.
                version, due = self.version, [part for part in self._parts.values() if part.version > told]
                for part in due:
                    if told or part.size is not None:
                        writer.write(part.message)
                        await writer.drain()
                writer.write(framed(Version(version, whole=not told)))
                await writer.drain()
                told = version
        except ConnectionError:
            writer.close()

    def _message_of(self, name: str) -> bytes | None:
        part = self._parts.get(name)
        return None if part is None else part.message


def _told(version: int, name: str, data: bytes | None) -> _Told:
    if data is None:
        return _Told(version, None, framed(Removed(name)))
    if len(data) > MAX_PART_BYTES:
        raise ValueError(f"the part `{name}` has {len(data)} bytes; at most {MAX_PART_BYTES}")
    return _Told(version, len(data), framed(Part(name, msgspec.Raw(data))))
