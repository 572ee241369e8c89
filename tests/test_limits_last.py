"""Two processes that reach for the last of a budget at the same moment, many times over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ferryman.limits.heads import set_head
from ferryman.limits.layout import COUNT
from ferryman.limits.table import CounterTable

ROUNDS = 3_000

WORKER = """
import os, sys
from pathlib import Path
from ferryman.limits.admission import Admission
from ferryman.limits.layout import COUNT
from ferryman.limits.spec import Budget
from ferryman.limits.table import CounterTable
from ferryman.limits.rules import Demand, Rule, Taken
from ferryman.limits.windows import Calendar

table = CounterTable.open(Path(sys.argv[1]))
rounds, column = int(sys.argv[2]), int(sys.argv[3])
assert table.claim(f"journal {column}") == column
gate = Admission(table, column, Calendar())
demand = Demand(ceiling_nanousd=600)
words = table.words
mine, other = table.cell(0, column) + COUNT, table.cell(0, 1 - column) + COUNT
let = 0
for row in range(1, rounds + 1):
    budgets = [Budget(1_000, row, hold="ceiling")]
    words[mine] = row
    looks = 0
    while words[other] < row:  # until both are here
        looks += 1
        if looks > 100:
            os.sched_yield()
    if isinstance(gate.admit([Rule(one) for one in budgets], demand, 1_795_334_400.0), Taken):
        let += 1
        print(row)
"""


def test_never_do_both_get_it(tmp_path: Path) -> None:
    table = CounterTable.create(tmp_path / "counters", 1)
    table.row_of("where both are")
    for number in range(1, ROUNDS + 1):
        assert table.row_of(str(number)) == number
        set_head(table, number, 1, 0, 1_000)
    assert table.claim("journal 0") == 0  # so that each gets its own, whoever comes first
    assert table.claim("journal 1") == 1
    words = [sys.executable, "-c", WORKER, str(table.path), str(ROUNDS)]
    running = [
        subprocess.Popen([*words, str(number)], stdout=subprocess.PIPE, text=True) for number in range(2)
    ]
    try:
        told = [one.communicate(timeout=50)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0]
    let = [{int(row) for row in text.split()} for text in told]
    assert not let[0] & let[1]
    assert len(let[0] | let[1]) > ROUNDS * 0.9  # both may be refused, but seldom are
    left = [table.words[table.cell(row, n) + COUNT] for n in range(2) for row in range(1, ROUNDS + 1)]
    assert left.count(600) == len(let[0] | let[1])
    assert set(left) <= {0, 600}
