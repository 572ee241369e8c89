"""Processes that race for the last of a budget: the cap holds at every moment, and all of it is spent."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferryman.limits.heads import budget_state, fold, limit_state, set_head, zero_gauges
from ferryman.limits.layout import SPENT
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar

WORKERS = 4
HOLD = 1_000
CAP = WORKERS * 200 * HOLD
"""What each wants, so that all of them see the end of it."""

WORKER = """
import sys
from pathlib import Path
from ferryman.limits.admission import Admission
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.rules import Demand, Rule, Taken
from ferryman.limits.verdict import Refused
from ferryman.limits.windows import Calendar

path, journal, cap, hold, actual, goes_on = sys.argv[1:]
table = CounterTable.open(Path(path))
column = table.claim(journal)
gate = Admission(table, column, Calendar())
limits = [Limit("parallel", 1_000, int(sys.stdin.readline()))]
budgets = [Budget(int(cap), int(sys.stdin.readline()), hold="ceiling")]
demand = Demand(ceiling_nanousd=int(hold))
print(column, flush=True)
sys.stdin.readline()
let, refused = 0, 0
calls = []
while refused < (10**9 if goes_on == "yes" else 200):
    verdict = gate.admit([Rule(one) for one in [*budgets, *limits]], demand, 1_795_334_400.0)
    if isinstance(verdict, Taken):
        let, refused = let + 1, 0
        calls.append(verdict)
    else:
        assert isinstance(verdict, Refused), verdict
        refused += 1
    if len(calls) > 5 or isinstance(verdict, Refused):
        for one in calls:
            gate.settle(one, 0, 0, int(actual))
        calls.clear()
print(let)
"""


class Race:
    """A table with a budget and a limit, and processes that use it."""

    def __init__(self, path: Path) -> None:
        self.table = CounterTable.create(path, WORKERS)
        self.limit = Limit("parallel", 1_000, self.table.row_of("parallel"))
        self.budget = Budget(CAP, self.table.row_of("budget"), hold="ceiling")
        self.running: list[subprocess.Popen[str]] = []
        set_head(self.table, self.budget.row, 1, 0, CAP)

    def start(self, journals: str, actual: int = HOLD, goes_on: str = "no") -> list[subprocess.Popen[str]]:
        """A process for each of the journals, all of which have claimed their columns and wait."""
        started = []
        for journal in journals:
            words = [
                sys.executable,
                "-c",
                WORKER,
                str(self.table.path),
                journal,
                str(CAP),
                str(HOLD),
                str(actual),
            ]
            one = subprocess.Popen(
                [*words, goes_on], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            started.append(one)
            self.running.append(one)
            self.tell(one, f"{self.limit.row}\n{self.budget.row}\n")
        for one in started:
            assert one.stdout is not None
            assert one.stdout.readline() != ""
        return started

    def tell(self, one: subprocess.Popen[str], text: str) -> None:
        assert one.stdin is not None
        one.stdin.write(text)
        one.stdin.flush()

    def spent(self) -> tuple[int, int]:
        state = budget_state(self.table, self.budget, Calendar(), 1_795_334_400.0)
        return state.spent_nanousd, state.held_nanousd

    def watch(self, workers: list[subprocess.Popen[str]]) -> int:
        """Let them run to their end, and look all the while; how many calls they were let through."""
        while any(one.poll() is None for one in workers):
            assert self.spent()[0] <= CAP
        assert [one.returncode for one in workers] == [0] * len(workers)
        return sum(int(one.stdout.read()) for one in workers if one.stdout is not None)


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    race = Race(tmp_path / "counters")
    yield race
    for one in race.running:
        one.kill()
        one.communicate()
    race.table.close()


def test_racing_processes_spend_all_of_a_cap_and_no_more(race: Race) -> None:
    workers = race.start("abcd")
    for one in workers:
        race.tell(one, "go\n")
    assert race.watch(workers) * HOLD == CAP
    assert race.spent() == (CAP, 0)
    assert limit_state(race.table, race.limit, 0).used == 0


def test_what_is_not_spent_of_holds_is_there_for_others(race: Race) -> None:
    workers = race.start("abcd", actual=300)
    for one in workers:
        race.tell(one, "go\n")
    let = race.watch(workers)
    assert race.spent() == (let * 300, 0)
    assert CAP - HOLD < let * 300 <= CAP


def test_killed_worker_takes_no_more_than_it_had_and_its_column_comes_back(race: Race) -> None:
    workers = race.start("abc") + race.start("d", goes_on="yes")
    for one in workers:
        race.tell(one, "go\n")
    killed = workers.pop()
    while race.spent()[0] < CAP // 10:
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    race.watch(workers)
    table, row = race.table, race.budget.row
    assert table.claim("e") == 4
    table.release(4)
    zero_gauges(table, 3)
    assert limit_state(table, race.limit, 0).used == 0
    spent, held = race.spent()
    assert spent <= CAP
    assert held <= 6 * HOLD  # what it had let through, and perhaps what it had announced
    fold(table, 3, row, 1, table.words[table.cell(row, 3) + SPENT])
    table.release(3)
    assert race.spent() == (spent, 0)
    last = race.start("f")
    assert [column.journal for column in table.columns() if column.number == 3] == ["f"]
    race.tell(last[0], "go\n")
    race.watch(last)
    assert race.spent() == (CAP, 0)
