"""What a machine wants of caps that it shares with others, and what it can give back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ferryman.control.rows import Row, amounts
from ferryman.limits.table import CounterTable
from ferryman.store.counters import Key
from ferryman.store.grants import Ask

QUIET_SECONDS = 10.0
"""Of a budget that is not spent from so long, a machine gives its idle allowance back."""

NO_MORE = 0
"""The cap of an ask that is to account for what was spent, and to get nothing."""


class Imbalance(NamedTuple):
    """Where a machine's allowance does not fit.

    Attributes:
        over: rows of which more is committed than was granted.
        idle: rows from which nothing was spent for a while.
    """

    over: list[Ask]
    idle: list[Row]


def holds_in(
    table: CounterTable, rows: Mapping[Key, Row], needs: Mapping[Key, int], starts: Mapping[Key, int]
) -> dict[Key, int]:
    """What calls want beside what is committed.

    Args:
        table: of this machine, as it was when they asked.
        rows: of budgets.
        needs: what has to stand as the allowance in a row; what a call wants alone, if the row is not in its
            window.
        starts: of the windows.
    """
    found = {}
    for key, row in rows.items():
        committed = amounts(table, row.handle, starts[key]).committed_nanousd
        found[key] = needs[key] - committed if needs[key] > committed else needs[key]
    return found


def wishes(
    table: CounterTable, rows: Mapping[Key, Row], holds: Mapping[Key, int], starts: Mapping[Key, int]
) -> list[Ask]:
    """What to ask for, so that the machine may commit what calls need.

    Args:
        table: of this machine.
        rows: of budgets.
        holds: what is wanted beside what is committed.
        starts: of the windows.
    """
    asks = []
    for key, row in rows.items():
        cap = row.budget.cap_nanousd
        found = amounts(table, row.handle, starts[key])
        if cap is None or not found.is_ready:
            continue
        committed = found.committed_nanousd
        need = committed + holds[key]
        if need > found.granted_nanousd:
            others = row.others_nanousd
            asks.append(Ask(key, starts[key], cap, committed - others, need - others))
    return asks


def imbalance(
    table: CounterTable, rows: Mapping[Key, Row], starts: Mapping[Key, int], monotonic_seconds: float
) -> Imbalance:
    """Which rows have too little allowance, and which do not use theirs; notes when they were used.

    Args:
        table: of this machine.
        rows: of budgets.
        starts: of the windows.
        monotonic_seconds: now.
    """
    found = Imbalance([], [])
    for key, row in rows.items():
        here = amounts(table, row.handle, starts[key])
        if row.budget.cap_nanousd is None or not here.is_ready:
            continue
        committed = here.committed_nanousd
        if committed != row.committed_nanousd:
            row.committed_nanousd, row.quiet_since = committed, monotonic_seconds
        if committed > here.granted_nanousd:
            own = committed - row.others_nanousd
            found.over.append(Ask(key, starts[key], NO_MORE, own, own))
        elif monotonic_seconds - row.quiet_since >= QUIET_SECONDS and here.granted_nanousd > committed:
            found.idle.append(row)
    return found
