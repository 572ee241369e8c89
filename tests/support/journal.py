"""Journals for tests: values by number, and a consumer that stores as the control plane does."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ferryman.ledger.checkpoint import Checkpoint
from ferryman.ledger.records import Opened, Seen
from ferryman.ledger.segment import Problem, ProblemKind
from ferryman.ledger.tail import ENTRIES, Batch, Tail, deletable
from ferryman.model import Ended, Entry, Usage

NOW = 1_800_000_000.0
SHARED_MEMORY = Path("/dev/shm")


def memory_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory where a sync costs nothing, if the machine has one."""
    return tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)


def opened(name: object) -> Opened:
    return Opened(
        id=str(name),
        started_at=datetime.fromtimestamp(NOW - 10, UTC),
        method="POST",
        path="/v1/messages",
        attempts=1,
        request_bytes=1024,
        stream=True,
        principal="open",
        credential="bearer",
        client_address="10.0.0.1",
        session_id="a-session",
        model="claude-sonnet-5",
    )


def seen(name: object) -> Seen:
    return Seen(str(name), Usage(input_tokens=17, cache_read_input_tokens=4, output_tokens=1))


def entry(name: object, *, pad: int = 0) -> Entry:
    return Entry(
        id=str(name),
        started_at=datetime.fromtimestamp(NOW - 10, UTC),
        method="POST",
        path="/v1/messages" + "x" * pad,
        ended=Ended.DONE,
        duration_seconds=1.5,
        request_bytes=1024,
        response_bytes=2048,
        usage_complete=True,
        attempts=1,
        status=200,
        usage=Usage(input_tokens=17, output_tokens=300, iterations=[msgspec.Raw(b'{"a": [1, 2]}')]),
    )


class Store:
    """Stores batches as a database would: entries with a new id, and the checkpoint, at once.

    Attributes:
        entries: in the order in which they were stored.
        repeated: ids that came again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoint: Checkpoint | None = None
        self.entries: dict[str, Entry] = {}
        self.repeated: list[str] = []
        self.problems: list[Problem] = []
        self.tail: Tail[Entry] | None = None

    def opened_tail(self) -> Tail[Entry]:
        if self.tail is None:
            self.tail = Tail(self.directory, self.checkpoint, ENTRIES)
        return self.tail

    def restart(self) -> None:
        """What was read and not stored is forgotten, and so is all that is not in the checkpoint."""
        if self.tail is not None:
            self.tail.close()
        self.tail = None

    def store(self, batch: Batch[Entry]) -> None:
        for one in batch.entries:
            if one.id in self.entries:
                self.repeated.append(one.id)
            self.entries.setdefault(one.id, one)
        self.problems += batch.problems
        # As it comes back from a database.
        self.checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint), type=Checkpoint)
        for path in deletable(self.directory, self.checkpoint):
            path.unlink()

    def read(self, max_records: int = 1000) -> Batch[Entry]:
        """Read once and store."""
        batch = self.opened_tail().read(max_records)
        self.store(batch)
        return batch

    def catch_up(self) -> None:
        while not self.read().caught_up:
            pass

    def finish(self, max_records: int = 1000) -> None:
        for batch in self.opened_tail().finish(NOW, max_records):
            self.store(batch)
        self.restart()

    def kinds(self) -> list[ProblemKind]:
        return [problem.kind for problem in self.problems]
