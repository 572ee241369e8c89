"""Following the journal of one worker: records become entries, and a checkpoint tells how far.

The consumer stores the entries of a batch and its checkpoint together, in one transaction, and then
deletes what `deletable` names. Started again from the stored checkpoint, every entry comes once.
A batch that could not be stored is offered again, or a new `Tail` begun from the last stored checkpoint.

An exchange can be opened in one segment and closed in a later one. So a checkpoint carries the
exchanges that were open where its segment begins: no earlier segment is needed any more, however long
an exchange lasts, and the disk holds what is unread and one segment. What was opened within the
segment is read again from there. While a segment is read, what is carried stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from ferryman.errors import JournalUnreadable
from ferryman.ledger.checkpoint import Checkpoint
from ferryman.ledger.files import is_written, segment_numbers, segment_path
from ferryman.ledger.format import (
    CLOSED,
    FRAME_BYTES,
    OPENED,
    PROBE,
    SEEN,
    SEGMENT_BYTES,
    Frame,
    SegmentHeader,
)
from ferryman.ledger.records import decode_entry, decode_seen, encode
from ferryman.ledger.replay import Replay
from ferryman.ledger.segment import Problem, ProblemKind, SegmentReader
from ferryman.model import Entry

BATCH_RECORDS = 5_000
"""About 2,000 exchanges: what the database stores in one transaction when it is behind."""

T = TypeVar("T")


class Shape(NamedTuple, Generic[T]):
    """What entries are read as.

    Attributes:
        made: the value of a record's payload. Raises ValueError if it is no entry.
        id_of: the id of such a value.
        settled: the entry of an interrupted exchange with what the reader knows beside the journal, such as
            its cost.
    """

    made: Callable[[bytes], T]
    id_of: Callable[[T], str]
    settled: Callable[[Entry], Entry] = lambda entry: entry


ENTRIES = Shape(decode_entry, attrgetter("id"))


class Batch(NamedTuple, Generic[T]):
    """What was read at once.

    Attributes:
        entries: exchanges that ended, in the order of their records.
        checkpoint: behind all of it.
        problems: what was wrong; part of the batch as the entries are.
        caught_up: there was nothing more to read.
    """

    entries: list[T]
    checkpoint: Checkpoint
    problems: list[Problem]
    caught_up: bool


class Tail(Generic[T]):
    """Reads the journal of one worker from a checkpoint on. It may be written meanwhile."""

    def __init__(self, directory: Path, checkpoint: Checkpoint | None, shape: Shape[T]) -> None:
        """Nothing is read yet.

        Args:
            directory: the worker's.
            checkpoint: the one stored last; without it all is read.
            shape: what entries are read as.

        Raises:
            JournalUnreadable: the checkpoint is another worker's.
        """
        self.directory = directory
        self._shape = shape
        self._made, self._id_of = shape.made, shape.id_of
        self._from = checkpoint or Checkpoint(directory.name)
        if self._from.worker != directory.name:
            raise JournalUnreadable(
                f"The checkpoint is of worker `{self._from.worker}`, the journal of `{directory.name}`."
            )
        self._carried = self._from.carried
        self._replay = Replay(self._carried)
        self._reader: SegmentReader | None = None
        self._segment = self._from.segment
        self._sequence = self._from.sequence  # of the last record, read now or before the checkpoint
        self._within = 0  # the same, within the segment
        self._finished = self._from.finished  # and what was open at the checkpoint is still in `_replay`
        self._beyond = False  # the checkpoint, for good
        # Of the batch that is being made:
        self._entries: list[T] = []
        self._problems: list[Problem] = []

    def __repr__(self) -> str:
        return f"<Tail {self.directory.name}: {self._reader or 'not begun'}, {self._replay!r}>"

    @property
    def live(self) -> int:
        """How many exchanges are open, as far as has been read."""
        return len(self._replay.live)

    def close(self) -> None:
        """Close the file that is being read."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read(self, max_records: int = BATCH_RECORDS) -> Batch[T]:
        """Read what there is, at most `max_records`; never waits.

        Raises:
            JournalUnreadable: a segment is of another version.
            OSError: a file cannot be read.
        """
        return self._read(max_records, None)

    def finish(self, now: float, max_records: int = BATCH_RECORDS) -> Iterator[Batch[T]]:
        """The worker is dead: read to the end, and settle what it left open as interrupted.

        The last batch ends the tail; what a new worker writes into the directory is read by a new one.

        Args:
            now: Unix time in seconds.
            max_records: of a batch.

        Raises:
            JournalUnreadable: the worker lives, or a segment is of another version.
            OSError: a file cannot be read.
        """
        numbers = segment_numbers(self.directory)
        # After the listing: what a writer that comes now begins is not among them.
        if is_written(self.directory):
            raise JournalUnreadable(f"The journal in `{self.directory}` is still being written.")
        last = numbers[-1] if numbers else 0
        while not (batch := self._read(max_records, last)).caught_up:
            yield batch
        self._pass_checkpoint()
        entries = batch.entries + self._settled(now)
        checkpoint = msgspec.structs.replace(batch.checkpoint, finished=True)
        yield Batch(entries, checkpoint, batch.problems, caught_up=True)

    def _read(self, max_records: int, last: int | None) -> Batch[T]:
        """A batch, up to the end of segment `last`, which then is sealed as those before it are."""
        self._entries, self._problems = [], []
        caught_up = False
        left = max_records
        while left > 0:
            left -= self._take_run(left) + 1
            found = self._next(last)
            if isinstance(found, Frame):
                self._take(found)
            elif found is None:
                caught_up = True
                break
            elif not self._is_before():
                self._problems.append(found)
        return Batch(self._entries, self._checkpoint(), self._problems, caught_up)

    def _take_run(self, most: int) -> int:
        """Take the records that are in memory already, but for the last of `most`; how many these were."""
        reader = self._reader
        if reader is None or reader.header is None or not self._beyond or self._within > self._sequence:
            return 0
        start = reader.offset
        found = reader.run(most - 1, self._sequence)
        for kind, payload in found:
            self._keep(kind, payload, start, before=False)
            start += FRAME_BYTES + len(payload)
        if found:
            self._within = self._sequence = self._sequence + len(found)
        return len(found)

    def _settled(self, now: float) -> list[T]:
        """What the worker did not live to close."""
        shape = self._shape
        return [shape.made(encode(shape.settled(entry))) for entry in self._replay.finish(now)]

    def _next(self, last: int | None) -> Frame | Problem | None:
        """The next of what is in the segments, with the step from one to the next."""
        reader = self._reader
        if reader is not None and reader.header is not None and self._segment != last:
            found = reader.next(sealed=False)  # nearly always there is one
            if found is not None:
                return found
        while True:
            sealed = self._segment == last
            found = self._step(sealed=sealed)
            if found is not None or (sealed and self._reader is not None):
                return found
            later = self._later()
            if not later or (last is not None and later[0] > last):
                return None
            # There is a later segment, so nobody writes to this one any more: now its end is its end.
            if (found := self._step(sealed=True)) is not None:
                return found
            self._move(later[0])

    def _step(self, *, sealed: bool) -> Frame | Problem | None:
        reader = self._reader
        if reader is None:
            return None
        begun = reader.header is not None
        found = reader.next(sealed=sealed)
        if not begun and reader.header is not None:
            self._enter(reader.header)
        return found

    def _later(self) -> list[int]:
        """The segments behind the one that is being read."""
        first = self._segment + (self._reader is not None)
        return [number for number in segment_numbers(self.directory) if number >= first]

    def _move(self, number: int) -> None:
        """Go on with segment `number`."""
        reader = SegmentReader(self.directory, number)
        self.close()
        self._reader = reader
        self._segment = number
        self._within = 0
        if number != self._from.segment:
            self._pass_checkpoint()
            self._carried = self._replay.live

    def _enter(self, header: SegmentHeader) -> None:
        """The header of a segment has been read."""
        if self._segment == self._from.segment and self._from.offset >= SEGMENT_BYTES:
            return
        if header.starts:  # what the process before had left open
            self._entries += self._settled(header.created_at)
            self._carried = ()
        self._expect(header.first_sequence, SEGMENT_BYTES)
        self._sequence = header.first_sequence - 1

    def _take(self, found: Frame) -> None:
        """Take a record into the batch."""
        kind, sequence, payload, _ = found
        before = self._is_before()
        if sequence <= self._within:
            self._note(ProblemKind.REPEATED, self._start(payload), FRAME_BYTES + len(payload))
            return
        self._within = sequence
        if not before:
            if sequence != self._sequence + 1:
                self._expect(sequence, self._start(payload))
            self._sequence = sequence
        self._keep(kind, payload, self._start(payload), before=before)

    def _keep(self, kind: int, payload: bytes, start: int, *, before: bool) -> None:
        """Take up what the record at `start` tells; the entry of one `before` the checkpoint was stored."""
        try:
            if kind == OPENED:
                self._replay.open(payload)
            elif kind == CLOSED:
                entry = self._made(payload)
                self._replay.close(self._id_of(entry))
                if not before:
                    self._entries.append(entry)
            elif kind == SEEN:
                self._replay.see(decode_seen(payload))
            elif kind != PROBE:
                raise ValueError(f"unknown kind of record: `{kind}`")  # noqa: TRY301  # as what cannot be decoded
        except ValueError:  # as all errors of msgspec are
            self._note(ProblemKind.UNDECODABLE, start, 1)

    def _start(self, payload: bytes) -> int:
        """Where the record with `payload` begins, which was read last."""
        return 0 if self._reader is None else self._reader.offset - FRAME_BYTES - len(payload)

    def _is_before(self) -> bool:
        """Whether what was read last belongs to a batch before the checkpoint."""
        if not self._beyond and (reader := self._reader) is not None:
            self._beyond = (reader.number, reader.offset) > (self._from.segment, self._from.offset)
        return not self._beyond

    def _pass_checkpoint(self) -> None:
        """All up to the checkpoint has been read again."""
        if self._finished:
            self._finished = False
            self._replay = Replay()

    def _expect(self, sequence: int, offset: int) -> None:
        """The record at `offset` should be the one behind that read last."""
        missing = sequence - self._sequence - 1
        if missing > 0:
            self._note(ProblemKind.MISSING, offset, missing)

    def _note(self, kind: ProblemKind, offset: int, size: int) -> None:
        if not self._is_before():
            self._problems.append(Problem(kind, self._segment, offset, size))

    def _checkpoint(self) -> Checkpoint:
        reader = self._reader
        if reader is None or self._is_before():
            return self._from
        return Checkpoint(self.directory.name, reader.number, reader.offset, self._sequence, self._carried)


def deletable(directory: Path, checkpoint: Checkpoint) -> list[Path]:
    """The segments that are not needed any more once `checkpoint` is stored; never the one being read.

    Raises:
        OSError: the directory cannot be read.
    """
    numbers = segment_numbers(directory)
    return [segment_path(directory, number) for number in numbers if number < checkpoint.segment]
