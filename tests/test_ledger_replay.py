"""From records to entries."""

from __future__ import annotations

import msgspec

from ferryman.ledger.records import Opened, Seen
from ferryman.ledger.replay import NO_END, Replay
from ferryman.model import Ended, Entry, Usage
from tests.support.journal import NOW, opened, seen


def test_closed_exchange_is_forgotten() -> None:
    replay = Replay()
    replay.feed(opened(1))
    replay.feed(seen(1))
    assert [one.opened for one in replay.live] == [opened(1)]
    replay.close("1")
    assert not replay.live
    assert replay.finish(NOW) == []


def test_open_exchange_of_a_dead_worker_is_interrupted_with_what_was_seen() -> None:
    replay = Replay()
    replay.feed(opened(1))
    replay.feed(seen(1))
    replay.feed(Seen("1", Usage(output_tokens=9)))
    replay.feed(opened(2))
    first, second = replay.finish(NOW)
    assert first == Entry(
        **msgspec.structs.asdict(opened(1)),
        ended=Ended.INTERRUPTED,
        error=NO_END,
        duration_seconds=10.0,
        response_bytes=0,
        usage=Usage(input_tokens=17, cache_read_input_tokens=4, output_tokens=9),
        usage_complete=False,
    )
    assert (second.id, second.usage) == ("2", None)
    assert replay.finish(NOW) == []


def test_second_attempt_replaces_the_first_and_keeps_what_was_seen() -> None:
    replay = Replay()
    replay.feed(opened(1))
    replay.feed(seen(1))
    replay.feed(msgspec.structs.replace(opened(1), attempts=2))
    (one,) = replay.finish(NOW)
    assert (one.attempts, one.usage) == (2, seen(1).usage)


def test_records_whose_opening_is_unknown_do_no_harm() -> None:
    replay = Replay()
    replay.feed(seen(1))
    replay.close("1")
    assert not replay.live


def test_clock_that_went_back_makes_no_negative_duration() -> None:
    replay = Replay()
    replay.feed(opened(1))
    assert replay.finish(NOW - 1000)[0].duration_seconds == 0


def test_the_same_records_give_the_same_entries() -> None:
    runs = []
    for _ in range(2):
        replay = Replay()
        for value in (opened(1), opened(2), seen(2), opened(3)):
            replay.feed(value)
        replay.close("1")
        runs.append(replay.finish(NOW))
    assert runs[0] == runs[1]
    assert [one.id for one in runs[0]] == ["2", "3"]


def test_exchanges_are_carried_over_a_restart() -> None:
    before = Replay()
    before.feed(opened(1))
    before.feed(seen(1))
    after = Replay(before.live)
    assert after.finish(NOW) == before.finish(NOW)


def test_an_opening_has_no_field_that_an_entry_has_not() -> None:
    assert set(Opened.__struct_fields__) <= set(Entry.__struct_fields__)
