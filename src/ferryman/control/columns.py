"""Which columns of the table of counters have a worker that lives, and which journals have no column."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ferryman.ledger.files import is_written, segment_numbers
from ferryman.limits.table import Column, CounterTable

STORED_SUFFIX = ".stored"
"""Of a directory of which all is in the store; see `ferryman.control.ledger`."""


class Dead(NamedTuple):
    """Columns whose workers are dead.

    Attributes:
        unread: their journals may not be stored whole.
        removed: their journals are no more, though nobody has said that they were stored.
    """

    unread: list[Column]
    removed: list[Column]


def dead_columns(table: CounterTable, journals: Path) -> Dead:
    """The columns of dead workers.

    Raises:
        OSError: a journal cannot be looked at.
    """
    found = Dead([], [])
    for column in table.columns():
        directory = journals / column.journal
        try:
            if not is_written(directory):
                found.unread.append(column)
        except FileNotFoundError:
            if not directory.with_name(directory.name + STORED_SUFFIX).exists():
                found.removed.append(column)
    return found


def is_unread(table: CounterTable, journals: Path) -> bool:
    """Whether there is a dead worker's journal that no column stands for.

    Raises:
        OSError: a journal cannot be looked at.
    """
    if not journals.is_dir():
        return False
    columns = {column.journal for column in table.columns()}
    for directory in journals.iterdir():
        if directory.name in columns or directory.suffix == STORED_SUFFIX or not directory.is_dir():
            continue
        if segment_numbers(directory) and not is_written(directory):
            return True
    return False
