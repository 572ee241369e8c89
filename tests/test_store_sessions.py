"""Which sessions there were lately, on both kinds of database."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ferryman.ledger.records import encode
from ferryman.model import Cost, Entry
from ferryman.store.read import MAX_PAGE, Filter
from ferryman.store.rows import row_of
from ferryman.store.schema import VERSION_TABLE
from ferryman.store.schema_sessions import session_sums
from ferryman.store.session_rows import summed
from ferryman.store.sessions import MAX_STEPS, STEP_ROWS
from ferryman.store.store import Store
from tests.support.stores import NOON, entry, opened

EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


def cost(nanousd: int) -> Cost:
    return Cost(nanousd, "catalog", "r", [])


def kept(store: Store) -> list[tuple[Any, ...]]:
    """All rows of the sums, in the order of their keys."""
    with store._engines.read.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(select(session_sums)))


def expected(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """The same, one entry after another."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for one in entries:
        if not one.session_id:
            continue
        place, _, started, duration, *_ = row_of(encode(one)).values
        sums = found.setdefault(
            (one.session_id, one.principal or "", one.model or ""), [place, started, 0, 0, 0, 0]
        )
        sums[0], sums[1] = max(sums[0], place), min(sums[1], started)
        sums[2] = max(sums[2], started + duration)
        sums[3] += 1
        sums[4] += one.status != 200
        sums[5] += one.cost.nanousd if one.cost is not None else 0
    return sorted((*key, *sums) for key, sums in found.items())


def everything(store: Store) -> list[Entry]:
    page = store.read.page(Filter(), limit=MAX_PAGE)
    assert page.after is None
    return page.entries


def test_sessions_come_by_their_last_request_with_what_they_came_to(store: Store) -> None:
    store.write.insert_entries(
        [
            entry(1, session_id="a", cost=cost(5), principal="ann"),
            entry(2, session_id="b", cost=cost(7)),
            entry(3),
            entry(70, session_id="a", cost=cost(11), principal="ann", status=529, model="m"),
        ]
    )
    found, after = store.sessions.page(limit=10)
    assert after is None
    assert [one.session_id for one in found] == ["a", "b"]
    first = found[0]
    assert (first.requests, first.errors, first.cost_nanousd, first.principal) == (2, 1, 16, "ann")
    assert first.started_at == NOON + timedelta(minutes=1)
    assert first.ended_at == NOON + timedelta(minutes=70, seconds=1.5)
    assert set(first.models) == {"m", "claude-opus-4-5"}


def test_each_session_stands_on_one_page(store: Store) -> None:
    entries = [entry(number, session_id=f"s{number % 7}") for number in range(400)]
    store.write.insert_entries(entries)
    seen: list[str] = []
    before = None
    while True:
        found, before = store.sessions.page(limit=3, before=before)
        seen += [one.session_id for one in found]
        assert all(one.requests in {57, 58} for one in found)
        if before is None:
            break
    latest = {entry.session_id: number for number, entry in enumerate(entries)}
    assert seen == sorted(latest, key=lambda name: -latest[name])


def test_only_the_requests_of_some_are_seen_where_that_is_wanted(store: Store) -> None:
    store.write.insert_entries(
        [
            entry(1, session_id="shared", principal="ann", cost=cost(1)),
            entry(2, session_id="shared", principal="ben", cost=cost(2)),
            entry(3, session_id="other", principal="ben", cost=cost(4)),
        ]
    )
    found, _ = store.sessions.page(limit=10, principals=["ann"])
    assert [(one.session_id, one.requests, one.cost_nanousd) for one in found] == [("shared", 1, 1)]
    assert store.sessions.page(limit=10, principals=[]) == ([], None)
    assert store.sessions.page(limit=10, principals=["nobody"]) == ([], None)


def test_there_are_none_where_no_request_has_named_one(store: Store) -> None:
    store.write.insert_entries([entry(1)])
    assert store.sessions.page(limit=10) == ([], None)


calls = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from([None, "", "a", "b", "größe"]),
        "principal": st.sampled_from([None, "ann", "ben"]),
        "model": st.sampled_from([None, "opus", "haiku"]),
        "status": st.sampled_from([200, 429]),
        "cost": st.none() | st.builds(cost, st.integers(0, 10**13)),
        "duration_seconds": st.sampled_from([0.0, 1.5, 900.0]),
    }
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.lists(calls, min_size=20, max_size=20),
    st.lists(st.lists(st.integers(0, 19), max_size=12), max_size=6),
)
def test_sums_of_sessions_are_those_of_their_entries_whatever_is_sent_again(
    store: Store, given_calls: list[dict[str, Any]], sent: list[list[int]]
) -> None:
    store.delete_before(EVER[1])
    assert kept(store) == []
    entries = [entry(number, **call) for number, call in enumerate(given_calls)]
    for batch in sent:
        store.write.insert_entries([entries[number] for number in batch])
        store.write.insert_entries([entries[number] for number in batch])
    assert kept(store) == expected([entries[number] for number in {one for batch in sent for one in batch}])


def test_two_writers_of_the_same_add_it_up_once(url: str, store: Store) -> None:
    batch = [entry(number, session_id=f"s{number % 7}", model=f"m{number % 3}") for number in range(300)]
    with closing(opened(url)) as other:
        threads = [
            threading.Thread(target=one.write.insert_entries, args=(order,))
            for one in (store, other)
            for order in (batch, batch[100:] + batch[:100], batch[::-1])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert kept(store) == expected(batch)


def test_entries_of_before_are_added_up_by_the_migration(store: Store) -> None:
    made = [
        entry(number, session_id=session_id, principal=principal, model=model, status=status, cost=spent)
        for number, (session_id, principal, model, status, spent) in enumerate(
            [
                ("a", "ann", "m", 200, cost(10**13)),
                ("a", "ann", "m", 529, None),
                ("a", None, "m", 200, cost(3)),
                ("b", None, None, 200, None),
                (None, "ann", "m", 200, cost(5)),
            ]
        )
    ]
    store.write.insert_entries(made)
    with store._engines.write.begin() as connection:
        session_sums.drop(connection)
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0007'")
    store.migrate()
    assert kept(store) == expected(made)
    store.write.insert_entries([entry(9, session_id="a", principal="ann", model="m")])
    assert kept(store)[1][6] == 3, "and what comes then is added"


def test_sums_go_with_the_last_entry_of_their_session_in_steps(store: Store) -> None:
    numbers = range(10)
    store.write.insert_entries([entry(number, session_id=f"s{number % 5}") for number in numbers])
    before = kept(store)
    assert store.delete_before(NOON + timedelta(minutes=5), at_most=10) == 5
    assert kept(store) == before, "each had a request since"
    assert [store.delete_before(NOON + timedelta(minutes=8), at_most=2) for _ in range(3)] == [2, 1, 0]
    assert [row[0] for row in kept(store)] == ["s3", "s4"]
    assert store.delete_before(EVER[1]) == 2
    assert kept(store) == []


def test_sums_follow_the_prices_and_once(store: Store) -> None:
    made = [entry(number, session_id=f"s{number % 3}", cost=cost(5)) for number in range(50)]
    store.write.insert_entries([*made, entry(60, cost=cost(5))])
    for _ in range(2):
        store.reprice_step(lambda _: cost(7), Filter(), store.span_of_time(*EVER))
        assert kept(store) == expected(everything(store))
        assert sum(row[-1] for row in kept(store)) == 350


def test_session_that_goes_on_does_not_come_again_on_a_later_page(store: Store) -> None:
    store.write.insert_entries(
        [entry(number, session_id=f"s{number % 9}", model=f"m{number % 2}") for number in range(90)]
    )
    first, before = store.sessions.page(limit=4)
    store.write.insert_entries([entry(99, session_id=first[0].session_id, model="m2")])
    second, before = store.sessions.page(limit=4, before=before)
    third, after = store.sessions.page(limit=4, before=before)
    assert [one.session_id for one in first + second + third] == [f"s{number}" for number in range(8, -1, -1)]
    assert after is None
    assert store.sessions.page(limit=1)[0][0].models == (*first[0].models, "m2")


def test_callers_who_see_some_see_each_session_once_by_their_own_requests(store: Store) -> None:
    who = ["ann", "ben", "carl", None]
    store.write.insert_entries(
        [entry(number, session_id=f"s{number % 90}", principal=who[number % 4]) for number in range(360)]
    )
    seen = []
    before = None
    while True:
        found, before = store.sessions.page(limit=7, before=before, principals=["ann", "carl", "ann"])
        seen += found
        if before is None:
            break
    assert len({one.session_id for one in seen}) == len(seen) == 45
    assert {(one.principal, one.requests) for one in seen} <= {
        ("ann", 4),
        ("carl", 4),
        ("ann", 2),
        ("carl", 2),
    }
    assert sum(one.requests for one in seen) == 180
    assert [one.place for one in seen] == sorted((one.place for one in seen), reverse=True)


def test_session_of_models_without_end_makes_a_page_short_and_not_slow(store: Store) -> None:
    rows = STEP_ROWS * MAX_STEPS
    store.write.insert_entries([entry(1, session_id="old")])
    many = [entry(2 + number, session_id="many", model=f"m{number}") for number in range(rows)]
    store.write.insert_entries(many)
    found, before = store.sessions.page(limit=2)
    assert [(one.session_id, one.requests) for one in found] == [("many", rows)]
    found, before = store.sessions.page(limit=2, before=before)
    assert [one.session_id for one in found] == ["old"]
    assert before is None


def test_sums_come_in_one_order_whatever_the_order_of_the_entries() -> None:
    rows = [row_of(encode(entry(number, session_id=f"s{number % 4}"))) for number in range(9)]
    assert summed(rows) == summed(rows[::-1]) == sorted(summed(rows))
    assert summed([row_of(encode(entry(1)))]) == []


def test_span_of_a_session_holds_all_its_requests(store: Store) -> None:
    made = [
        entry(number, session_id="a", model=f"m{number % 2}", duration_seconds=0.0) for number in (1, 4, 9)
    ]
    store.write.insert_entries([entry(0, session_id="b"), *made, entry(12, session_id="b")])
    span = store.sessions.span("a")
    assert span is not None
    assert (span[0], span[1]) == (made[0].started_at, made[-1].started_at + timedelta(microseconds=1))
    assert len(store.read.page(Filter(session_id="a", start=span[0], end=span[1])).entries) == 3
    own = entry(6, session_id="a", principal="ann", duration_seconds=0.0)
    store.write.insert_entries([own])
    assert store.sessions.span("a", ["ann", "ben"]) == (
        own.started_at,
        own.started_at + timedelta(microseconds=1),
    )
    assert store.sessions.span("a", ["ben"]) is None
    assert store.sessions.span("nobody") is store.sessions.span("\0") is None
