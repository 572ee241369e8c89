"""The table of counters, for a process that looks at it from several threads."""

from __future__ import annotations

import threading
from pathlib import Path

from ferryman.limits.table import CounterTable


class SharedTable(CounterTable):
    """As the table itself, but that each thread has a fence of its own.

    A worker has one thread, and its fence takes a lock that is always taken: two threads would release it
    twice. Who changes heads or rows still has to be the only one.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """See `CounterTable`."""
        super().__init__(path, descriptor)
        self._of_thread = threading.local()

    def fence(self) -> None:
        """See `CounterTable.fence`."""
        gate: threading.Lock | None = getattr(self._of_thread, "gate", None)
        if gate is None:
            gate = self._of_thread.gate = threading.Lock()
            gate.acquire()
        gate.release()
        gate.acquire()
