"""Where everything is in the file of the table of counters; see `ferryman.limits.table`."""

from __future__ import annotations

import mmap
from typing import Final

ROWS = 2**18
"""Limits and budgets at once; ten for each of 26,000 keys. Only rows that are handed out take room."""

ROW_BITS: Final = 18
EPOCH_BITS: Final = 40
"""Of an epoch below the generation: Unix seconds need 31 until 2038, and 35 until the year 3058."""

MAX_GENERATION = 2**22
"""Then it begins anew; a worker would have to sleep through four million uses of a row to notice."""

COLUMN_BYTES = 128
MAX_JOURNAL_BYTES = 64
NAME_BYTES = 32
"""Of a row in the directory: 16 of a digest of its name, its generation, and whether it is in use."""

CHUNK_ROWS = 256
"""Room on the disk is claimed for so many rows at once: some 100 KB on a small machine."""

HEADER_WORDS = 512
"""A page: magic, version, rows, columns, and what follows."""

USED: Final = 4
ROOM: Final = 5
CLAIMED: Final = 6
"""Rows that are or were in use; rows that have room on the disk; the highest claimed column, and 1."""

EPOCH: Final = 0
BASE: Final = 1
GRANTED: Final = 2
HEAD_WORDS: Final = 4
HEAD_BYTES: Final = 8 * HEAD_WORDS

COUNT: Final = 1
PREVIOUS: Final = 2
SPENT: Final = 3
CELL_WORDS: Final = 4


class Layout:
    """Where everything is in a table with so many columns: in bytes, or in words of 8."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.columns_bytes = HEADER_WORDS * 8
        self.names_bytes = _page(self.columns_bytes + max(columns, 0) * COLUMN_BYTES)
        self.rows_bytes = _page(self.names_bytes + ROWS * NAME_BYTES)
        self.row_words = HEAD_WORDS + CELL_WORDS * columns
        self.row_bytes = self.row_words * 8
        self.size_bytes = _page(self.rows_bytes + ROWS * self.row_bytes)
        self._rows = self.rows_bytes // 8
        self._names = self.names_bytes // 8

    def name(self, slot: int) -> int:
        """Where the name of a row begins, in words."""
        return self._names + slot * (NAME_BYTES // 8)

    def head(self, row: int) -> int:
        """Where the head of a row begins, in words; its cells come behind it."""
        return self._rows + (row & ROWS - 1) * self.row_words


def epoch_of(row: int, number: int) -> int:
    """What stands for `number`, a window's start or a minute, in a row with this handle."""
    return row >> ROW_BITS << EPOCH_BITS | number


def _page(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
