"""What is new in the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from ferryman.model import Entry
from ferryman.store.follow import LONG_EVERY, OVERLAP, Follower, newest
from ferryman.store.read import MAX_PAGE, Ending, Filter
from ferryman.store.store import Store
from tests.support.gateway import HeldClock
from tests.support.stores import NOON, entry


@pytest.fixture
def late() -> HeldClock:
    """A clock that is past every entry."""
    clock = HeldClock()
    assert clock.now() > (NOON + timedelta(days=30)).timestamp()
    return clock


def ids(entries: list[Entry]) -> list[str]:
    return [each.id for each in entries]


def follower(store: Store, clock: HeldClock, wanted: Filter | None = None) -> Follower:
    return Follower(store.read, wanted or Filter(), clock)


def test_newest_come_oldest_first(store: Store) -> None:
    batch = [entry(number) for number in range(MAX_PAGE + 20)]
    store.write.insert_entries(batch)
    assert newest(store.read, Filter(), 3) == batch[-3:]
    assert ids(newest(store.read, Filter(), MAX_PAGE + 5)) == ids(batch[-MAX_PAGE - 5 :])
    assert len(newest(store.read, Filter(), 10_000)) == MAX_PAGE + 20
    assert newest(store.read, Filter(), 0) == []


def test_what_was_there_is_told_once_and_only_as_much_as_wanted(store: Store, late: HeldClock) -> None:
    batch = [entry(number, started_at=NOON) for number in range(5)]
    store.write.insert_entries(batch)
    one = follower(store, late)
    assert ids(one.begin(2)) == ids(batch[-2:])
    assert one.new() == one.new() == []


def test_long_exchange_is_told_when_it_has_ended_behind_many_that_began_later(
    store: Store, late: HeldClock
) -> None:
    one = follower(store, late)
    assert one.begin(10) == []
    long = entry(0, duration_seconds=7_200.0)
    for number in range(1, 120):
        store.write.insert_entries([entry(number)])
        assert ids(one.new()) == [entry(number).id]
    store.write.insert_entries([long])
    told = [found for _ in range(LONG_EVERY) for found in ids(one.new())]
    assert told == [long.id]


def test_late_entries_are_neither_missed_nor_doubled_in_any_order(store: Store, late: HeldClock) -> None:
    chance = random.Random(7)
    seconds = OVERLAP.total_seconds()
    batch = [
        entry(number, started_at=NOON + timedelta(seconds=number), duration_seconds=chance.uniform(0, 500))
        for number in range(600)
    ]

    def stored_at(each: Entry) -> float:
        ended = each.started_at.timestamp() + each.duration_seconds
        return ended + chance.uniform(0, seconds * 0.9)

    expected = sorted(ids(batch))
    batch.sort(key=stored_at)
    one = follower(store, late)
    told = ids(one.begin(10))
    while batch:
        size = chance.randint(1, 40)
        store.write.insert_entries(batch[:size])
        told += ids(one.new())
        del batch[:size]
        assert len(one._seen) <= 600
    told += ids(one.new())
    assert sorted(told) == expected


def test_entry_that_is_stored_while_it_begins_is_told(store: Store, late: HeldClock) -> None:
    store.write.insert_entries([entry(0)])
    meanwhile = [entry(2, started_at=NOON), entry(1)]

    class Between(Follower):
        def _lately(self, duration: timedelta) -> list[Ending]:
            found = super()._lately(duration)
            store.write.insert_entries(meanwhile)
            return found

    one = Between(store.read, Filter(), late)
    told = ids(one.begin(1))
    told += ids(one.new()) + ids(one.new())
    assert sorted(told) == ids(meanwhile)


def test_filter_holds_and_others_move_it_on(store: Store, late: HeldClock) -> None:
    one = follower(store, late, Filter(model="m", start=NOON))
    one.begin(10)
    for number in range(0, 60, 2):
        store.write.insert_entries([entry(number), entry(number + 1, model="m")])
        assert ids(one.new()) == [entry(number + 1).id]
    assert len(one._seen) < 6, repr(one)
    by_tag = follower(store, late, Filter(tag="t"))
    assert by_tag.begin(10) == []
    store.write.insert_entries([entry(100, tags=["t"]), entry(101)])
    assert ids(by_tag.new()) == [entry(100).id]


def test_clock_that_is_ahead_hides_nothing(store: Store) -> None:
    clock = HeldClock()
    clock.seconds += NOON.timestamp() - clock.now()
    one = follower(store, clock)
    one.begin(0)
    for each in (entry(0, started_at=NOON + timedelta(hours=3)), entry(1, started_at=NOON)):
        store.write.insert_entries([each])
        assert one.new() == [each]
    assert one.new() == []
