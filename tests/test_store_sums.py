"""Roll-ups are the sums of the entries, whatever comes, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from itertools import count
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferryman.ledger.records import encode
from ferryman.model import Cost, CostPart, Ended, Entry, Usage
from ferryman.store.read import MAX_PAGE, Dimension, Filter
from ferryman.store.rollup import MAX_GROUPS, OTHER, SPARE_GROUPS
from ferryman.store.rows import row_of
from ferryman.store.schema import COLUMNS, MEASURES
from ferryman.store.store import Store
from ferryman.store.write import Writer
from tests.support.postgres import Server
from tests.support.stores import NOON, entry, opened, sqlite_url

DAYS = (date(2000, 1, 1), date(2100, 1, 1))

costs = st.builds(
    Cost,
    nanousd=st.integers(0, 10**13),
    price_source=st.just("catalog"),
    price_revision=st.just("r"),
    parts=st.just([CostPart("m", "input", 1, 2)]),
)
tokens = st.none() | st.integers(0, 10**6)
calls = st.fixed_dictionaries(
    {
        "model": st.sampled_from([None, "opus", "haiku"]),
        "end_user": st.sampled_from([None, "ann", "bob", "größe"]),
        "tags": st.none() | st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
        "status": st.sampled_from([None, 200, 429]),
        "ended": st.sampled_from([Ended.DONE, Ended.TIMEOUT]),
        "started_at": st.sampled_from([NOON, NOON + timedelta(days=1), NOON + timedelta(days=9)]),
        "usage": st.none() | st.builds(Usage, input_tokens=tokens, output_tokens=tokens),
        "cost": st.none() | costs,
    }
)
batches = st.lists(st.lists(st.integers(0, 19), max_size=12), max_size=6)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for the whole module; each test counts what it has added."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path_factory.mktemp("sums"))
    else:
        server: Server = request.getfixturevalue("server")
        url = server.database()
    with closing(opened(url)) as one:
        one.migrate()
        yield one


numbers = count()
"""Each example has entries of its own."""


def told(store: Store, *by: Dimension) -> Counter[Any]:
    """The roll-ups, as (values of `by`, measure) → sum."""
    found: Counter[Any] = Counter()
    for one in store.read.sums(*DAYS, by=by):
        for name in MEASURES:
            found[*(getattr(one, dimension) for dimension in by), name] += getattr(one, name)
    return found


ALONE: tuple[Literal["model", "principal", "end_user"], ...] = ("model", "principal", "end_user")


def ranked(store: Store, **more: Any) -> Counter[Any]:
    """Sums by each dimension alone, as (dimension, value, measure) → sum."""
    found: Counter[Any] = Counter()
    for one in store.read.ranked(*DAYS, dict.fromkeys(ALONE, 1_000), **more):
        (by,) = (name for name in ALONE if getattr(one, name) is not None)
        found.update({(by, getattr(one, by), name): getattr(one, name) for name in MEASURES})
    return found


def expected(entries: list[Entry], *by: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for one in entries:
        made = row_of(encode(one))
        row = dict(zip(COLUMNS, made.values, strict=True)) | {"day": one.started_at.date()}
        row |= dict(zip(MEASURES, made.measures, strict=True))
        for tag in dict.fromkeys(one.tags or []) if "tag" in by else [""]:
            for name in MEASURES:
                found[*((row | {"tag": tag})[dimension] for dimension in by), name] += row[name] or 0
    return found


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(calls, min_size=20, max_size=20), batches)
def test_sums_are_those_of_the_entries(
    store: Store, given_calls: list[dict[str, Any]], sent: list[list[int]]
) -> None:
    dimensions: list[tuple[Dimension, ...]] = [
        (),
        ("day", "model", "end_user"),
        ("status_class", "ended"),
        ("day", "tag", "model"),
    ]
    before = [told(store, *by) for by in dimensions]
    before_ranked = ranked(store)
    entries = [entry(next(numbers), **call) for call in given_calls]
    for batch in sent:
        store.write.insert_entries([entries[number] for number in batch])
    kept = [entries[number] for number in {number for batch in sent for number in batch}]
    assert store.write.insert_entries(kept) == 0
    for by, there in zip(dimensions, before, strict=True):
        assert told(store, *by) - there == +expected(kept, *by)
    alone = {(by, *key): sums for by in ALONE for key, sums in expected(kept, by).items() if sums}
    assert ranked(store) - before_ranked == alone
    nanousd = sum(one.cost.nanousd for one in kept if one.cost is not None)
    assert (told(store) - before[0])["cost_nanousd",] == nanousd, "to the nano-dollar"
    assert {one.id for one in kept} <= {one.id for one in everything(store)}


def test_dearest_are_told_of_some_days_and_of_one_principal(store: Store) -> None:
    day = NOON + timedelta(days=400)
    made = [
        entry(
            next(numbers),
            started_at=day + timedelta(days=number),
            principal=f"key-{number % 2}",
            model=f"m{number % 3}",
            cost=Cost(10**number, "catalog", "r", []),
        )
        for number in range(6)
    ]
    store.write.insert_entries(made)
    first, last = day.date(), (day + timedelta(days=4)).date()

    def costs(**more: Any) -> dict[Any, int]:
        found = store.read.ranked(first, last, {"model": 2, "principal": 9}, measures=("requests",), **more)
        assert all(one.requests and not one.input_tokens for one in found)
        return {one.model or one.principal: one.cost_nanousd for one in found}

    assert costs() == {"m0": 1_001, "m1": 10_010, "key-0": 10_101, "key-1": 1_010}
    assert costs(equal={"principal": "key-1"}) == {"m0": 1_000, "m1": 10, "key-1": 1_010}


def everything(store: Store) -> list[Entry]:
    found, page = [], store.read.page(Filter(), limit=MAX_PAGE)
    while page.after is not None:
        found += page.entries
        page = store.read.page(Filter(), limit=MAX_PAGE, after=page.after)
    return found + page.entries


def test_what_a_day_has_no_room_for_is_counted_as_other(store: Store) -> None:
    writer = Writer(store._engines, most_groups=5)
    day = NOON + timedelta(days=100)
    made = [
        entry(next(numbers), started_at=day, end_user=f"user {number}", tags=[f"tag {number}"], model="m")
        for number in range(20)
    ]
    writer.insert_entries(made[:10])
    writer.insert_entries(made[10:])
    sums = store.read.sums(day.date(), day.date(), by=("end_user",))
    assert {one.end_user: one.requests for one in sums}[OTHER] == 15
    assert (len(sums), sum(one.requests for one in sums)) == (6, 20)
    tagged = store.read.sums(day.date(), day.date(), by=("tag",))
    assert {one.tag: one.requests for one in tagged}[OTHER] == 15
    assert len(store.read.page(Filter(end_user="user 19")).entries) == 1, "the entry keeps its own"
    again = Writer(store._engines, most_groups=5)
    again.insert_entries([entry(next(numbers), started_at=day, end_user="one more")])
    assert (
        store.read.sums(day.date(), day.date(), by=("end_user",), equal={"end_user": OTHER})[0].requests == 16
    )


def test_models_without_end_are_bounded_too(store: Store) -> None:
    writer = Writer(store._engines, most_groups=-SPARE_GROUPS + 2)
    day = NOON + timedelta(days=200)
    writer.insert_entries(
        [entry(next(numbers), started_at=day, model=f"model {number}") for number in range(5)]
    )
    sums = store.read.sums(day.date(), day.date(), by=("model",))
    assert {one.model: one.requests for one in sums} == {"model 0": 1, "model 1": 1, OTHER: 3}
    assert MAX_GROUPS > SPARE_GROUPS


def test_entries_of_one_place_are_told_apart(store: Store) -> None:
    """Their ids differ only in bits that the place leaves out."""
    first = entry(next(numbers), started_at=NOON + timedelta(days=300))
    same = [msgspec.structs.replace(first, id=f"{first.id[:24]}{number:012x}") for number in range(9)]
    assert store.write.insert_entries(same[:3]) == 3
    assert store.write.insert_entries(same) == 6
    assert store.write.insert_entries(reversed(same)) == 0
    assert [store.read.entry(one.id) for one in same] == same
