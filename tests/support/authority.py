"""Machines with a table of counters and a control plane's side of it, and workers that call."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from ferryman.control.authority import Authority
from ferryman.control.rows import Capped, Place
from ferryman.control.shared_table import SharedTable
from ferryman.ledger.files import segment_path
from ferryman.limits.admission import Admission
from ferryman.limits.rules import Demand, Taken
from ferryman.limits.spec import Budget
from ferryman.limits.verdict import NotReady, Refused
from ferryman.limits.windows import Calendar
from tests.support.counters import START, from_journal, spending
from tests.support.limits import counted
from tests.support.stores import opened

CAP = 1_000
KEY = "key:k1"


class Watch:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.wall = START.timestamp()
        self.ticks = 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks


class Worker:
    """A worker, as far as its column and its journal's lock go."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.number = 0
        directory = machine.journals / name
        directory.mkdir(parents=True)
        segment_path(directory, 1).touch()
        self._lock = os.open(directory, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        column = machine.table.claim(name)
        assert column is not None
        self.gate = Admission(machine.table, column, Calendar())

    def call(self, budgets: list[Budget], hold: int = 100) -> Taken | Refused | NotReady:
        return self.gate.admit(counted([], budgets), Demand(expected_nanousd=hold), self.machine.clock.now())

    def taken(self, budgets: list[Budget], hold: int = 100) -> Taken:
        """A call that is let through; what it needs is got for it."""
        found = self.call(budgets, hold)
        if isinstance(found, NotReady):
            self.machine.authority.answer({need.row: need.granted_nanousd for need in found.needs})
            found = self.call(budgets, hold)
        assert isinstance(found, Taken), found
        return found

    def store(self, nanousd: int, **changes: Any) -> None:
        """What an exchange came to is in the ledger."""
        self.number += 1
        number = self.machine.seed * 10_000 + int(self.name[0]) * 1_000 + self.number
        self.machine.store.write.insert_entries(
            [spending(number, nanousd, **changes)], from_journal(self.name, self.number)
        )

    def spend(self, budgets: list[Budget], nanousd: int, **changes: Any) -> None:
        """A whole exchange."""
        self.gate.settle(self.taken(budgets, nanousd), 0, 0, nanousd)
        self.store(nanousd, **changes)

    def die(self) -> None:
        os.close(self._lock)


class Machine:
    """A control plane with its table."""

    def __init__(self, directory: Path, url: str, clock: Watch, seed: int = 0) -> None:
        self.clock = clock
        self.seed = seed
        self.journals = directory / "journal"
        self.path = directory / "table"
        directory.mkdir(exist_ok=True)
        self.store = opened(url)
        self.store.migrate()
        self.id = f"m{seed}" if self.store.spends.are_shared else ""
        self.store.write.machine = self.id
        self.table = SharedTable.create(self.path, 2)
        self.begin()

    def begin(self) -> None:
        """As after a restart of the control plane."""
        place = Place(self.journals, "UTC", self.id)
        self.authority = Authority(self.table, self.store.spends, self.clock, place)

    def budgets(self, *some: Capped, scope: str = KEY) -> list[Budget]:
        handles = self.authority.set_scopes({scope: some})[scope]
        return [
            Budget(one.cap_nanousd, handle, one.duration, one.anchor, one.model)
            for one, handle in zip(some, handles, strict=True)
        ]

    def bury(self, worker: Worker) -> None:
        """Its journal is stored whole, and removed."""
        self.authority.fold(worker.name)
        self.store.spends.forget_journal(worker.name)
        shutil.rmtree(self.journals / worker.name)

    def close(self) -> None:
        self.table.close()
        self.store.close()


def spent(machine: Machine, window: str = "") -> int:
    return machine.authority.spent(KEY, window)
