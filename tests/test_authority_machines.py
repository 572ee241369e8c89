"""Machines that share a database share each cap, whoever of them is killed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ferryman.control.access.machines import GONE_SECONDS
from ferryman.control.rows import Capped
from ferryman.limits.rules import Taken
from ferryman.limits.spec import Budget
from ferryman.limits.verdict import NotReady
from ferryman.store.schema_counters import grants
from tests.support.authority import CAP, Machine, Watch, Worker, spent
from tests.support.control import MASTER, Control
from tests.support.gateway import HeldClock
from tests.test_cli_keys import Cli


@pytest.fixture
def at() -> Watch:
    return Watch()


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


def test_machine_is_forfeited_over_http_once_it_was_silent(
    pair: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, two = pair
    budgets = [machine.budgets(Capped(cap_nanousd=CAP)) for machine in pair]
    worker = Worker(one, f"1-{one.id}")
    for machine in pair:
        machine.authority.tick()
    worker.taken(budgets[0], 600)
    clock = HeldClock()
    one.store.spends.seen(one.id, "host1", round(clock.now() * 1e6))
    with Control(two.store, clock=clock) as control:
        (row,) = control.get("/budget/machines")
        assert (row["machine"], row["host"], row["seen_at"][:10]) == (one.id, "host1", "2027-01-15")
        assert row["idle_nanousd"] >= 600
        clock.seconds += GONE_SECONDS - 1
        assert "may spend what it was granted" in control.refused("/budget/forfeit", {"machine": one.id})
        assert "no machine" in control.refused("/budget/forfeit", {"machine": "x"}, 404)
        clock.seconds += 1
        assert control._client is not None
        cli = Cli(tmp_path, FERRYMAN_URL=str(control._client.base_url), FERRYMAN_MASTER_KEY=MASTER)
        assert one.id in cli.out("budgets", "machines")
        assert cli.ended("budgets", "forfeit", one.id, answer="n")[0] == 1
        assert cli.told("budgets", "forfeit", one.id, "--yes")["forfeited_nanousd"] >= 600
        assert control.get("/budget/machines") == []
        (noted,) = control.get("/audit", kind="budget", object_id=one.id)["audit"]
        assert (noted["action"], noted["actor"], noted["after"]["host"]) == ("forfeit", "master key", "host1")
    Worker(two, f"1-{two.id}").taken(budgets[1], 900)


class Racer:
    """Calls of one machine, one after another."""

    def __init__(self, worker: Worker, budgets: list[Budget], killed: threading.Event) -> None:
        self.worker = worker
        self.machine = worker.machine
        self.budgets = budgets
        self.killed = killed
        self.spent = self.held = 0

    def run(self, *, until_killed_at: int) -> None:
        draw = random.Random(self.machine.seed)
        for turn in range(400):
            amount = draw.randrange(1, 200)
            try:
                taken = self.worker.taken(self.budgets, amount)
            except AssertionError:  # there is not as much left
                if self.killed.is_set():
                    return
                continue
            if turn == until_killed_at:
                self.held = amount
                return
            self.worker.gate.settle(taken, 0, 0, amount)
            self.spent += amount
            if draw.random() < 0.5:
                self.worker.store(amount)
            if turn % 20 == 0:
                self.machine.clock.ticks += 11
                self.machine.authority.sweep()


def test_machines_that_race_never_pass_a_cap_though_one_is_killed(pair: tuple[Machine, Machine]) -> None:
    cap, killed = 20_000, threading.Event()
    racers = []
    for machine in pair:
        budgets = machine.budgets(Capped(cap_nanousd=cap))
        racers.append(Racer(Worker(machine, f"1-{machine.id}"), budgets, killed))
        machine.authority.tick()
    threads = [
        threading.Thread(target=one.run, kwargs={"until_killed_at": turn})
        for one, turn in zip(racers, (60, 1_000), strict=True)
    ]
    for thread in threads:
        thread.start()
    threads[0].join()
    killed.set()
    threads[1].join()
    assert racers[0].spent > 0
    assert racers[0].held > 0
    assert sum(one.spent + one.held for one in racers) <= cap
    with pair[0].store._engines.read.connect() as connection:
        assert sum(connection.execute(select(grants.c.granted_nanousd)).scalars()) <= cap
