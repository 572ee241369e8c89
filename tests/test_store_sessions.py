"""Which sessions there were lately, on both kinds of database."""

from __future__ import annotations

from datetime import timedelta

from ferryman.model import Cost
from ferryman.store.store import Store
from tests.support.stores import NOON, entry


def cost(nanousd: int) -> Cost:
    return Cost(nanousd, "catalog", "r", [])


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
