"""Lets the authority over budgets work: with the clock, and when calls wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from ferryman.clock import Clock
from ferryman.control.authority import Authority
from ferryman.control.machine import machine_id
from ferryman.control.rows import Place
from ferryman.control.shared_table import SharedTable
from ferryman.errors import FerrymanError, SettingsError, StoreUnavailable
from ferryman.limits.table import TableUnusable
from ferryman.process.messages import Wanted
from ferryman.settings import Settings
from ferryman.settings_store import journal_directory
from ferryman.store.store import Store

log = structlog.get_logger("ferryman.budgets")

TICK_SECONDS = 1.0
"""Between two looks at the workers, where nothing tells that one is due."""

SOON_SECONDS = 0.1
"""The same while something waits: budgets that are not ready yet, or the end of a worker that has just gone,
whose journal is let go of a moment after its connection. A look wakes several threads: a millisecond."""

SWEEP_SECONDS = 2.0
"""Between two comparisons of some rows with the database."""

MAX_WANTED = 10_000
"""Rows and scopes that calls wait for at once; who comes beyond them asks again, or is told to."""


SEEN_SECONDS = 30.0
"""How often a machine that shares a database tells the others that it is there."""


class Machines:
    """Tells the other machines of this one."""

    def __init__(self, store: Store, clock: Clock, machine: str) -> None:
        """Tell nothing yet; `machine` is its id, empty where there is only one."""
        self._spends = store.spends
        self._clock = clock
        self._machine = machine
        self._again_at = 0.0

    def __repr__(self) -> str:
        return f"<Machines {self._machine or 'alone'}>"

    def tell(self) -> None:
        """Tell it, if it is time to.

        Raises:
            StoreUnavailable: the database is away.
        """
        if self._machine and self._clock.monotonic() >= self._again_at:
            self._spends.seen(self._machine, socket.gethostname(), round(self._clock.now() * 1e6))
            self._again_at = self._clock.monotonic() + SEEN_SECONDS


def authority_of(
    settings: Settings, store: Store, clock: Clock, path: Path, may_begin: Callable[[], bool]
) -> Authority:
    """The authority over the table in the file `path`, for `settings`; the store then knows its machine.

    Raises:
        SettingsError: the table cannot be used, or the machine's id not be kept.
    """
    machine = ""
    if store.spends.are_shared and settings.data_dir is not None:
        machine = store.write.machine = machine_id(Path(settings.data_dir))
    try:
        table = SharedTable.open(path)
    except (OSError, TableUnusable) as error:
        raise SettingsError([f"runtime_directory: the table of counters cannot be used: {error}."]) from error
    place = Place(journal_directory(settings), settings.time_zone, machine)
    return Authority(table, store.spends, clock, place, may_begin=may_begin)


class Governor:
    """Runs an authority on a thread of its own: one thing at a time, what calls wait for first."""

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        *,
        on_scopes: Callable[[list[str]], None] = lambda _: None,
        on_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        """Run nothing yet.

        Args:
            authority: to be run.
            clock: the time.
            on_scopes: is told on the thread of scopes that workers do not know.
            on_sweep: is called on the thread with each sweep.
        """
        self._authority = authority
        self._clock = clock
        self._on_scopes = on_scopes
        self._on_sweep = on_sweep
        self._rows: dict[int, int] = {}
        self._scopes: dict[str, None] = {}
        self._asked = asyncio.Event()
        self._is_told = False
        self._sweep_at = 0.0
        self._told = ""

    def __repr__(self) -> str:
        return f"<Governor {len(self._rows)} rows and {len(self._scopes)} scopes wanted>"

    def want(self, wanted: Wanted) -> None:
        """A worker's calls wait; never waits itself."""
        for row, nanousd in wanted.rows.items():
            if row in self._rows or len(self._rows) < MAX_WANTED:
                self._rows[row] = max(nanousd, self._rows.get(row, 0))
        for scope in wanted.scopes[: MAX_WANTED - len(self._scopes)]:
            self._scopes[scope] = None
        self._asked.set()

    def look(self) -> None:
        """Look at once, and again soon: a worker has gone, or it is time to stop."""
        self._is_told = True
        self._asked.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; `look` ends the wait."""
        thread = ThreadPoolExecutor(1, "budgets")
        try:
            while not stopping.is_set():
                self._asked.clear()
                looks_again, self._is_told = self._is_told, False
                await self._turn(thread)
                pause = SOON_SECONDS if looks_again else self._pause_seconds()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), pause)
        finally:
            thread.shutdown(wait=False)  # it may wait for a database that hangs

    def _pause_seconds(self) -> float:
        """How long nothing has to be looked at that nobody tells of."""
        if self._authority.is_waiting:
            return SOON_SECONDS
        until_window = self._authority.next_window_at - self._clock.now()
        return min(max(until_window, SOON_SECONDS), TICK_SECONDS)

    async def _turn(self, thread: ThreadPoolExecutor) -> None:
        rows, self._rows = self._rows, {}
        scopes, self._scopes = list(self._scopes), {}
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._work, rows, scopes)
        except StoreUnavailable as error:
            if not self._told:
                log.warning("budgets wait for the database", reason=str(error), now="it is tried again")
            self._told = self._told or str(error)
        except (FerrymanError, OSError, ValueError) as error:
            self._tell("budgets not kept", error)
        else:
            self._told = ""

    def _work(self, rows: dict[int, int], scopes: list[str]) -> None:
        if scopes:
            self._on_scopes(scopes)
        if rows:
            self._authority.answer(rows)
        self._authority.tick()
        if self._clock.monotonic() >= self._sweep_at:
            self._sweep_at = self._clock.monotonic() + SWEEP_SECONDS
            self._on_sweep()
            self._authority.sweep()

    def _tell(self, what: str, error: Exception) -> None:
        if str(error) != self._told:  # once, not at every tick
            log.error(what, reason=str(error), now="it is tried again")
        self._told = str(error)
