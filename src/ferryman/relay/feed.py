"""A worker's connection to the control plane: what it works with comes in, how it fares goes out.

While the control plane is away the worker goes on with what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from ferryman.process.messages import (
    MAX_SNAPSHOT_BYTES,
    Part,
    Removed,
    Snapshot,
    Version,
    Wanted,
    WorkerState,
    framed,
    read_message,
)
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.feed")

REPORT_SECONDS = 1.0
"""How often a worker tells how it fares."""

RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0
"""Between two attempts to connect, from the first to the last: it is on this machine and costs little."""


MAX_ASKED_BYTES = 1 << 20
"""What the control plane has not read of our questions; beyond it none is added, since it hangs."""

_GONE = object()
"""Stands for a part that is no more."""


def kept(_name: str, data: msgspec.Raw) -> Any:  # noqa: ANN401  # whatever the parts are made into
    """A part as it came."""
    return bytes(data)


class Feed:
    """Keeps the connection to the control plane.

    Attributes:
        snapshot: the last that came, `None` for none yet.
    """

    def __init__(
        self,
        path: str,
        state: Callable[[], WorkerState],
        *,
        made_of: Callable[[str, msgspec.Raw], Any] = kept,
        on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: of the control plane's socket for feeds.
            state: how the worker fares.
            made_of: what stands in the snapshot for a part of that name, made of its JSON. Parts come one by
                one, and exchanges go on between two of them. A ValueError leaves all as it was.
            on_snapshot: takes each snapshot, once all parts of it are there; neither may wait.
        """
        self.snapshot: Snapshot | None = None
        self._path = path
        self._state = state
        self._made_of = made_of
        self._on_snapshot = on_snapshot
        self._wait_seconds = RETRY_SECONDS
        self._tasks = TaskOwner("feed")
        self._writer: asyncio.StreamWriter | None = None

    def __repr__(self) -> str:
        return f"<Feed at version {self.snapshot.version if self.snapshot is not None else 0}>"

    def ask(self, scopes: list[str], rows: dict[int, int]) -> None:
        """Tell the control plane what calls wait for; without it nobody hears it, and they wait in vain."""
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() < MAX_ASKED_BYTES:
            writer.write(framed(Wanted(scopes, rows)))

    def start(self) -> None:
        """Connect, and go on connecting."""
        self._tasks.spawn(self._keep_connected(), "connection")

    async def close(self) -> None:
        """Let go: the control plane takes that as the end of this worker."""
        await self._tasks.close()

    async def _keep_connected(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError as error:
                log.debug("control plane not reached", reason=str(error))
            else:
                try:
                    await self._exchange(reader, writer)
                except (OSError, ValueError) as error:
                    log.warning("feed broken off", reason=str(error))
                except Exception:  # without its feed a worker would go on for ever with what is no more
                    log.exception("feed failed")
                finally:
                    writer.close()
            await asyncio.sleep(self._wait_seconds)
            self._wait_seconds = min(2 * self._wait_seconds, MAX_RETRY_SECONDS)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reports = TaskOwner("feed.reports")
        reports.spawn(self._report(writer), "reports")
        self._writer = writer
        try:
            await self._take(reader, writer)
        finally:
            self._writer = None
            await reports.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what is told, as long as the connection lasts."""
        parts: dict[str, Any] = {}
        changes: dict[str, Any] = {}
        size = 0
        while (message := await read_message(reader, Part | Removed | Version)) is not None:  # type: ignore[arg-type]  # a union is a type to msgspec
            if isinstance(message, Part):
                size += len(bytes(message.data))
                if size > MAX_SNAPSHOT_BYTES:
                    raise ValueError(f"a snapshot of more than {MAX_SNAPSHOT_BYTES} bytes")
                changes[message.name] = self._made_of(message.name, message.data)
                await asyncio.sleep(0)  # more of them may be there already, and exchanges wait
                continue
            if isinstance(message, Removed):
                changes[message.name] = _GONE
                continue
            before = {} if message.whole else parts
            parts = {name: value for name, value in (before | changes).items() if value is not _GONE}
            changes, size = {}, 0
            self.snapshot = Snapshot(message.version, parts)
            self._on_snapshot(self.snapshot)
            self._wait_seconds = RETRY_SECONDS
            writer.write(framed(self._state()))  # at once: whoever made a change may wait for it

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(framed(self._state()))
                await writer.drain()
                await asyncio.sleep(REPORT_SECONDS)
        except ConnectionError:
            writer.close()  # which ends the reading too
