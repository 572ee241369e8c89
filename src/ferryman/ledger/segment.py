"""Reading one segment, also one that is being written: bounded memory, and no record that is not right."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import NamedTuple

from ferryman.ledger.files import segment_numbers, segment_path
from ferryman.ledger.format import (
    FRAME_BYTES,
    SEGMENT_BYTES,
    Defect,
    Frame,
    SegmentHeader,
    find_whole,
    look,
    read_segment_header,
    resync,
    run_of,
)

CHUNK_BYTES = 256 << 10
"""Read at once. At most one record (`MAX_PAYLOAD_BYTES`) and one chunk are in memory."""


class ProblemKind(enum.StrEnum):
    """What was wrong with a journal."""

    SKIPPED = "skipped"  # bytes that are no record, with records behind them
    TORN = "torn"  # bytes at the end of a segment: a record that was not written to its end
    REPEATED = "repeated"  # bytes of a record whose number has been read before
    MISSING = "missing"  # records whose numbers never came
    UNDECODABLE = "undecodable"  # a record that is whole and of no shape known here


class Problem(NamedTuple):
    """Something wrong in a journal.

    Attributes:
        segment: its number.
        offset: where in it, in bytes.
        size: bytes (`skipped`, `torn`, `repeated`) or records (`missing`, `undecodable`).
    """

    kind: ProblemKind
    segment: int
    offset: int
    size: int


class SegmentReader:
    """Reads one segment from its start.

    Attributes:
        number: of the segment.
        offset: where the next record begins, in bytes; what lies before has been read.
        header: once it was read; `None` before, and if it is damaged.
    """

    def __init__(self, directory: Path, number: int) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
        """
        self.number = number
        self.offset = 0
        self.header: SegmentHeader | None = None
        self._file = os.open(segment_path(directory, number), os.O_RDONLY)
        self._data = b""  # of the file, from `_base`
        self._base = 0
        self._begun = False
        self._fresh = False  # nothing in `_data` was read before `offset` came to where it is

    def __repr__(self) -> str:
        return f"<SegmentReader {self.number} at {self.offset}>"

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def next(self, *, sealed: bool) -> Frame | Problem | None:
        """The next record, or what stands in its place; `None` at the end of what can be read now.

        Args:
            sealed: nobody writes to the segment any more. Otherwise a record that is not whole may
                become so, and is waited for.

        Raises:
            JournalUnreadable: the segment is of another version.
            OSError: the file cannot be read.
        """
        if not self._begun and not self._begin(sealed=sealed):
            return None
        while True:
            found = look(self._data, self.offset - self._base)
            if isinstance(found, Frame):
                self.offset = self._base + found.end
                self._fresh = False
                return found
            if found is Defect.INCOMPLETE:
                if not self._read_more():
                    return self._at_end(sealed=sealed)
            elif self._fresh:
                return self._skip(sealed=sealed)
            else:  # the writer may have cut off what it could not finish since we read it
                self._read_anew()

    def run(self, most: int, sequence: int) -> list[tuple[int, bytes]]:
        """The records behind number `sequence` that are in memory already: see `run_of`."""
        found = run_of(self._data, self.offset - self._base, most, sequence)
        if found:
            self.offset += sum(FRAME_BYTES + len(payload) for _, payload in found)
            self._fresh = False
        return found

    def _begin(self, *, sealed: bool) -> bool:
        self._read_anew()
        if len(self._data) < SEGMENT_BYTES:
            if not (sealed and self._data):
                return False
        else:
            self.header = read_segment_header(self._data)
            if self.header is not None:
                self.offset = SEGMENT_BYTES
        self._begun = True
        return True

    def _read_anew(self) -> None:
        self._data = os.pread(self._file, CHUNK_BYTES, self.offset)
        self._base = self.offset
        self._fresh = True

    def _read_more(self) -> bool:
        kept = self._data[self.offset - self._base :]
        more = os.pread(self._file, CHUNK_BYTES, self.offset + len(kept))
        self._data = kept + more
        self._base = self.offset
        return bool(more)

    def _at_end(self, *, sealed: bool) -> Problem | None:
        """A record that is cut off by the end, or nothing."""
        data, self._data = self._data, b""  # to be read again: it may be cut off and written over
        self._base = self.offset
        whole = find_whole(data, 1)
        if whole is not None:  # then it was a length that is not right
            return self._problem(ProblemKind.SKIPPED, whole)
        return self._problem(ProblemKind.TORN, len(data)) if sealed and data else None

    def _skip(self, *, sealed: bool) -> Problem | None:
        """Leave out what is no record, up to what may be one."""
        start = self.offset
        at = 1
        while True:
            at = resync(self._data, self.offset - self._base + at)
            self.offset = self._base + at
            at = 0
            found = look(self._data, self.offset - self._base)
            if isinstance(found, Frame) or (found is Defect.INCOMPLETE and not self._read_more()):
                break
        size, self._fresh = self.offset - start, False
        rest = len(self._data)
        if sealed and not isinstance(found, Frame) and find_whole(self._data, 0) is None:
            self.offset += rest
            size += rest
        self._data, self._base = b"", self.offset
        return Problem(ProblemKind.SKIPPED, self.number, start, size)

    def _problem(self, kind: ProblemKind, size: int) -> Problem:
        problem = Problem(kind, self.number, self.offset, size)
        self.offset += size
        self._base = self.offset
        self._fresh = False
        return problem


def last_of(directory: Path) -> tuple[int, int]:
    """The numbers of the last segment and of the last record in `directory`; 0 for none.

    Raises:
        JournalUnreadable: the last segment is of another version.
        OSError: a file cannot be read.
    """
    numbers = segment_numbers(directory)
    for number in reversed(numbers):
        sequence = _last_in(directory, number)
        if sequence is not None:
            return numbers[-1], sequence
    return (numbers[-1] if numbers else 0), 0


def _last_in(directory: Path, number: int) -> int | None:
    reader = SegmentReader(directory, number)
    sequence = None
    try:
        while (found := reader.next(sealed=True)) is not None:
            if isinstance(found, Frame):
                sequence = max(sequence or 0, found.sequence)
    finally:
        reader.close()
    if sequence is None and reader.header is not None:
        return reader.header.first_sequence - 1
    return sequence
