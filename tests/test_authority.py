"""The control plane's side of the table of counters, with real tables, journals' locks and databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ferryman.control.govern import TICK_SECONDS, Governor
from ferryman.control.ledger import Bookkeeper
from ferryman.control.machine import machine_id
from ferryman.control.rows import Capped
from ferryman.errors import SettingsError
from ferryman.ledger.records import encode
from ferryman.ledger.writer import JournalWriter
from ferryman.limits.admission import Admission
from ferryman.limits.rules import Demand, Taken
from ferryman.limits.spec import Limit
from ferryman.limits.verdict import NotReady, Refused
from ferryman.limits.windows import Calendar
from ferryman.process.messages import Wanted
from tests.support.authority import CAP, KEY, Machine, Watch, Worker, spent
from tests.support.counters import spending
from tests.support.limits import counted


@pytest.fixture
def at() -> Watch:
    return Watch()


@pytest.fixture
def machine(tmp_path: Path, url: str, at: Watch) -> Iterator[Machine]:
    with closing(Machine(tmp_path / "m", url, at)) as one:
        yield one


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
    assert isinstance(worker.gate.admit(counted([limit], []), Demand(), now), Taken)
    assert isinstance(other.gate.admit(counted([limit], []), Demand(), now), Refused)
    worker.die()
    machine.authority.tick()
    assert isinstance(other.gate.admit(counted([limit], []), Demand(), now), Taken)


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


def test_a_killed_workers_column_is_free_when_the_bookkeeper_has_stored_its_journal(
    tmp_path: Path, url: str, at: Watch
) -> None:
    with closing(Machine(tmp_path / "m", url, at)) as machine:
        budgets = machine.budgets(Capped(cap_nanousd=CAP))
        writer = JournalWriter(machine.journals / "1-a", at)
        column = machine.table.claim("1-a")
        assert column == 0
        gate = Admission(machine.table, column, Calendar())
        bookkeeper = Bookkeeper(machine.journals, machine.store, at, on_stored=machine.authority.fold)
        machine.authority.tick()
        if machine.id:
            machine.authority.answer({budgets[0].row: 900})
        demand = Demand(expected_nanousd=200)
        for number in (1, 2, 3):
            taken = gate.admit(counted([], budgets), demand, at.now())
            assert isinstance(taken, Taken)
            if number < 3:
                gate.settle(taken, 0, 0, 150)
                writer.closed(encode(spending(number, 150)))
        while bookkeeper.work():
            pass
        assert machine.authority.reached(KEY)[2:] == (300, 200)
        writer.close()
        while bookkeeper.work():
            pass
        assert machine.table.columns() == []
        assert machine.authority.reached(KEY)[2:] == (300, 0)


def test_calls_that_wait_are_answered_at_once(tmp_path: Path, url: str, at: Watch) -> None:
    asyncio.run(_calls_that_wait(tmp_path, url, at))


async def _calls_that_wait(tmp_path: Path, url: str, at: Watch) -> None:
    with closing(Machine(tmp_path / "m", url, at)) as machine:
        budgets = machine.budgets(Capped(cap_nanousd=CAP))
        worker = Worker(machine, "1-a")
        heard: list[str] = []
        governor = Governor(machine.authority, at, on_scopes=heard.extend)
        stopping = asyncio.Event()
        running = asyncio.create_task(governor.run(stopping))
        governor.want(Wanted(["session:s1"], {budgets[0].row: 300}))
        async with asyncio.timeout(10):
            while not isinstance(worker.call(budgets, 300), Taken):  # noqa: ASYNC110  # of another process
                await asyncio.sleep(0.01)
        assert heard == ["session:s1"]
        assert governor._pause_seconds() == TICK_SECONDS, "nothing is due"
        machine.budgets(Capped("1d", cap_nanousd=CAP))
        machine.authority.tick()
        at.wall = machine.authority.next_window_at - 0.5
        assert governor._pause_seconds() == pytest.approx(0.5), "a window ends"
        stopping.set()
        governor.look()
        async with asyncio.timeout(0.9 * TICK_SECONDS):  # it waits no longer for anything
            await running


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = machine_id(tmp_path / "data")
    assert machine_id(tmp_path / "data") == first
    assert machine_id(tmp_path / "other") != first
    (tmp_path / "other" / "machine").write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        machine_id(tmp_path / "other")
