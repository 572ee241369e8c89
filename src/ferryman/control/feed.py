"""The control plane's end of the workers' connections: snapshots go out, how workers fare comes in."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from ferryman.clock import Clock
from ferryman.process.messages import Snapshot, WorkerState, framed, read_message
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.feed")

MAX_WORKERS = 1024
"""Connections at once: four times as many as there can be workers."""


class FeedServer:
    """Tells every worker what it works with, and again when that changes.

    Attributes:
        snapshot: the latest.
        states: of the workers that are connected, by their numbers.
    """

    def __init__(self, clock: Clock) -> None:
        # Microseconds since 1970, then one more a change: greater than all of those before a restart.
        self.snapshot = Snapshot(int(clock.now() * 1e6), {})
        self.states: dict[int, WorkerState] = {}
        self.all_gone = asyncio.Event()
        self.all_gone.set()
        self._changed: set[asyncio.Event] = set()  # one a connection
        self._server: asyncio.Server | None = None
        self._tasks = TaskOwner("feeds")

    def __repr__(self) -> str:
        return f"<FeedServer {len(self._changed)} workers, version {self.snapshot.version}>"

    async def start(self, path: str) -> None:
        """Listen on the Unix socket `path`."""
        self._server = await asyncio.start_unix_server(self._accept, path)

    def publish(self, data: dict[str, msgspec.Raw]) -> None:
        """Tell all workers of new `data`, which takes the place of the old as a whole.

        A worker that is slow gets the latest only: nothing is queued.
        """
        self.snapshot = Snapshot(self.snapshot.version + 1, data)
        for changed in self._changed:
            changed.set()

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
            if not self._changed:
                self.all_gone.set()
            await telling.close()
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        state = None
        try:
            while (state_now := await read_message(reader, WorkerState)) is not None:
                state = state_now
                self.states[state.number] = state
        finally:
            # Its successor may be connected already.
            if state is not None and self.states[state.number].pid == state.pid:
                del self.states[state.number]

    async def _tell(self, writer: asyncio.StreamWriter, changed: asyncio.Event) -> None:
        try:
            while await changed.wait():
                changed.clear()
                writer.write(framed(self.snapshot))
                await writer.drain()
        except ConnectionError:
            writer.close()
