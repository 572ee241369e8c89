"""The writer of the journal: files, numbers, failures of a real disk."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import pytest

from ferryman.clock import Clock, SystemClock
from ferryman.errors import JournalUnwritable
from ferryman.ledger.files import is_written, segment_numbers, segment_path
from ferryman.ledger.format import MAX_PAYLOAD_BYTES, SEGMENT_BYTES, VERSION
from ferryman.ledger.records import encode
from ferryman.ledger.segment import ProblemKind, last_of
from ferryman.ledger.sync import Syncer
from ferryman.ledger.writer import JournalWriter
from ferryman.model import Ended
from tests.support.gateway import HeldClock
from tests.support.journal import Store, entry, opened, seen

DEADLINE_SECONDS = 30

# The disk is full where RLIMIT_FSIZE says so: the failing writes are the kernel's.
FULL_DISK = """
import json, resource, sys
from pathlib import Path
from ferryman.clock import Clock, SystemClock
from ferryman.errors import JournalUnwritable
from ferryman.ledger.records import encode
from ferryman.ledger.writer import JournalWriter
from tests.support.gateway import HeldClock
from tests.support.journal import entry, opened

clock = HeldClock()
writer = JournalWriter(Path(sys.argv[1]), clock)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
written, retained, told = [], [], {}
number = 0
while writer.healthy:
    number += 1
    (written if writer.closed(encode(entry(number))) else retained).append(str(number))
told["size"] = Path(sys.argv[1], "00000001.jnl").stat().st_size
told["problem"] = writer.problem
for one in ("again", "and again"):
    try:
        writer.opened(encode(opened("refused")))
    except JournalUnwritable as error:
        told[one] = str(error)
    clock.seconds += 1
    told["tried"] = writer.recover()
for number in range(1000, 1010):
    assert not writer.closed(encode(entry(number)))
    retained.append(str(number))
told["retained"] = writer.retained
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
told["too early"] = writer.recover()
clock.seconds += 1
told["recovered"] = writer.recover()
told["healthy"] = [writer.healthy, writer.problem, writer.retained, writer.lost]
writer.opened(encode(opened("later")))
writer.closed(encode(entry("later")))
writer.close()
print(json.dumps([written, retained, told]))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "w1"


@contextlib.contextmanager
def journal(directory: Path, clock: Clock, **options: float) -> Iterator[JournalWriter]:
    writer = JournalWriter(directory, clock, **options)  # type: ignore[arg-type]  # the size is an int
    yield writer
    writer.close()


def test_what_is_written_is_read(directory: Path, clock: HeldClock) -> None:
    store = Store(directory)
    with journal(directory, clock) as writer:
        writer.opened(encode(opened(1)))
        writer.seen(encode(seen(1)))
        assert store.read().entries == []
        assert store.opened_tail().live == 1
        assert writer.closed(encode(entry(1)))
        assert store.read().entries == [entry(1)]
    store.finish()
    assert list(store.entries.values()) == [entry(1)]
    assert store.problems == []
    assert "JournalWriter 1" in repr(writer)


def test_every_process_begins_a_segment_and_numbers_go_on(directory: Path, clock: HeldClock) -> None:
    for number in range(3):
        before = {path: path.read_bytes() for path in directory.glob("*")}
        with journal(directory, clock) as writer:
            writer.closed(encode(entry(number)))
        assert {path: path.read_bytes() for path in before} == before
    assert last_of(directory) == (3, 3)
    store = Store(directory)
    store.finish()
    assert (list(store.entries), store.problems) == (["0", "1", "2"], [])


def test_segment_of_its_size_is_followed_by_the_next(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock, segment_bytes=1000) as writer:
        for number in range(20):
            writer.closed(encode(entry(number)))
    numbers = segment_numbers(directory)
    assert len(numbers) > 3
    sizes = [segment_path(directory, number).stat().st_size for number in numbers]
    assert all(1000 <= size < 2000 for size in sizes[:-1])
    store = Store(directory)
    store.finish()
    assert (list(store.entries), store.problems) == ([str(number) for number in range(20)], [])


def test_directory_belongs_to_one_process(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock):
        assert is_written(directory)
        with pytest.raises(JournalUnwritable, match="another process writes it"):
            JournalWriter(directory, clock)
    assert not is_written(directory)


def test_directory_that_cannot_be_made_is_told(tmp_path: Path, clock: HeldClock) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalUnwritable, match=r"The journal in `.*/file/w1` cannot be written"):
        JournalWriter(tmp_path / "file" / "w1", clock)


def test_journal_of_another_version_is_not_written_on(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock):
        pass
    path = segment_path(directory, 1)
    data = bytearray(path.read_bytes())
    data[8] = VERSION + 1
    data[SEGMENT_BYTES - 4 :] = crc32(data[: SEGMENT_BYTES - 4]).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(JournalUnwritable, match=f"version `{VERSION + 1}`"):
        JournalWriter(directory, clock)
    assert not is_written(directory)


def test_full_disk_keeps_what_ended_and_writes_it_later(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(directory)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    written, retained, told = json.loads(done.stdout.splitlines()[-1])
    assert len(written) > 10
    assert told["size"] < 20_000, "the torn record was cut off"
    assert "bytes were written; is the disk full?" in told["problem"], "a part of the record was written"
    assert told["again"].startswith("The journal in")
    assert "of 4116 bytes" in told["and again"], "a second later it was tried again"
    assert not told["tried"]
    assert not told["too early"]
    assert told["retained"] == len(retained) == 11
    assert told["recovered"]
    assert told["healthy"] == [True, "", 0, 0]
    store = Store(directory)
    store.finish()
    assert list(store.entries) == [*written, *retained, "later"]
    assert (store.problems, store.repeated) == ([], [])
    assert done.stderr.count("journal not written") + done.stdout.count("journal not written") == 1


@pytest.fixture
def failing(directory: Path, clock: HeldClock) -> Iterator[JournalWriter]:
    """A writer whose next segment cannot be begun: its name is taken by a directory."""
    writer = JournalWriter(directory, clock, segment_bytes=1000)
    segment_path(directory, 2).mkdir()
    while writer.closed(encode(entry("before"))):
        pass
    yield writer
    writer.close()


def test_retained_entries_are_bounded_and_the_lost_are_counted(
    failing: JournalWriter, directory: Path, clock: HeldClock
) -> None:
    pad = 1 << 20
    for number in range(10):
        assert not failing.closed(encode(entry(number, pad=pad)))
    assert failing.retained == 8  # with "before", and 8 MiB of them
    assert failing.lost == 3
    segment_path(directory, 2).rmdir()
    clock.seconds += 1
    assert failing.recover()
    assert failing.closed(encode(entry("after")))
    store = Store(directory)
    store.catch_up()
    assert list(store.entries) == ["before", *map(str, range(7)), "after"]
    assert [problem.size for problem in store.problems if problem.kind is ProblemKind.MISSING] == [3]


def test_retained_entries_are_written_at_the_end(failing: JournalWriter, directory: Path) -> None:
    assert failing.retained == 1
    segment_path(directory, 2).rmdir()
    failing.closed(encode(entry("last")))
    assert failing.retained == 2


def test_entry_beyond_all_bounds_is_lost_and_counted(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock) as writer:
        assert not writer.closed(encode(entry("big", pad=MAX_PAYLOAD_BYTES)))
        assert writer.closed(encode(entry("small")))
        assert (writer.lost, writer.healthy) == (1, True)
    store = Store(directory)
    store.finish()
    assert list(store.entries) == ["small"]
    assert store.kinds() == [ProblemKind.MISSING]


def test_sync_happens_off_the_loop_and_only_when_written(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock, sync_seconds=0.0) as writer:
        writer.closed(encode(entry(1)))
        assert writer.healthy
        assert writer.sync_failures == 0


def removed(writer: JournalWriter) -> None:
    """Wait until the writer knows that its file has gone."""
    writer.closed(encode(entry("into nothing")))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not writer._syncer.removed:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_directory_that_is_removed_is_noticed(directory: Path) -> None:
    """What is written to a removed file is accepted by the system, and is nowhere."""
    with journal(directory, SystemClock(), sync_seconds=0.01) as writer:
        writer.opened(encode(opened(1)))
        shutil.rmtree(directory.parent)
        removed(writer)
        with pytest.raises(JournalUnwritable, match="No such file or directory"):
            writer.opened(encode(opened(2)))
        assert not writer.closed(encode(entry(1)))
        assert (writer.healthy, writer.retained) == (False, 1)


def test_segment_that_is_removed_is_followed_by_another(directory: Path) -> None:
    with journal(directory, SystemClock(), sync_seconds=0.01) as writer:
        writer.opened(encode(opened(1)))
        segment_path(directory, 1).unlink()
        removed(writer)
        assert writer.closed(encode(entry(1)))
        assert writer.healthy
    assert segment_numbers(directory) == [2]
    store = Store(directory)
    store.finish()
    assert set(store.entries) == {"1"}


def test_what_is_made_is_for_our_user_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with journal(tmp_path / "data" / "journal" / "w1", HeldClock()) as writer:
            writer.opened(encode(opened(1)))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
    assert modes == {"journal": 0o700, "w1": 0o700, "00000001.jnl": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_failed_sync_is_told_and_tried_again(tmp_path: Path) -> None:
    """A pipe cannot be synced (EINVAL): a real failure."""
    directory = os.open(tmp_path, os.O_RDONLY)
    reading, writing_end = os.pipe()
    syncer = Syncer(directory, 0.0)
    syncer.created(writing_end)
    while not syncer.failed:
        pass
    good = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    syncer.created(good)
    while syncer.failed:
        pass
    assert syncer.failures >= 1
    assert syncer.close()
    for descriptor in (writing_end, good):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    os.close(directory)
    os.close(reading)


def test_interrupted_exchanges_of_a_former_process_are_settled(directory: Path, clock: HeldClock) -> None:
    with journal(directory, clock) as writer:
        writer.opened(encode(opened(1)))
        writer.seen(encode(seen(1)))
    store = Store(directory)
    store.catch_up()
    with journal(directory, clock) as writer:
        writer.opened(encode(opened(2)))
        store.catch_up()
        assert list(store.entries) == ["1"]
        settled = store.entries["1"]
        assert (settled.ended, settled.usage, settled.usage_complete) == (
            Ended.INTERRUPTED,
            seen(1).usage,
            False,
        )
        writer.closed(encode(entry(2)))
    store.finish()
    assert list(store.entries) == ["1", "2"]
    assert store.repeated == []


def test_closed_journal_writes_into_nothing_that_took_its_place(tmp_path: Path) -> None:
    """The number of its file soon is that of a client's connection."""
    writer = JournalWriter(tmp_path / "1", HeldClock())
    writer.opened(encode(opened(1)))
    writer.close()
    with ExitStack() as stack:
        pairs = [[stack.enter_context(one) for one in socket.socketpair()] for _ in range(4)]
        with pytest.raises(JournalUnwritable, match="closed"):
            writer.opened(encode(opened(2)))
        assert not writer.closed(encode(entry(1)))
        for one in itertools.chain(*pairs):
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)
    assert len(segment_numbers(tmp_path / "1")) == 1
