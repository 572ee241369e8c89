"""A worker's connection to the control plane: what it works with comes in, how it fares goes out.

While the control plane is away the worker goes on with what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ferryman.process.messages import Snapshot, WorkerState, framed, read_message
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.feed")

REPORT_SECONDS = 1.0
"""How often a worker tells how it fares."""

RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0
"""Between two attempts to connect, from the first to the last: it is on this machine and costs little."""


class Feed:
    """Keeps the connection to the control plane.

    Attributes:
        snapshot: the last that came, `None` for none yet.
    """

    def __init__(
        self,
        path: str,
        state: Callable[[], WorkerState],
        on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: of the control plane's socket for feeds.
            state: how the worker fares.
            on_snapshot: takes each snapshot, whole; must not wait.
        """
        self.snapshot: Snapshot | None = None
        self._path = path
        self._state = state
        self._on_snapshot = on_snapshot
        self._tasks = TaskOwner("feed")

    def __repr__(self) -> str:
        return f"<Feed at version {self.snapshot.version if self.snapshot is not None else 0}>"

    def start(self) -> None:
        """Connect, and go on connecting."""
        self._tasks.spawn(self._keep_connected(), "connection")

    async def close(self) -> None:
        """Let go: the control plane takes that as the end of this worker."""
        await self._tasks.close()

    async def _keep_connected(self) -> None:
        wait_seconds = RETRY_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError as error:
                log.debug("control plane not reached", reason=str(error))
            else:
                try:
                    wait_seconds = RETRY_SECONDS
                    await self._exchange(reader, writer)
                except (OSError, ValueError) as error:
                    log.warning("feed broken off", reason=str(error))
                finally:
                    writer.close()
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, MAX_RETRY_SECONDS)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reports = TaskOwner("feed.reports")
        reports.spawn(self._report(writer), "reports")
        try:
            while (snapshot := await read_message(reader, Snapshot)) is not None:
                self.snapshot = snapshot
                self._on_snapshot(snapshot)
        finally:
            await reports.close()

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(framed(self._state()))
                await writer.drain()
                await asyncio.sleep(REPORT_SECONDS)
        except ConnectionError:
            writer.close()  # which ends the reading too
