"""What the control plane writes to the table of counters, and what it reads: the numbers workers judge by.

One process writes heads, and to what dead workers have left in cells. Workers read meanwhile: each change is
made in an order in which they may see too much for a moment, and never too little.
"""

from __future__ import annotations

import msgspec

from ferryman.limits.cells import GAUGE_EPOCH, minutes_in, rate_of, sum_in
from ferryman.limits.layout import BASE, EPOCH, EPOCH_BITS, GRANTED, SPENT, epoch_of
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar


class BudgetState(msgspec.Struct, frozen=True, gc=False):
    """A budget, as this machine knows it.

    Attributes:
        start, end: of the window, in Unix seconds; `end` is `None` for never.
        spent_nanousd: settled on this machine in this window.
        held_nanousd: held by exchanges on their way, beside it.
        remaining_nanousd: of the cap, `None` if there is none; never below 0.
        granted_nanousd: what this machine may commit in this window, all in all; 0 if it is not in it yet.
    """

    start: int
    end: int | None
    spent_nanousd: int
    held_nanousd: int
    remaining_nanousd: int | None
    granted_nanousd: int


class LimitState(msgspec.Struct, frozen=True, gc=False):
    """A limit, as this machine knows it.

    Attributes:
        used: in the last 60 seconds, by the estimate, or at once.
        remaining: never below 0.
        resets_at: Unix seconds, when nothing is used if nobody comes; `None` for what counts at once.
    """

    used: int
    remaining: int
    resets_at: int | None


def budget_state(table: CounterTable, budget: Budget, calendar: Calendar, now_seconds: float) -> BudgetState:
    """How much of `budget` is spent."""
    span = calendar.span(budget.window, budget.anchor, now_seconds)
    epoch = epoch_of(budget.row, span.start)
    spent, committed, granted = _read(table, budget.row, epoch)
    remaining = None if budget.cap_nanousd is None else max(0, budget.cap_nanousd - committed)
    return BudgetState(span.start, span.end, spent, max(0, committed - spent), remaining, granted)


def limit_state(table: CounterTable, limit: Limit, now_seconds: float) -> LimitState:
    """How much of `limit` is used."""
    cells = table.row_cells(limit.row)
    if limit.what == "parallel":
        used = sum_in(cells, epoch_of(limit.row, GAUGE_EPOCH))
        return LimitState(used, max(0, limit.amount - used), None)
    minute = int(now_seconds // 60)
    now, before = minutes_in(cells, epoch_of(limit.row, minute))
    used = rate_of(now, before, now_seconds)
    resets_at = (minute + (2 if now else 1 if before else 0)) * 60
    return LimitState(used, max(0, limit.amount - used), resets_at)


def set_head(table: CounterTable, row: int, start: int, base_nanousd: int, granted_nanousd: int) -> None:
    """Put a budget's row into the window that begins at `start`, or change its numbers in it.

    The start of a later call is never before that of an earlier one for the same row: a worker whose cell is
    in a later window waits until the row is there, too. To lower an allowance use `lower_granted`.

    Args:
        table: where.
        row: the handle.
        start: of the window, in Unix seconds.
        base_nanousd: spent in it by whoever has no column.
        granted_nanousd: what this machine may commit in it, all in all; of one machine alone, the cap.
    """
    words, head, epoch = table.words, table.head(row), epoch_of(row, start)
    if words[head + EPOCH] != epoch:
        words[head + EPOCH] = 0  # who reads meanwhile has to wait
        table.fence()
    words[head + BASE] = base_nanousd
    words[head + GRANTED] = granted_nanousd
    table.fence()
    words[head + EPOCH] = epoch


def add_base(table: CounterTable, row: int, start: int, nanousd: int) -> bool:
    """Count so much more, or less, of what nobody's column has; whether the row is in that window."""
    words, head = table.words, table.head(row)
    if words[head + EPOCH] != epoch_of(row, start):
        return False
    words[head + BASE] += nanousd
    return True


def lower_granted(table: CounterTable, row: int, granted_nanousd: int) -> int:
    """Take back what this machine does not need of its allowance; what it has then.

    That is more than `granted_nanousd` if more is committed: workers announce before they read the
    allowance, so whoever has been let through by the old one is seen here.
    """
    words, head = table.words, table.head(row)
    before = words[head + GRANTED]
    words[head + GRANTED] = min(granted_nanousd, before)
    table.fence()
    _, committed, _ = _read(table, row, words[head + EPOCH])
    words[head + GRANTED] = found = min(before, max(granted_nanousd, committed))
    return int(found)


def fold(table: CounterTable, column: int, row: int, start: int, stored_nanousd: int) -> None:
    """Move what is in a dead worker's cell to the base of a budget's row, once its journal is stored.

    Args:
        table: where.
        column: the worker's.
        row: the handle.
        start: of a window; nothing is added if the row is in another one.
        stored_nanousd: of its journal in that window: what stands in the ledger counts, and what was held
            is gone.
    """
    add_base(table, row, start, stored_nanousd)
    table.fence()
    table.zero_cell(column, row)


def zero_gauges(table: CounterTable, column: int) -> int:
    """Let what a dead worker had in flight count no more; of how many rows. Its spending stays."""
    mask = (1 << EPOCH_BITS) - 1
    found = [
        row for row in table.touched(column) if table.words[table.cell(row, column)] & mask == GAUGE_EPOCH
    ]
    for row in found:
        table.zero_cell(column, row)
    return len(found)


def _read(table: CounterTable, row: int, epoch: int) -> tuple[int, int, int]:
    """What is spent, what is spent or held, and the allowance, in an epoch."""
    cells = table.row_cells(row)
    table.fence()
    words, head = table.words, table.head(row)
    base, granted = words[head + BASE], words[head + GRANTED]
    if words[head + EPOCH] != epoch:
        base = granted = 0
    return sum_in(cells, epoch, SPENT) + base, sum_in(cells, epoch) + base, granted
