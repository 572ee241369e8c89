"""The counters of all processes of a machine: a file in memory that all of them have mapped. No locks.

Rows and columns of 64-bit integers. A row is one limit, or one budget; the control plane hands rows out. A
column is one life of a worker, who claims it at its start in the name of its journal. Every word has one
writer: a row's head has the control plane, its cells have the workers of their columns.

    head   epoch, base, granted, (spare)      of budgets: the window's start; nano-dollars
    cell   epoch, count, previous, spent      one for each column

What is in a cell is described in `ferryman.limits.admission`.

Atomicity: a word is read and written at once. `memoryview` and `struct` in native mode copy 8 aligned bytes
by `memcpy` of that known size, which compilers make one move of. Order: x86-64 keeps stores in order, and
loads, but lets a load overtake a store to another place. Whoever announces what it takes and then reads what
others have announced needs a fence between the two; see `CounterTable.fence`.

A handle of a row, which `row_of` gives and all else takes, is its place and how often that place was given to
another name before. That generation stands in the epoch of head and cells too: what an old name has left in a
row, and what a worker that has not heard of the change still writes there, is of another epoch.

Room on the disk is claimed when a row is handed out: a page of a sparse file that cannot be had when it is
first touched would kill the process (SIGBUS).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

from ferryman.errors import FerrymanError
from ferryman.limits.layout import (
    BASE,
    CELL_WORDS,
    CHUNK_ROWS,
    CLAIMED,
    COLUMN_BYTES,
    COUNT,
    EPOCH,
    GRANTED,
    HEAD_WORDS,
    MAX_GENERATION,
    MAX_JOURNAL_BYTES,
    NAME_BYTES,
    ROOM,
    ROW_BITS,
    ROWS,
    USED,
    Layout,
)

MAGIC = int.from_bytes(b"Ferryman", "little")
VERSION = 1
MAX_COLUMNS = 2**16

MODE = 0o600

LOCK_TRIES = 50  # of 20 ms each: whoever has the lock has it for some microseconds


class TableUnusable(FerrymanError):
    """The file is no table of counters of this version, or of this size."""


class TableFull(FerrymanError):
    """All rows are in use: there are too many limits and budgets."""


class Column(NamedTuple):
    """A column that is claimed.

    Attributes:
        number: from 0.
        journal: the name of its worker's journal.
        pid: of the worker.
    """

    number: int
    journal: str
    pid: int


class CounterTable:
    """The table, as one process sees it.

    Attributes:
        path: the file.
        columns_count: how many columns there are, claimed or not.
        row_words: how long a row is in `words`.
        words: all of the file, by 8 bytes. Only this package uses it, and what follows.
        buffer: the same as it is, for `sums` and `bounds`: by how many columns are in use, what reads of a
            row, at a place in bytes, the epoch and count of each cell, or its count and previous count.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Map the file that is open as `descriptor`, which is this object's from now on.

        Raises:
            TableUnusable: it is no table of this version.
            OSError: it cannot be read or mapped.
        """
        self.path = path
        self._descriptor = descriptor
        try:
            self._layout = _layout_of(path, descriptor)
            self._map = mmap.mmap(descriptor, self._layout.size_bytes)
        except BaseException:
            os.close(descriptor)
            raise
        self.columns_count = columns = self._layout.columns
        self.row_words = self._layout.row_words
        self.words = memoryview(self._map).cast("q")
        self.buffer = self._map
        counts = range(columns + 1)
        self.sums = [struct.Struct("@" + "2q16x" * count).unpack_from for count in counts]
        self.bounds = [struct.Struct("@" + "8x2q8x" * count).unpack_from for count in counts]
        self._names: dict[bytes, int] | None = None
        self._free: list[int] = []
        self._gate = threading.Lock()
        self._gate.acquire()

    def __repr__(self) -> str:
        return f"<CounterTable {self.path}: {self.columns_count} columns>"

    @classmethod
    def create(cls, path: Path, workers: int) -> Self:
        """The table for so many workers: the one that is there, if it fits, otherwise a new one.

        Two columns for each worker, since one may come up while the one before it is not yet accounted
        for, and two more. Call it before there are processes that could have it open.

        Raises:
            OSError: there is no room, or the file cannot be made.
        """
        layout = Layout(2 * workers + 2)
        try:
            found = cls.open(path)
        except (TableUnusable, FileNotFoundError):
            pass
        else:
            if found.columns_count == layout.columns:
                return found
            found.close()
        made = path.with_name(path.name + ".new")
        made.unlink(missing_ok=True)
        descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            os.fchmod(descriptor, MODE)
            os.ftruncate(descriptor, layout.size_bytes)
            os.posix_fallocate(descriptor, 0, layout.names_bytes)
            os.pwrite(descriptor, struct.pack("=4q", MAGIC, VERSION, ROWS, layout.columns), 0)
            made.replace(path)
        except BaseException:
            os.close(descriptor)
            made.unlink(missing_ok=True)
            raise
        return cls(path, descriptor)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The table that is there.

        Raises:
            TableUnusable: it is no table of this version.
            OSError: it cannot be opened; `FileNotFoundError` if there is none.
        """
        return cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))

    def close(self) -> None:
        """Unmap it. The file stays."""
        self.words.release()
        self._map.close()
        os.close(self._descriptor)

    def fence(self) -> None:
        """Let everybody see what was written before, before anything is read after.

        Without it a processor may read what others have announced while its own announcement still waits
        in its store buffer: two would each miss the other's. A lock that is released and taken again is
        the cheapest there is in Python: both are atomic read-modify-writes, on x86-64 with a `lock`
        prefix, which is a full fence; on ARM64 a release and then an acquire, which are kept in order.
        """
        self._gate.release()
        self._gate.acquire()

    # Columns

    def claim(self, journal: str) -> int | None:
        """A column for the worker that writes the journal of this name; `None` if none is free.

        Who has one already keeps it.

        Raises:
            ValueError: the name has more than 64 bytes, or none.
            OSError: the table cannot be locked.
        """
        name = journal.encode()
        if not 0 < len(name) <= MAX_JOURNAL_BYTES:
            raise ValueError(f"the journal's name has {len(name)} bytes; wanted 1 to {MAX_JOURNAL_BYTES}")
        with self._locked():
            claimed = {column.journal: column.number for column in self.columns()}
            free = (number for number in range(self.columns_count) if number not in claimed.values())
            number = claimed.get(journal)
            if number is None:
                number = next(free, None)
            if number is None:
                return None
            at = self._layout.columns_bytes + number * COLUMN_BYTES
            self._map[at : at + COLUMN_BYTES] = struct.pack("=qq64s48x", len(name), os.getpid(), name)
            self.words[CLAIMED] = max(number + 1, self.words[CLAIMED])
            return number

    def columns(self) -> list[Column]:
        """Those that are claimed, by their numbers."""
        found = []
        for number in range(self.columns_count):
            at = self._layout.columns_bytes + number * COLUMN_BYTES
            length, pid, name = struct.unpack("=qq64s", self._map[at : at + 80])
            if 0 < length <= MAX_JOURNAL_BYTES:
                found.append(Column(number, name[:length].decode("utf-8", "replace"), pid))
        return found

    def release(self, column: int) -> None:
        """Give the column of a dead worker back, all of whose cells have been folded; zero what is left.

        Raises:
            OSError: the table cannot be locked.
        """
        for at in self.touched(column):
            self.zero_cell(column, at)
        with self._locked():
            at = self._layout.columns_bytes + column * COLUMN_BYTES
            self._map[at : at + COLUMN_BYTES] = bytes(COLUMN_BYTES)
            self.words[CLAIMED] = max((one.number + 1 for one in self.columns()), default=0)

    def touched(self, column: int) -> list[int]:
        """The handles of the rows in which there is something in this column."""
        words = self.words
        return [
            self._handle(slot)
            for slot in range(words[USED])
            if words[self.cell(slot, column)] or words[self.cell(slot, column) + COUNT]
        ]

    def zero_cell(self, column: int, row: int) -> None:
        """Let a cell be as it was in the beginning. Its worker must be dead."""
        at = self.cell(row, column)
        for word in range(CELL_WORDS):  # the epoch first: whatever else is in it then counts no more
            self.words[at + word] = 0

    # Rows

    def head(self, row: int) -> int:
        """Where in `words` the head of the row with this handle begins."""
        return self._layout.head(row)

    def cell(self, row: int, column: int) -> int:
        """Where in `words` this column's cell of the row with this handle begins."""
        return self._layout.head(row) + HEAD_WORDS + column * CELL_WORDS

    def row_cells(self, row: int) -> tuple[int, ...]:
        """Of the row with this handle, all cells of columns that may be in use, each as four numbers."""
        width = self.words[CLAIMED] * CELL_WORDS
        at = self.cell(row, 0)
        return tuple(self.words[at : at + width])

    def row_of(self, name: str) -> int:
        """The handle of the row with this name: the one it has, or a new one. For the control plane.

        Raises:
            TableFull: there is no row left.
            OSError: there is no room on the disk.
        """
        names, digest = self._directory(), _digest(name)
        slot = names.get(digest)
        if slot is None:
            slot = self._free.pop() if self._free else self._another()
            self._clear(slot)
            self._write_name(slot, digest, 1)
            names[digest] = slot
        return self._handle(slot)

    def free_rows(self, keep: Iterable[str]) -> int:
        """Take back all rows but those with these names; how many there were. For the control plane."""
        kept = {_digest(name) for name in keep}
        names = self._directory()
        gone = [digest for digest in names if digest not in kept]
        for digest in gone:
            self._forget(names.pop(digest))
        return len(gone)

    def free_row(self, name: str) -> bool:
        """Take back the row with this name; whether there was one. For the control plane."""
        slot = self._directory().pop(_digest(name), None)
        if slot is None:
            return False
        self._forget(slot)
        return True

    @property
    def rows_in_use(self) -> int:
        """How many rows have a name. For the control plane."""
        return len(self._directory())

    def _another(self) -> int:
        slot = self.words[USED]
        if slot >= ROWS:
            raise TableFull(
                f"there are {ROWS:,} limits and budgets, and no room for more: delete keys, users, tags, "
                "customers or sessions that are not used, or set fewer limits on each"
            )
        if slot >= self.words[ROOM]:
            until = min(slot + CHUNK_ROWS, ROWS)
            layout = self._layout
            for first, size in ((layout.names_bytes, NAME_BYTES), (layout.rows_bytes, layout.row_bytes)):
                os.posix_fallocate(self._descriptor, first + slot * size, (until - slot) * size)
            self.words[ROOM] = until
        self.words[USED] = slot + 1
        return slot

    def _clear(self, slot: int) -> None:
        head = self._layout.head(slot)
        self.words[head + EPOCH] = 0
        self.words[head + BASE] = 0
        self.words[head + GRANTED] = 0

    def _forget(self, slot: int) -> None:
        """The next name in this place has another handle."""
        generation = (self.words[self._layout.name(slot) + 2] + 1) % MAX_GENERATION
        self._clear(slot)
        self.words[self._layout.name(slot) + 2] = generation
        self._write_name(slot, bytes(16), 0)
        self._free.append(slot)

    def _write_name(self, slot: int, digest: bytes, used: int) -> None:
        words, at = self.words, self._layout.name(slot)
        words[at + 3] = 0
        words[at], words[at + 1] = struct.unpack("=qq", digest)
        words[at + 3] = used

    def _handle(self, slot: int) -> int:
        return slot | self.words[self._layout.name(slot) + 2] << ROW_BITS

    def _directory(self) -> dict[bytes, int]:
        if self._names is None:
            names: dict[bytes, int] = {}
            for slot in range(self.words[USED]):
                at = self._layout.name(slot)
                if self.words[at + 3]:
                    names[struct.pack("=qq", self.words[at], self.words[at + 1])] = slot
                else:
                    self._free.append(slot)
            self._names = names
        return self._names

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for _ in range(LOCK_TRIES - 1):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        else:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _layout_of(path: Path, descriptor: int) -> Layout:
    magic, version, rows, columns = struct.unpack("=4q", os.pread(descriptor, 32, 0).ljust(32, b"\0"))
    if (magic, version, rows) != (MAGIC, VERSION, ROWS) or not 0 < columns <= MAX_COLUMNS:
        raise TableUnusable(f"`{path}` is no table of counters of this version of Ferryman")
    layout = Layout(columns)
    if os.fstat(descriptor).st_size != layout.size_bytes:
        raise TableUnusable(f"the table of counters `{path}` is not as long as it should be")
    return layout


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()
