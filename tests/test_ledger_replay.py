"""From records to entries."""

from __future__ import annotations

import msgspec

from ferryman.ledger.records import Opened, Seen, decode_opened, encode
from ferryman.ledger.replay import NO_END, Replay
from ferryman.model import Ended, Entry, Usage
from tests.support.journal import NOW, opened, seen


def feed(replay: Replay, value: Opened | Seen) -> None:
    if isinstance(value, Opened):
        replay.open(encode(value))
    else:
        replay.see(value)


def test_closed_exchange_is_forgotten() -> None:
    replay = Replay()
    feed(replay, opened(1))
    feed(replay, seen(1))
    assert [decode_opened(one.opened) for one in replay.live] == [opened(1)]
    replay.close("1")
    assert not replay.live
    assert replay.finish(NOW) == []


def test_open_exchange_of_a_dead_worker_is_interrupted_with_what_was_seen() -> None:
    replay = Replay()
    feed(replay, opened(1))
    feed(replay, seen(1))
    feed(replay, Seen("1", Usage(output_tokens=9)))
    feed(replay, opened(2))
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
    feed(replay, opened(1))
    feed(replay, seen(1))
    feed(replay, msgspec.structs.replace(opened(1), attempts=2))
    (one,) = replay.finish(NOW)
    assert (one.attempts, one.usage) == (2, seen(1).usage)


def test_records_whose_opening_is_unknown_do_no_harm() -> None:
    replay = Replay()
    feed(replay, seen(1))
    replay.close("1")
    assert not replay.live


def test_clock_that_went_back_makes_no_negative_duration() -> None:
    replay = Replay()
    feed(replay, opened(1))
    assert replay.finish(NOW - 1000)[0].duration_seconds == 0


def test_the_same_records_give_the_same_entries() -> None:
    runs = []
    for _ in range(2):
        replay = Replay()
        for value in (opened(1), opened(2), seen(2), opened(3)):
            feed(replay, value)
        replay.close("1")
        runs.append(replay.finish(NOW))
    assert runs[0] == runs[1]
    assert [one.id for one in runs[0]] == ["2", "3"]


def test_exchanges_are_carried_over_a_restart() -> None:
    before = Replay()
    feed(before, opened(1))
    feed(before, seen(1))
    after = Replay(before.live)
    assert after.finish(NOW) == before.finish(NOW)


def test_an_opening_has_no_field_that_an_entry_has_not() -> None:
    assert set(Opened.__struct_fields__) <= set(Entry.__struct_fields__)
