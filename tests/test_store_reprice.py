"""Entries priced anew: sums follow to the nano-dollar, on SQLite and on PostgreSQL, beside a writer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from ferryman.model import Cost, Entry, Refusal, Usage
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.anew import priced_anew
from ferryman.pricing.catalog import Catalog, load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.settings_prices import PriceMultiplier
from ferryman.store.read import MAX_PAGE, Dimension, Filter
from ferryman.store.reprice import STEP_ENTRIES, Change
from ferryman.store.rollup import OTHER
from ferryman.store.store import Store
from ferryman.store.write import Writer
from tests.support.stores import NOON, entry, opened

LIST = load_catalog()
DOUBLE = adjusted(LIST, [], [PriceMultiplier("*", 2, 1)])
EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
DAYS = (date(2020, 1, 1), date(2030, 1, 1))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(opened(url)) as one:
        one.migrate()
        yield one


def priced(number: int, terms: Terms | None = None, **changes: object) -> Entry:
    made = entry(number, **changes)
    if made.usage is None:
        return made
    terms = terms or Terms(made.started_at)
    return msgspec.structs.replace(made, cost=cost_of(made.usage, made.model or "", terms, LIST))


def reprice(
    store: Store, catalog: Catalog, wanted: Filter | None = None, *, dry_run: bool = False
) -> list[Change]:
    span = store.span_of_time(*EVER)
    changes: list[Change] = []
    while True:
        step = store.reprice_step(pricer(catalog), wanted or Filter(), span, dry_run=dry_run)
        changes += step.changes
        if step.next_place is None:
            return changes
        span = (step.next_place, span[1])


def pricer(catalog: Catalog) -> Callable[[Entry], Cost | None]:
    return lambda one: priced_anew(one, catalog)


def everything(store: Store) -> list[Entry]:
    found, page = [], store.read.page(Filter(), limit=MAX_PAGE)
    while page.after is not None:
        found += page.entries
        page = store.read.page(Filter(), limit=MAX_PAGE, after=page.after)
    return found + page.entries


def summed(store: Store, *by: Dimension) -> int:
    return sum(one.cost_nanousd for one in store.read.sums(*DAYS, by=by))


def total(entries: list[Entry]) -> int:
    return sum(one.cost.nanousd for one in entries if one.cost is not None)


def test_entries_and_sums_follow_the_prices_and_once(store: Store) -> None:
    made = [
        priced(number, end_user=f"user {number % 3}", tags=["a", "b"] if number % 2 else None)
        for number in range(STEP_ENTRIES + 20)
    ]
    store.write.insert_entries(made)
    assert reprice(store, LIST) == []
    dry = reprice(store, DOUBLE, dry_run=True)
    assert total(everything(store)) == summed(store) == total(made)
    tagged = summed(store, "tag")
    assert reprice(store, DOUBLE) == dry
    assert len(dry) == len(made)
    assert total(everything(store)) == summed(store) == summed(store, "end_user") == 2 * total(made)
    assert summed(store, "tag") == 2 * tagged
    assert reprice(store, DOUBLE) == []
    assert len(reprice(store, LIST)) == len(made)
    assert everything(store)[::-1] == made, "back as it was, the revision too"


def test_terms_of_the_first_time_still_count(store: Store) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=10)
    made = [
        priced(0, Terms(NOON, batch=True), usage=usage),
        priced(1, Terms(NOON, refusal=Refusal()), usage=usage),
        priced(2, Terms(NOON, estimated=True), usage=usage),
        entry(3, usage=usage, usage_complete=False),
        priced(4, usage=None),
        msgspec.structs.replace(priced(5, usage=usage), model="an-alias"),
    ]
    store.write.insert_entries(made)
    changes = reprice(store, LIST)
    assert changes == [Change("claude-opus-4-5", 0, 5_250_000)], "only that which had no price"
    found = everything(store)[::-1]
    assert found[3].cost is not None
    assert found[3].cost.estimated
    assert [one.cost for one in found if one.id != made[3].id] == [
        one.cost for one in made if one.id != made[3].id
    ]
    assert [one.after_nanousd for one in reprice(store, DOUBLE)] == [
        2 * 2_625_000, *[2 * 5_250_000] * 3
    ]  # fmt: skip
    assert total(everything(store)) == summed(store)


def test_only_what_is_wanted_is_priced(store: Store) -> None:
    store.write.insert_entries([priced(number) for number in range(10)])
    start, end = NOON + timedelta(minutes=3), NOON + timedelta(minutes=5)
    assert len(reprice(store, DOUBLE, Filter(start=start, end=end))) == 2
    assert store.span_of_time(end + timedelta(days=1), EVER[1]) == (0, -1)


def test_what_was_counted_as_other_is_changed_there(store: Store) -> None:
    made = [priced(number, end_user=f"user {number}", tags=[f"tag {number}"]) for number in range(20)]
    Writer(store._engines, most_groups=5).insert_entries(made)
    reprice(store, DOUBLE)
    sums = {one.end_user: one.cost_nanousd for one in store.read.sums(*DAYS, by=("end_user",))}
    assert sums[OTHER] == 2 * total([one for one in made if one.end_user not in sums])
    assert len(sums) == 6
    assert sum(sums.values()) == summed(store, "tag") == 2 * total(made)


def test_it_goes_on_beside_a_writer(store: Store) -> None:
    store.write.insert_entries([priced(number) for number in range(100)])
    done = threading.Event()

    def write() -> None:
        for start in range(100, 1_000, 50):
            store.write.insert_entries([priced(number) for number in range(start, start + 50)])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        reprice(store, DOUBLE)
        reprice(store, LIST)
    writer.join()
    reprice(store, DOUBLE)
    found = everything(store)
    assert len(found) == 1_000
    assert total(found) == summed(store) == 2 * total([priced(number) for number in range(1_000)])
