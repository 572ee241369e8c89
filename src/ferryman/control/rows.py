"""The rows of the table of counters that stand for budgets: which they are, and what is in their heads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ferryman.limits.cells import sum_in
from ferryman.limits.heads import set_head
from ferryman.limits.layout import BASE, EPOCH, GRANTED, SPENT, epoch_of
from ferryman.limits.table import CounterTable
from ferryman.store.counters import Key
from ferryman.store.grants import State

BOUNDLESS = 2**61
"""What a machine may spend that shares with nobody: the cap alone holds then."""


class Place(NamedTuple):
    """Where an authority is.

    Attributes:
        journals: the directory with those of this machine's workers.
        zone: whose midnights count, an IANA name.
        machine: the machine's id where machines share a database, else empty.
    """

    journals: Path
    zone: str = "UTC"
    machine: str = ""


class Capped(NamedTuple):
    """A budget, as the control plane has it; see `ferryman.limits.spec.Budget`.

    Attributes:
        cap_nanousd: `None` only counts.
    """

    duration: str = ""
    anchor: str = ""
    model: str = ""
    cap_nanousd: int | None = None


class Row:
    """A row of a budget.

    Attributes:
        handle: of the row.
        others_nanousd: of the base, what this machine has not spent; its allowance is shown that much higher.
        committed_nanousd: when it was looked at last.
        quiet_since: since when that has not changed, on the monotonic clock.
    """

    __slots__ = ("budget", "committed_nanousd", "handle", "key", "others_nanousd", "quiet_since")

    def __init__(self, key: Key, budget: Capped, handle: int) -> None:
        self.key = key
        self.budget = budget
        self.handle = handle
        self.others_nanousd = 0
        self.committed_nanousd = 0
        self.quiet_since = 0.0

    def __repr__(self) -> str:
        return f"<Row {self.key}>"


class Amounts(NamedTuple):
    """What stands in a row for a window.

    Attributes:
        is_ready: whether the row is in that window.
        spent_nanousd: settled.
        committed_nanousd: settled and held.
        granted_nanousd: what may be committed.
    """

    is_ready: bool
    spent_nanousd: int
    committed_nanousd: int
    granted_nanousd: int

    @property
    def held_nanousd(self) -> int:
        """What is committed beside what is spent."""
        return max(0, self.committed_nanousd - self.spent_nanousd)


class Reached(NamedTuple):
    """A window of a budget, as it stands.

    Attributes:
        start, end: in Unix seconds; `end` is `None` for never.
        spent_nanousd: settled.
        held_nanousd: by exchanges on their way.
    """

    start: int
    end: int | None
    spent_nanousd: int
    held_nanousd: int


def name_of(key: Key) -> str:
    """The name of a budget's row."""
    return "\0".join(("budget", *key))


def amounts(table: CounterTable, handle: int, start: int) -> Amounts:
    """What stands in a budget's row for the window that begins at `start`."""
    epoch = epoch_of(handle, start)
    cells = table.row_cells(handle)
    table.fence()
    words, head = table.words, table.head(handle)
    base, granted = words[head + BASE], words[head + GRANTED]
    is_ready = words[head + EPOCH] == epoch
    if not is_ready:
        base = granted = 0
    return Amounts(is_ready, sum_in(cells, epoch, SPENT) + base, sum_in(cells, epoch) + base, granted)


def show(
    table: CounterTable,
    rows: dict[Key, Row],
    states: dict[Key, State],
    starts: dict[Key, int],
    *,
    shares_caps: bool,
) -> list[Row]:
    """Put what the database knows into the heads of rows; those whose allowance has to go down first.

    A head's base is what stands in the ledger but for what living workers count themselves. Where machines
    share caps, all of the base that is not this machine's raises its allowance as much, so that what a
    worker sees is what all have spent. Call it again with the rows that are returned, at least a
    millisecond later: a worker reads a base and an allowance one after the other.

    Args:
        table: where.
        rows: of budgets.
        states: what the database has of them; what is missing is left alone.
        starts: of the windows that they are in now.
        shares_caps: whether machines share a database.
    """
    later = []
    for key, row in rows.items():
        state, start = states.get(key), starts[key]
        if state is None or state.epoch > start:  # another machine's clock is ahead
            continue
        if state.epoch < start:  # nothing of this window is stored
            state = State(start, 0)
        base = state.spent_nanousd - state.live_nanousd
        others = state.spent_nanousd - state.own_nanousd
        granted = others + state.granted_nanousd
        if not shares_caps or row.budget.cap_nanousd is None:
            granted = BOUNDLESS
        words, head = table.words, table.head(row.handle)
        is_there = words[head + EPOCH] == epoch_of(row.handle, start)
        if is_there and granted < words[head + GRANTED]:
            words[head + GRANTED] = granted
            later.append(row)
            continue
        set_head(table, row.handle, start, base, granted)
        row.others_nanousd = others
    return later
