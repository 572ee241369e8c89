"""Pages have what a filter wants and nothing else, whichever index they are walked by."""

from __future__ import annotations

from typing import Any

import pytest

from ferryman.model import Ended, Entry
from ferryman.store.read import Filter
from ferryman.store.rows import has_failed
from ferryman.store.store import Store
from tests.support.stores import entry

FAILURES: list[dict[str, Any]] = [
    {"outcome": "failure"},
    {"status_class": 5},
    {"status": 529},
    {"ended": Ended.TIMEOUT},
]


@pytest.mark.parametrize("own", [2, 30, 600])
@pytest.mark.parametrize("others", [2, 30, 600])
def test_failures_of_somebody_are_found_however_many_others_have(store: Store, own: int, others: int) -> None:
    ways: list[dict[str, Any]] = [{}, {"status": 529}, {"ended": Ended.TIMEOUT}, {"status": 404}]
    made = [
        entry(
            number,
            principal="ann" if number % (700 // own) == 0 else "ben",
            session_id="s",
            **(ways[number % 4] if number % (700 // others) < 4 else {}),
        )
        for number in range(700)
    ]
    store.write.insert_entries(made)
    named: list[dict[str, Any]] = [{"principal": "ann"}, {"principal": "ann", "session_id": "s"}]
    for more in FAILURES:
        expected = [one.id for one in made if one.principal == "ann" and is_wanted(one, more)]
        for oldest_first in (False, True):
            for names in named:
                found = pages(store, Filter(**names, **more), oldest_first=oldest_first)
                assert found == (expected if oldest_first else expected[::-1])
            assert not pages(store, Filter(end_user="nobody", **more), oldest_first=oldest_first)


def is_wanted(one: Entry, more: dict[str, Any]) -> bool:
    told = {
        "outcome": "failure" if has_failed(one.ended.value, one.status) else "success",
        "status": one.status,
        "status_class": (one.status or 0) // 100,
        "ended": one.ended,
    }
    return all(told[name] == value for name, value in more.items())


def pages(store: Store, wanted: Filter, *, oldest_first: bool) -> list[str]:
    """The ids of all entries that are wanted, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = store.read.page(wanted, limit=7, after=after, oldest_first=oldest_first)
        found += [one.id for one in page.entries]
        if (after := page.after) is None:
            return found


def test_pages_that_take_too_long_are_short_and_all_of_them_together_whole(store: Store) -> None:
    made = [
        entry(number * 60, principal="ben" if number % 50 == 0 else "ann", model="m" if number % 9 else "n")
        for number in range(300)
    ]
    store.write.insert_entries(made)
    store.read.walk_seconds = 0.0
    ways: list[dict[str, Any]] = [
        {"principal": "ben"},
        {"principal": "ben", "model": "m"},
        {"outcome": "failure"},
    ]
    for names in ways:
        wanted = Filter(**names)
        told = [
            made[number].id for number in range(300) if number % 50 == 0 and (number % 9 or len(names) == 1)
        ]
        expected = [] if wanted.outcome else told
        assert pages(store, wanted, oldest_first=True) == expected
        assert pages(store, wanted, oldest_first=False) == expected[::-1]
    page = store.read.page(Filter(principal="ben"), limit=50)
    assert len(page.entries) < 6
    assert page.after is not None
    assert not store.read.count(Filter(principal="ann")).exact


def test_pages_of_two_things_that_most_entries_have_are_whole(store: Store) -> None:
    made = [
        entry(number, principal="ben" if number % 50 == 0 else "ann", model="m" if number % 9 else "n")
        for number in range(1_300)
    ]
    store.write.insert_entries(made)
    expected = [one.id for one in made if (one.principal, one.model) == ("ann", "m")]
    page = store.read.page(Filter(principal="ann", model="m"), limit=1_000)
    assert [one.id for one in page.entries] == expected[:-1_001:-1]
    rest = store.read.page(Filter(principal="ann", model="m"), limit=1_000, after=page.after)
    assert [one.id for one in rest.entries] == expected[-1_001::-1]
