"""Where the time comes from. Everything that needs it is given a clock, so that tests can set it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time, in seconds."""

    def now(self) -> float:
        """Unix time: for records."""

    def monotonic(self) -> float:
        """Time that never goes back, from an arbitrary start: for durations and deadlines."""


class SystemClock:
    """The machine's clock."""

    __slots__ = ()
    now = staticmethod(time.time)  # noqa: TID251  # the one place it is read
    monotonic = staticmethod(time.perf_counter)
