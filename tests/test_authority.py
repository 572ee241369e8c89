"""The control plane's side of the table of counters, with real tables, journals' locks and databases."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ferryman.control.authority import Authority, Place
from ferryman.control.rows import Capped
from ferryman.ledger.files import segment_path
from ferryman.limits.admission import Admission
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.verdict import Demand, NotReady, Refused, Taken
from ferryman.limits.windows import Calendar
from ferryman.store.schema_counters import grants
from tests.support.counters import START, from_journal, spending
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
        return self.gate.admit([], budgets, Demand(expected_nanousd=hold), self.machine.clock.now())

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
        self.table = CounterTable.create(self.path, 2)
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


@pytest.fixture
def at() -> Watch:
    return Watch()


@pytest.fixture
def machine(tmp_path: Path, url: str, at: Watch) -> Iterator[Machine]:
    with closing(Machine(tmp_path / "m", url, at)) as one:
        yield one


def spent(machine: Machine, window: str = "") -> int:
    return machine.authority.spent(KEY, window)


def test_what_is_spent_counts_at_once_and_stays_when_it_is_stored(machine: Machine) -> None:
    budgets = machine.budgets(Capped(cap_nanousd=CAP))
    worker = Worker(machine, "1-a")
    machine.authority.tick()
    worker.gate.settle(worker.taken(budgets), 0, 0, 70)
    assert spent(machine) == 70
    worker.store(70)
    machine.authority.sweep()
    assert spent(machine) == 70
    held = worker.taken(budgets, 300)
    assert machine.authority.reached(KEY)[2:] == (70, 300)
    assert isinstance(worker.call(budgets, 700), Refused | NotReady)
    worker.gate.give_back(held)
    worker.taken(budgets, 700)


def test_a_dead_workers_holds_count_until_its_journal_is_stored(machine: Machine) -> None:
    budgets = machine.budgets(Capped(cap_nanousd=CAP))
    worker, other = Worker(machine, "1-a"), Worker(machine, "2-a")
    machine.authority.tick()
    worker.spend(budgets, 100)
    worker.taken(budgets, 300)
    worker.die()
    machine.authority.tick()
    assert machine.authority.reached(KEY)[2:] == (100, 300)
    worker.store(50)  # of the call that it did not end
    machine.authority.sweep()
    assert sum(machine.authority.reached(KEY)[2:]) >= 350
    machine.bury(worker)
    assert machine.authority.reached(KEY)[2:] == (150, 0)
    assert [column.journal for column in machine.table.columns()] == ["2-a"]
    other.spend(budgets, 850)
    assert isinstance(other.call(budgets, 1), Refused)


def test_a_dead_workers_parallel_calls_end_at_once(machine: Machine) -> None:
    limit = Limit("parallel", 1, machine.authority.row_of("limit"))
    worker, other = Worker(machine, "1-a"), Worker(machine, "2-a")
    now = machine.clock.now()
    assert isinstance(worker.gate.admit([limit], [], Demand(), now), Taken)
    assert isinstance(other.gate.admit([limit], [], Demand(), now), Refused)
    worker.die()
    machine.authority.tick()
    assert isinstance(other.gate.admit([limit], [], Demand(), now), Taken)


def test_a_new_window_begins_with_the_clock(machine: Machine) -> None:
    budgets = machine.budgets(Capped("1h", cap_nanousd=CAP))
    worker = Worker(machine, "1-a")
    machine.authority.tick()
    worker.spend(budgets, 900)
    machine.clock.wall += 1_800  # 23:00
    assert isinstance(worker.call(budgets, 900), NotReady)
    machine.authority.tick()
    assert spent(machine, "1h") == 0
    worker.spend(budgets, 900, minutes=30)
    machine.authority.sweep()
    assert spent(machine, "1h") == 900


def test_a_control_plane_that_begins_anew_finds_all_as_it_was(machine: Machine) -> None:
    caps = Capped(cap_nanousd=CAP), Capped("1h", cap_nanousd=CAP)
    budgets = machine.budgets(*caps)
    worker = Worker(machine, "1-a")
    machine.authority.tick()
    worker.spend(budgets, 100)
    worker.taken(budgets, 300)
    machine.begin()
    assert machine.budgets(*caps) == budgets
    machine.authority.tick()
    assert machine.authority.reached(KEY, "1h")[2:] == (100, 300)
    worker.spend(budgets, 600)
    assert isinstance(worker.call(budgets, 1), Refused | NotReady)


def test_nothing_is_ready_before_the_journals_of_the_dead_are_read(machine: Machine) -> None:
    worker = Worker(machine, "1-a")
    worker.die()
    machine.table.release(0)  # as after a restart of the machine
    budgets = machine.budgets(Capped(cap_nanousd=CAP))
    other = Worker(machine, "2-a")
    machine.authority.tick()
    assert isinstance(other.call(budgets), NotReady)
    worker.store(950)
    machine.bury(worker)
    machine.authority.tick()
    assert spent(machine) == 950
    assert isinstance(other.call(budgets), Refused)


def test_a_dead_worker_is_folded_before_the_new_control_plane_has_begun(machine: Machine) -> None:
    budgets = machine.budgets(Capped(cap_nanousd=CAP))
    worker, other = Worker(machine, "1-a"), Worker(machine, "2-a")
    machine.authority.tick()
    worker.spend(budgets, 900)
    worker.die()
    machine.begin()
    machine.bury(worker)
    assert isinstance(other.call(budgets, 200), NotReady)
    machine.budgets(Capped(cap_nanousd=CAP))
    machine.authority.tick()
    assert spent(machine) == 900
    assert isinstance(other.call(budgets, 200), Refused)


def test_a_budget_that_comes_later_begins_with_what_was_spent(machine: Machine) -> None:
    total = machine.budgets(Capped())
    worker = Worker(machine, "1-a")
    machine.authority.tick()
    worker.gate.settle(worker.taken(total), 0, 0, 400)
    worker.store(400)
    both = machine.budgets(Capped(), Capped("1d", cap_nanousd=CAP))
    machine.authority.tick()
    assert (spent(machine), spent(machine, "1d")) == (400, 400)
    machine.clock.wall += 60
    worker.spend(both, 500, minutes=1)
    assert (spent(machine), spent(machine, "1d")) == (900, 900)
    machine.budgets(Capped())
    assert spent(machine) == 900


def test_a_budget_that_is_reset_goes_on_from_there(machine: Machine) -> None:
    budgets = machine.budgets(Capped(cap_nanousd=CAP))
    worker = Worker(machine, "1-a")
    machine.authority.tick()
    worker.spend(budgets, 500)
    worker.gate.settle(worker.taken(budgets), 0, 0, 70)  # not stored yet
    machine.authority.reset(KEY, "", "", 20)
    assert spent(machine) == 20
    worker.store(70)
    machine.authority.sweep()
    assert spent(machine) == 20
    worker.spend(budgets, 980)


@pytest.fixture
def pair(tmp_path: Path, server: Any, at: Watch) -> Iterator[tuple[Machine, Machine]]:
    url = server.database()
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(closing(Machine(tmp_path / f"m{n}", url, at, seed=n))) for n in (1, 2)
        )
        yield one, two


def test_two_machines_share_a_cap(pair: tuple[Machine, Machine]) -> None:
    caps = Capped(cap_nanousd=CAP)
    workers, total = [], 0
    for machine in pair:
        budgets = machine.budgets(caps)
        workers.append((machine, Worker(machine, f"1-{machine.id}"), budgets))
        machine.authority.tick()
    for turn in range(300):
        machine, worker, budgets = workers[turn % 3 == 0]
        found = worker.call(budgets, 7)
        if isinstance(found, NotReady):
            machine.authority.answer({need.row: need.granted_nanousd for need in found.needs})
            found = worker.call(budgets, 7)
        if isinstance(found, Taken):
            worker.gate.settle(found, 0, 0, 7)
            worker.store(7)
            total += 7
        if turn % 10 == 0:
            machine.authority.sweep()
    assert CAP - 7 - 300 < total <= CAP
    for machine in pair:
        machine.clock.ticks += 100
        machine.authority.sweep()
        machine.authority.sweep()
    assert [spent(machine) for machine in pair] == [total, total]


def test_a_killed_machines_slice_comes_back_when_its_journals_are_read(
    pair: tuple[Machine, Machine],
) -> None:
    one, two = pair
    budgets = [machine.budgets(Capped(cap_nanousd=CAP)) for machine in pair]
    workers = [Worker(machine, f"1-{machine.id}") for machine in pair]
    for machine in pair:
        machine.authority.tick()
    workers[0].spend(budgets[0], 100)
    workers[0].taken(budgets[0], 300)  # and the machine is switched off
    workers[0].die()
    one.table.release(0)
    got = 0
    while isinstance(found := workers[1].call(budgets[1], 50), NotReady | Taken):
        if isinstance(found, NotReady):
            two.authority.answer({need.row: need.granted_nanousd for need in found.needs})
            found = workers[1].call(budgets[1], 50)
            if isinstance(found, NotReady):
                break
        assert isinstance(found, Taken)
        workers[1].gate.settle(found, 0, 0, 50)
        workers[1].store(50)
        got += 50
    assert got <= 600
    one.begin()
    one.budgets(Capped(cap_nanousd=CAP))
    workers[0].store(30)  # what its journal had of the call
    one.bury(workers[0])
    one.authority.tick()
    one.authority.sweep()
    one.clock.ticks += 100
    one.authority.sweep()
    two.authority.sweep()
    assert spent(two) == got + 130
    workers[1].taken(budgets[1], CAP - got - 130)


def test_a_machine_that_is_forfeited_keeps_nothing_but_what_it_has_spent(
    pair: tuple[Machine, Machine],
) -> None:
    one, two = pair
    budgets = [machine.budgets(Capped(cap_nanousd=CAP)) for machine in pair]
    workers = [Worker(machine, f"1-{machine.id}") for machine in pair]
    for machine in pair:
        machine.authority.tick()
        machine.store.spends.seen(machine.id, f"host{machine.seed}", 1)
    workers[0].spend(budgets[0], 100)
    workers[0].taken(budgets[0], 600)
    found = one.store.spends.machines()
    assert [(each.host, each.idle_nanousd >= 600) for each in found] == [("host1", True), ("host2", False)]
    assert isinstance(workers[1].call(budgets[1], 800), NotReady)
    assert two.store.spends.forfeit(one.id) >= 600
    workers[1].taken(budgets[1], 900)


def test_machines_that_race_never_pass_a_cap_though_one_is_killed(pair: tuple[Machine, Machine]) -> None:
    cap = 20_000
    holds = [0, 0]
    spent_by = [0, 0]
    budgets = [machine.budgets(Capped(cap_nanousd=cap)) for machine in pair]
    workers = [Worker(machine, f"1-{machine.id}") for machine in pair]
    for machine in pair:
        machine.authority.tick()
    killed = threading.Event()

    def run(which: int) -> None:
        machine, worker = pair[which], workers[which]
        draw = random.Random(which)
        for turn in range(400):
            amount = draw.randrange(1, 200)
            found = worker.call(budgets[which], amount)
            if isinstance(found, NotReady):
                machine.authority.answer({need.row: need.granted_nanousd for need in found.needs})
                found = worker.call(budgets[which], amount)
            if not isinstance(found, Taken):
                if which == 0 or killed.is_set():
                    return
                continue
            if which == 0 and turn == 60:
                holds[0] = amount
                return
            worker.gate.settle(found, 0, 0, amount)
            spent_by[which] += amount
            if draw.random() < 0.5:
                worker.store(amount)
            if turn % 20 == 0:
                machine.clock.ticks += 11
                machine.authority.sweep()

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    threads[0].join()
    killed.set()
    threads[1].join()
    assert spent_by[0] > 0
    assert sum(spent_by) + holds[0] <= cap
    with pair[0].store._engines.read.connect() as connection:
        assert sum(connection.execute(select(grants.c.granted_nanousd)).scalars()) <= cap
