"""What is on its way to sinks: all that is stored, in that order, and nothing that is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from ferryman.errors import StoreError
from ferryman.store.outbox import KEPT, Found
from ferryman.store.schema_outbox import outbox
from ferryman.store.store import Store
from ferryman.store.write import Checkpoint
from tests.support.stores import NOON, entry

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def noting(store: Store) -> Store:
    store.write.noting = lambda: NOW
    return store


def taken(store: Store, name: str, limit: int, machine: str = "") -> list[str]:
    """The ids of what a sink takes now."""
    found = store.outbox.next(machine, name, limit)
    if found is None:
        return []
    store.outbox.move(machine, name, found.after)
    return [one.id for one in found.entries]


def rows(store: Store) -> int:
    with store._engines.read.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())


def test_each_sink_gets_all_in_the_order_in_which_it_was_stored(noting: Store) -> None:
    noting.outbox.begin("", ["a", "b"])
    late, early = entry(5), entry(1)
    noting.write.insert_entries([late])
    noting.write.insert_entries([early, entry(2)])
    assert taken(noting, "a", 10) == [late.id, early.id, entry(2).id]
    assert taken(noting, "a", 10) == []
    assert [taken(noting, "b", 1) for _ in range(4)] == [[late.id], [early.id], [entry(2).id], []]


def test_large_transaction_is_sent_in_parts(noting: Store) -> None:
    noting.outbox.begin("", ["a"])
    noting.write.insert_entries(entry(number) for number in range(7))
    noting.write.insert_entries([entry(7)])
    parts = [taken(noting, "a", 3) for _ in range(4)]
    assert [len(part) for part in parts] == [3, 3, 2, 0]
    assert [one for part in parts for one in part] == [entry(number).id for number in range(8)]


def test_entry_that_is_stored_twice_is_sent_once(noting: Store) -> None:
    noting.outbox.begin("", ["a"])
    noting.write.insert_entries([entry(1)])
    noting.write.insert_entries([entry(1), entry(2)])
    assert taken(noting, "a", 10) == [entry(1).id, entry(2).id]


def test_what_is_not_committed_is_not_sent(noting: Store) -> None:
    noting.outbox.begin("", ["a"])
    broken = Checkpoint("w", "{}", None, NOW)  # type: ignore[arg-type]  # the database refuses it
    with pytest.raises(StoreError):
        noting.write.insert_entries([entry(1)], broken)
    assert rows(noting) == 0
    assert taken(noting, "a", 10) == []


def test_without_sinks_nothing_is_noted(store: Store) -> None:
    store.write.insert_entries([entry(1)])
    assert rows(store) == 0


def test_what_all_have_taken_is_deleted(noting: Store) -> None:
    noting.outbox.begin("", ["a", "b"])
    noting.write.insert_entries([entry(1)])
    noting.write.insert_entries([entry(2)])
    taken(noting, "a", 10)
    assert noting.outbox.trim("", NOW) == {}
    assert rows(noting) == 2
    taken(noting, "b", 1)
    noting.outbox.trim("", NOW)
    assert rows(noting) == 1
    taken(noting, "b", 1)
    noting.outbox.trim("", NOW)
    assert rows(noting) == 0
    noting.write.insert_entries([entry(3)])
    assert taken(noting, "a", 10) == taken(noting, "b", 10) == [entry(3).id]


def test_sink_that_is_away_for_too_long_misses_what_is_old(noting: Store) -> None:
    noting.outbox.begin("", ["a", "b"])
    noting.write.insert_entries([entry(1)])
    taken(noting, "a", 10)
    later = NOW + KEPT + timedelta(seconds=1)
    noting.write.noting = lambda: later
    noting.write.insert_entries([entry(2)])
    assert noting.outbox.behind("", "b", later) == pytest.approx(KEPT.total_seconds() + 1)
    assert noting.outbox.trim("", later) == {"b": 1}
    assert taken(noting, "b", 10) == [entry(2).id]
    assert noting.outbox.behind("", "b", later) == 0


def test_sink_that_stopped_within_a_row_too_old_by_now_gets_all_of_the_next(noting: Store) -> None:
    noting.outbox.begin("", ["a", "b", "late"])
    noting.write.insert_entries([entry(1), entry(2), entry(3)])
    assert len(taken(noting, "a", 10)) == 3
    assert len(taken(noting, "b", 2)) == 2
    under_way = noting.outbox.next("", "late", 2)
    assert under_way is not None
    later = NOW + KEPT + timedelta(seconds=1)
    noting.write.noting = lambda: later
    noting.write.insert_entries([entry(4), entry(5), entry(6)])
    assert noting.outbox.trim("", later) == {"b": 1, "late": 3}
    assert noting.outbox.trim("", later) == {}
    noting.outbox.move("", "late", under_way.after)
    for name in ("a", "b", "late"):
        assert taken(noting, name, 10) == [entry(4).id, entry(5).id, entry(6).id]


def test_sink_goes_on_where_it_was_after_a_restart(noting: Store) -> None:
    noting.outbox.begin("", ["a"])
    noting.write.insert_entries([entry(1), entry(2)])
    assert taken(noting, "a", 1) == [entry(1).id]
    noting.outbox.begin("", ["a", "new"])
    assert taken(noting, "a", 10) == [entry(2).id]
    assert taken(noting, "new", 10) == [entry(1).id, entry(2).id]
    noting.outbox.begin("", ["new"])
    assert noting.outbox.trim("", NOW) == {}
    assert rows(noting) == 0


def test_each_machine_sends_its_own(noting: Store) -> None:
    noting.outbox.begin("one", ["a"])
    noting.outbox.begin("two", ["a"])
    for number, machine in enumerate(("one", "two", "one")):
        noting.write.machine = machine
        noting.write.insert_entries([entry(number)])
    assert taken(noting, "a", 10, "one") == [entry(0).id, entry(2).id]
    assert taken(noting, "a", 10, "two") == [entry(1).id]


def test_deleted_entries_are_passed_over(noting: Store) -> None:
    noting.outbox.begin("", ["a"])
    noting.write.insert_entries([entry(1)])
    noting.delete_before(NOON + timedelta(days=1))
    found = noting.outbox.next("", "a", 10)
    assert isinstance(found, Found)
    assert found.entries == []
