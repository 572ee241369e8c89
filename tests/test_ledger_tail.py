"""Reading a journal: while it is written, after damage, over restarts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ferryman.errors import JournalUnreadable
from ferryman.ledger import segment as segments
from ferryman.ledger.checkpoint import Checkpoint
from ferryman.ledger.files import segment_numbers, segment_path
from ferryman.ledger.format import (
    CLOSED,
    FRAME_BYTES,
    MARK,
    MAX_PAYLOAD_BYTES,
    SEGMENT_BYTES,
    SegmentHeader,
    frame,
    segment_header,
)
from ferryman.ledger.records import encode
from ferryman.ledger.replay import opened_id
from ferryman.ledger.segment import Problem, ProblemKind
from ferryman.ledger.tail import ENTRIES, Tail
from ferryman.ledger.writer import JournalWriter
from ferryman.model import Ended
from tests.support.gateway import HeldClock
from tests.support.journal import NOW, Store, entry, opened

SIZE = len(frame(CLOSED, 1, encode(entry("1"))))


def record(number: int, *, pad: int = 0) -> bytes:
    return frame(CLOSED, number, encode(entry(number, pad=pad)))


HEADER = segment_header(SegmentHeader(1, NOW, starts=True))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "w1").mkdir()
    return Store(tmp_path / "w1")


def put(store: Store, data: bytes, number: int = 1) -> None:
    """Append `data` to a segment, as nobody does who holds to the rules."""
    with segment_path(store.directory, number).open("ab") as file:
        file.write(data)


def test_empty_directory_is_caught_up(store: Store) -> None:
    batch = store.read()
    assert (batch.entries, batch.problems, batch.caught_up) == ([], [], True)
    assert batch.checkpoint == Checkpoint("w1")
    store.finish()
    assert store.checkpoint == Checkpoint("w1", finished=True)


def test_tail_that_is_being_written_is_waited_for_byte_by_byte(store: Store) -> None:
    data = HEADER + record(1) + record(2)
    ends = {len(HEADER) + SIZE: "1", len(data): "2"}
    for at in range(len(data)):
        put(store, data[at : at + 1])
        batch = store.read()
        assert [one.id for one in batch.entries] == ([ends[at + 1]] if at + 1 in ends else [])
        assert batch.caught_up
    assert store.problems == []


def test_cut_off_record_that_is_written_over_is_not_mixed_up(store: Store) -> None:
    put(store, HEADER + record(1)[:-5])
    assert store.read().entries == []
    os.truncate(segment_path(store.directory, 1), SEGMENT_BYTES)
    put(store, frame(CLOSED, 1, encode(entry("other", pad=7))))
    assert [one.id for one in store.read().entries] == ["other"]
    assert store.problems == []


def test_torn_end_of_a_dead_workers_segment_is_told(store: Store) -> None:
    put(store, HEADER + record(1) + record(2)[:-1])
    store.finish()
    assert list(store.entries) == ["1"]
    assert store.problems == [Problem(ProblemKind.TORN, 1, len(HEADER) + SIZE, SIZE - 1)]


@pytest.mark.parametrize("at", [0, 2, 5, 7, 8, 9, 10, 12, 15, FRAME_BYTES, SIZE - 1])
def test_damaged_record_is_skipped_and_its_size_and_number_told(store: Store, at: int) -> None:
    bad = bytearray(record(2))
    bad[at] ^= 0x10
    put(store, HEADER + record(1) + bad + record(3))
    store.catch_up()
    assert list(store.entries) == ["1", "3"]
    start = len(HEADER) + SIZE
    assert store.problems == [
        Problem(ProblemKind.SKIPPED, 1, start, SIZE),
        Problem(ProblemKind.MISSING, 1, start + SIZE, 1),
    ]


def test_length_beyond_the_end_does_not_hold_up_what_follows(store: Store) -> None:
    bad = bytearray(record(2))
    bad[10] = 1  # 64 KiB more
    put(store, HEADER + record(1) + bad)
    assert store.read().problems == [], "it may be a long record that is being written"
    put(store, record(3))
    store.catch_up()
    assert list(store.entries) == ["1", "3"]
    assert store.kinds() == [ProblemKind.SKIPPED, ProblemKind.MISSING]


def test_damage_at_the_end_of_a_dead_workers_segment_is_told_whole(store: Store) -> None:
    put(store, HEADER + record(1) + bytes(5000) + MARK + bytes(3))
    store.finish()
    assert list(store.entries) == ["1"]
    assert sum(problem.size for problem in store.problems) == 5000 + len(MARK) + 3


def test_zeros_of_a_live_segment_are_told_once(store: Store) -> None:
    put(store, HEADER + bytes(100_000))
    store.catch_up()
    store.catch_up()
    assert store.problems == [Problem(ProblemKind.SKIPPED, 1, SEGMENT_BYTES, 100_000)]
    put(store, record(1))
    store.catch_up()
    assert list(store.entries) == ["1"]


def test_damaged_header_costs_no_record(store: Store) -> None:
    put(store, b"x" + HEADER[1:] + record(1))
    store.finish()
    assert list(store.entries) == ["1"]
    assert store.problems == [Problem(ProblemKind.SKIPPED, 1, 0, SEGMENT_BYTES)]


def test_part_of_a_header_is_told_when_nobody_writes_on(store: Store) -> None:
    put(store, HEADER[:10])
    assert store.read().problems == []
    put(store, segment_header(SegmentHeader(1, NOW, starts=True)) + record(1), 2)
    store.finish()
    assert list(store.entries) == ["1"]
    assert store.problems == [Problem(ProblemKind.SKIPPED, 1, 0, 10)]


def test_record_that_comes_twice_is_left_out(store: Store) -> None:
    put(store, HEADER + record(1) + record(2) + record(1) + record(3))
    store.finish()
    assert list(store.entries) == ["1", "2", "3"]
    assert store.problems == [Problem(ProblemKind.REPEATED, 1, SEGMENT_BYTES + 2 * SIZE, SIZE)]


def test_lost_segment_is_noticed_by_its_numbers(store: Store) -> None:
    put(store, HEADER + record(1))
    put(store, segment_header(SegmentHeader(5, NOW, starts=False)) + record(5), 3)
    store.finish()
    assert store.problems == [Problem(ProblemKind.MISSING, 3, SEGMENT_BYTES, 3)]


def test_record_of_an_unknown_kind_or_shape_is_told_and_passed(store: Store) -> None:
    put(store, HEADER + frame(ord("z"), 1, b"{}") + frame(CLOSED, 2, b'{"id":3}') + record(3))
    store.finish()
    assert list(store.entries) == ["3"]
    assert store.problems == [
        Problem(ProblemKind.UNDECODABLE, 1, SEGMENT_BYTES, 1),
        Problem(ProblemKind.UNDECODABLE, 1, SEGMENT_BYTES + FRAME_BYTES + 2, 1),
    ]


def test_records_longer_than_what_is_read_at_once_come_whole(store: Store) -> None:
    pad = MAX_PAYLOAD_BYTES - 1000
    assert pad > segments.CHUNK_BYTES
    put(store, HEADER + record(1, pad=pad) + record(2) + record(3, pad=pad)[:-1] + b"?" + record(4))
    store.finish()
    assert store.entries["1"] == entry(1, pad=pad)
    assert list(store.entries) == ["1", "2", "4"]
    assert store.kinds() == [ProblemKind.SKIPPED, ProblemKind.MISSING]


def test_memory_is_bounded_by_one_record_and_one_chunk(store: Store) -> None:
    put(store, HEADER + b"".join(record(number) for number in range(1, 5000)))
    reader = segments.SegmentReader(store.directory, 1)
    count = 0
    while reader.next(sealed=True):
        count += 1
        assert len(reader._data) <= segments.CHUNK_BYTES + 2 * SIZE
    reader.close()
    assert count == 4999


def test_checkpoint_of_another_worker_is_refused(store: Store) -> None:
    with pytest.raises(JournalUnreadable, match="`w2`"):
        Tail(store.directory, Checkpoint("w2"), ENTRIES)


def test_living_worker_is_not_finished(tmp_path: Path, clock: HeldClock) -> None:
    writer = JournalWriter(tmp_path / "w1", clock)
    with pytest.raises(JournalUnreadable, match="still being written"):
        Store(tmp_path / "w1").finish()
    writer.close()


def test_long_exchange_is_carried_and_keeps_no_segment(tmp_path: Path, clock: HeldClock) -> None:
    writer = JournalWriter(tmp_path / "w1", clock, segment_bytes=1000)
    store = Store(tmp_path / "w1")
    writer.opened(encode(opened("long")))
    for number in range(20):
        writer.opened(encode(opened(number)))
        writer.closed(encode(entry(number)))
        store.catch_up()
        store.restart()
        assert len(segment_numbers(tmp_path / "w1")) <= 2
    assert store.checkpoint is not None
    assert opened_id(bytes(store.checkpoint.carried[0].opened)) == "long"
    assert len(store.checkpoint.carried) <= 2, "and the one that was open where the segment begins"
    assert store.checkpoint.segment > 5
    writer.close()
    store.finish(1)
    assert store.entries["long"].ended is Ended.INTERRUPTED
    assert len(store.entries) == 21
    assert (store.problems, store.repeated) == ([], [])


def test_finished_journal_finished_again_gives_nothing_new(store: Store) -> None:
    put(store, HEADER + frame(ord("o"), 1, encode(opened("open"))))
    store.finish()
    assert store.entries["open"].duration_seconds == 10.0
    store.finish()
    assert store.repeated == []
    put(store, segment_header(SegmentHeader(2, NOW, starts=True)) + record(2), 2)
    store.catch_up()
    assert list(store.entries) == ["open", "2"]
    assert store.repeated == []
    assert repr(store.tail) == f"<Tail w1: <SegmentReader 2 at {SEGMENT_BYTES + SIZE}>, <Replay 0 open>>"


def test_checkpoint_stays_while_what_lies_before_it_is_read_again(store: Store) -> None:
    put(store, HEADER + b"".join(record(number) for number in range(1, 11)))
    store.read(8)
    before = store.checkpoint
    assert list(store.entries) == [str(number) for number in range(1, 9)]
    store.restart()
    assert store.read(3).checkpoint == before
    store.catch_up()
    assert len(store.entries) == 10
    assert store.repeated == []
