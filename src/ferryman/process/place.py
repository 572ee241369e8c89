"""A place for a process, as the supervisor sees it: who fills it, and whether it still lives."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from ferryman.process.child import name_of
from ferryman.process.messages import ProcessState

RESTART_SECONDS = 0.1
MAX_RESTART_SECONDS = 10.0
"""Before a process is started again: the first time, and at most; doubled each time."""

TICK_SECONDS = 1.0
"""Between two looks at who has told that it lives; each does so as often."""

SILENT_TICKS = 30
"""So many looks without a word, and a process is taken for hung. A loop that is held up for a second is a
fault already; half a minute is what gunicorn waits (https://docs.gunicorn.org/en/stable/settings.html#timeout),
and Kubernetes with three probes ten seconds apart. Looks are counted and not seconds, so that what stops us,
too, such as a machine that sleeps, kills nobody."""

FIRST_TICKS = 120
"""The same for the first word: an interpreter may take long to come up on a machine that is busy or small."""


class Process:
    """One place for a process, and whoever fills it now.

    Attributes:
        role, number: see `ferryman.process.messages.Handover`.
        state, pid, started_at, restarts: see `ferryman.process.messages.ProcessState`.
        wait_seconds: before it is started again, if it dies.
        wanted: it is started again when it ends.
        ended: it has, and is not started again.
    """

    def __init__(self, role: str, number: int, silent_ticks: int = SILENT_TICKS) -> None:
        """Nobody fills it yet, who then may be silent for `silent_ticks`."""
        self.role = role
        self.number = number
        self.state = "starting"
        self.started_at: float | None = None
        self.restarts = 0
        self.wait_seconds = RESTART_SECONDS
        self.wanted = True
        self._silent_ticks = silent_ticks
        self._ticks_left = FIRST_TICKS
        self.unwanted = asyncio.Event()
        self.ended = asyncio.Event()
        self.running: asyncio.subprocess.Process | None = None
        self.lifeline: asyncio.StreamWriter | None = None

    def __repr__(self) -> str:
        return f"<Process {self.name}: {self.state}, pid {self.pid}>"

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return name_of(self.role, self.number)

    @property
    def pid(self) -> int | None:
        """Of the process, `None` while there is none."""
        return self.running.pid if self.running is not None else None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.running is not None and self.running.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.running.send_signal(number)

    def end(self) -> None:
        """Ask it to end, for good."""
        self.wanted = False
        self.unwanted.set()
        self.state = "stopping"
        self.send(signal.SIGTERM)

    def begins(self) -> None:
        """A new process fills the place."""
        self._ticks_left = FIRST_TICKS

    def heard(self) -> None:
        """It has told something, so it lives."""
        self._ticks_left = self._silent_ticks

    def tick(self) -> bool:
        """Time has passed; whether the process has just become one that hangs."""
        if self.pid is not None:
            self._ticks_left -= 1
        return self._ticks_left == 0 and self.pid is not None

    def told(self) -> ProcessState:
        """What is told of it."""
        return ProcessState(self.role, self.number, self.state, self.pid, self.started_at, self.restarts)
