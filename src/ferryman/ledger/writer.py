"""Writing the journal: one `write()` for a record, into files that only this process has ever written.

What has been written survives the death of the process; what has been synced, once an interval and
off the loop, survives that of the machine.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from pathlib import Path
from typing import Final

import structlog

from ferryman.clock import Clock
from ferryman.errors import JournalUnreadable, JournalUnwritable
from ferryman.ledger.files import lock, segment_path
from ferryman.ledger.format import (
    CLOSED,
    MAX_PAYLOAD_BYTES,
    OPENED,
    PROBE,
    SEEN,
    SegmentHeader,
    frame,
    segment_header,
)
from ferryman.ledger.segment import last_of
from ferryman.ledger.sync import Syncer

log = structlog.get_logger("ferryman.ledger")

SEGMENT_SIZE_BYTES = 16 << 20
"""About 12,000 exchanges; what a reader that starts again has to read twice at most."""

SYNC_SECONDS = 1.0

RETRY_SECONDS = 1.0
"""How often a journal that failed is tried again."""

MAX_RETAINED = 10_000
MAX_RETAINED_BYTES = 8 << 20
"""Closed exchanges that wait in memory for the disk: more than a worker relays at once."""

_PROBE = b" " * 4096
"""Needs a block of its own, so that a disk with a few bytes left is not taken for one with room."""

_write: Final = os.write  # which compiled code need not look up by its name

_ID = re.compile(rb'\{"id":"([^"]*)"')

_LOCK_TRIES = 25  # of 20 ms each: a reader that asks whether the writer lives has the lock for microseconds


class JournalWriter:
    """The journal of one worker. All methods belong to one thread; none waits for the disk to sync.

    Attributes:
        lost: closed exchanges that were not written and are not retained: the bound was reached.
            Each leaves a gap in the sequence, which a reader notices.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_SIZE_BYTES,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        """Take the directory, made if need be, and begin a new segment in it.

        Args:
            directory: the worker's own. Of a former process' segments the last is read, so that the
                numbers of records go on.
            clock: tells when a failed journal is tried again.
            segment_bytes: the size from which on a new segment is begun.
            sync_seconds: how long written records may stay unsynced.

        Raises:
            JournalUnwritable: the directory or the segment cannot be made, or another process has it.
        """
        self.directory = directory
        self.lost = 0
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._file = -1
        self._size = 0  # of the segment: where the next record begins
        self._failing = self._closed = False
        self._retry_at = 0.0
        self._problem = ""
        self._retained: deque[bytes] = deque()
        self._retained_bytes = 0
        self._starts = True
        try:
            self._descriptor = _own(directory)
        except OSError as error:
            raise JournalUnwritable(_cannot(directory, error)) from error
        self._syncer = Syncer(self._descriptor, sync_seconds)
        try:
            self._segment, self._sequence = last_of(directory)
            self._begin_segment()
        except (OSError, JournalUnreadable) as error:
            self._syncer.close()
            os.close(self._descriptor)
            raise JournalUnwritable(_cannot(directory, error)) from error

    def __repr__(self) -> str:
        state = "healthy" if self.healthy else f"failing, {self.retained} retained, {self.lost} lost"
        return f"<JournalWriter {self._segment}, {self._size} bytes, {self._sequence} records: {state}>"

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded, and the last sync."""
        return not (self._failing or self._syncer.failed)

    @property
    def problem(self) -> str:
        """Why it is not healthy, in one sentence; empty if it is."""
        if self._failing:
            return self._problem
        return f"The journal in `{self.directory}` cannot be synced." if self._syncer.failed else ""

    @property
    def retained(self) -> int:
        """Closed exchanges in memory that wait to be written."""
        return len(self._retained)

    @property
    def sync_failures(self) -> int:
        """How many syncs have failed."""
        return self._syncer.failures

    def opened(self, payload: bytes) -> None:
        """Write that a request goes upstream: `payload` is the JSON of an `Opened`.

        Raises:
            JournalUnwritable: it is not written.
        """
        self._write_now(OPENED, payload)

    def seen(self, payload: bytes) -> None:
        """Write what the input of an exchange came to: `payload` is the JSON of a `Seen`.

        Raises:
            JournalUnwritable: it is not written. The exchange need not end for it.
        """
        self._write_now(SEEN, payload)

    def closed(self, payload: bytes) -> bool:
        """Write the JSON of the `Entry` of an exchange that has ended; it is retained if it cannot be now.

        Returns:
            Whether it is written. It never raises: an exchange that has ended cannot be refused.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            self._lose(payload)
            return False
        if not self._failing or self.recover():
            try:
                self._write(CLOSED, payload)
            except OSError as error:
                self._fail(error)
            else:
                return True
        bytes_after = self._retained_bytes + len(payload)
        if len(self._retained) >= MAX_RETAINED or bytes_after > MAX_RETAINED_BYTES:
            self._lose(payload)
        else:
            self._retained.append(payload)
            self._retained_bytes = bytes_after
        return False

    def recover(self) -> bool:
        """Try a failed journal again, at most once in `RETRY_SECONDS`; to be called now and then.

        Returns:
            Whether it can be written. What was retained then is.
        """
        if not self._failing:
            return True
        if self._clock.monotonic() < self._retry_at:
            return False
        try:
            self._write(PROBE, _PROBE)
            while self._retained:
                self._write(CLOSED, self._retained[0])
                self._retained_bytes -= len(self._retained.popleft())
        except OSError as error:
            self._fail(error)
            return False
        self._failing = False
        log.info("journal written again", directory=str(self.directory), lost=self.lost)
        return True

    def close(self) -> None:
        """Write what was retained, sync, and give the directory back. Whatever comes later is not written."""
        self._retry_at = 0.0
        if not self.recover():
            log.error("entries lost", retained=self.retained, lost=self.lost, problem=self._problem)
        self._closed = True
        self._file, self._size = -1, 0  # the number will soon be that of another file, or of a connection
        if not self._syncer.close():
            log.error("journal not synced", problem="the disk does not answer")
            return  # its thread still uses the files
        os.close(self._descriptor)

    def _write_now(self, kind: int, payload: bytes) -> None:
        if self._failing and not self.recover():
            raise JournalUnwritable(self._problem)
        try:
            self._write(kind, payload)
        except OSError as error:
            self._fail(error)
            raise JournalUnwritable(self._problem) from error

    def _write(self, kind: int, payload: bytes) -> None:
        if not 0 < self._size < self._segment_bytes or self._syncer.removed:
            self._begin_segment()
        self._put(frame(kind, self._sequence + 1, payload))
        self._sequence += 1

    def _put(self, data: bytes) -> None:
        """Write `data`, all of it or none."""
        try:
            written = _write(self._file, data)
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes were written; is the disk full?")  # noqa: TRY301  # as any other failure
        except OSError:
            self._cut()
            raise
        self._size += written
        if not self._syncer.dirty:
            self._syncer.wrote()

    def _cut(self) -> None:
        """Take back what may have been written of a record, so that none is torn but the last of a file."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._file, self._size = -1, 0  # nothing comes behind it: the next record begins a new segment

    def _begin_segment(self) -> None:
        """Begin a new segment, unless the last one got no further than its name."""
        if self._closed:
            raise OSError("it is closed")
        if self._file < 0 or self._size > 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            number = self._segment + 1
            self._file = os.open(segment_path(self.directory, number), flags, 0o600)
            self._segment, self._size = number, 0
            self._syncer.created(self._file)
        self._put(segment_header(SegmentHeader(self._sequence + 1, self._clock.now(), self._starts)))
        self._starts = False

    def _fail(self, error: OSError) -> None:
        self._problem = _cannot(self.directory, error)
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        if not self._failing:
            log.error("journal not written", problem=self._problem)
        self._failing = True

    def _lose(self, payload: bytes) -> None:
        self.lost += 1
        self._sequence += 1
        found = _ID.match(payload)
        log.error("entry lost", id=found and found[1].decode(), retained=self.retained, lost=self.lost)


def _cannot(directory: Path, error: Exception) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return f"The journal in `{directory}` cannot be written: {reason}"


def _own(directory: Path) -> int:
    """A descriptor of `directory`, made if need be, which holds its lock.

    Raises:
        OSError: it cannot be had.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):  # `parents=True` would open them to others, as the umask has it
        path.mkdir(0o700, exist_ok=True)
    for path in (directory.parent, directory.parent.parent):  # so that the directory survives as its files do
        parent = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(_LOCK_TRIES):
        if lock(descriptor):
            return descriptor
        time.sleep(0.02)
    os.close(descriptor)
    raise OSError("another process writes it")
