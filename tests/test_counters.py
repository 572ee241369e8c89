"""Counters in the store: each the sum of the ledger over its window, whatever comes in which order."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from ferryman.limits.windows import ENDLESS_START, Calendar
from ferryman.model import BatchResults, BatchShare, Entry, NewBatch, Usage
from ferryman.store.batches import batches
from ferryman.store.counters import Charged, Journal, charge
from ferryman.store.definitions import define, reset, undefine
from ferryman.store.grants import forget_journal
from ferryman.store.read import Filter
from ferryman.store.schema import checkpoints, entries, entry_tags, rollup_groups, rollups, tag_rollups
from ferryman.store.schema_counters import counters, shares
from ferryman.store.store import Store
from tests.support.counters import START, cost, counted, definition, expected, from_journal, shared, spending

SCOPES = ("gateway", "key:k1", "key:k2", "customer:ann", "session:s1", "tag:blue", "tag:red")
DURATIONS = ("", "1h", "1d", "30d", "40m")
PATTERNS = ("", "claude-opus-*", "claude-haiku-4-5")
KEYS = st.builds(definition, *map(st.sampled_from, (SCOPES, DURATIONS, PATTERNS)))
NOW = START.timestamp()


@st.composite
def spendings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "nanousd": draw(st.integers(0, 10**9)),
        "minutes": draw(st.integers(-90, 180)),
        "principal": draw(st.sampled_from(["k1", "k2", None])),
        "end_user": draw(st.sampled_from(["ann", None])),
        "session_id": draw(st.sampled_from(["s1", None])),
        "tags": draw(st.sampled_from([["blue"], ["blue", "red"], None])),
        "model": draw(st.sampled_from(["claude-opus-4-5", "claude-haiku-4-5", None])),
    }


BATCH = st.tuples(st.integers(0, 2), st.integers(1, 10**6), spendings())
STEPS = st.one_of(
    st.tuples(st.just("define"), st.lists(KEYS, min_size=1, max_size=4)),
    st.tuples(st.just("insert"), st.lists(spendings(), min_size=1, max_size=6)),
    st.tuples(st.just("again"), st.integers(0, 20)),
    st.tuples(st.just("batch"), BATCH),
    st.tuples(st.just("settle"), st.tuples(st.integers(0, 2), st.integers(0, 10**6))),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("forget"), st.integers(0, 1)),
    st.tuples(st.just("undefine"), KEYS),
    st.tuples(st.just("reprice"), st.integers(0, 10**6)),
)


def emptied(store: Store) -> None:
    tables = (
        shares,
        counters,
        batches,
        entry_tags,
        entries,
        rollups,
        tag_rollups,
        rollup_groups,
        checkpoints,
    )
    with store._engines.write.begin() as connection:
        for table in tables:
            connection.execute(delete(table))
    store.write._groups.forget()


class Run:
    """Some steps, one after another."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0
        self.sent: list[Entry] = []
        self.minutes = 0

    def send(self, new: list[Entry], journal: str = "1-a") -> None:
        self.sent += new
        self.store.write.insert_entries(new, from_journal(journal))

    def step(self, what: str, told: Any) -> None:
        store = self.store
        if what == "define":
            define(store._engines, told, NOW + 60 * self.minutes)
        elif what == "undefine":
            undefine(store._engines, [told.key])
        elif what == "insert":
            self.send([self._made(**one) for one in told], journal=f"{self.number % 2}-a")
        elif what == "again":
            self.store.write.insert_entries(self.sent[told::2][::-1], from_journal("0-a"))
        elif what == "batch":
            number, hold, one = told
            models = {"claude-opus-4-5": 2, "claude-haiku-4-5": 1} if number else {"claude-opus-4-5": 1}
            new = NewBatch(f"msgbatch_{number}", sum(models.values()), models, hold)
            self.send([self._made(**one | {"nanousd": 0, "model": None}, batch=new)])
        elif what == "settle":
            number, nanousd = told
            share = BatchShare("claude-opus-4-5", 2, Usage(input_tokens=1), [cost(nanousd)])
            results = BatchResults(f"msgbatch_{number}", 3, [(START - timedelta(days=9)).date()], [share])
            self.send([self._made(5, settles=results, principal="k2")])
        elif what == "forget":
            forget_journal(store._engines, f"{told}-a")
        elif what == "lose":
            store.batches.lose(f"msgbatch_{told}")
        else:
            span = store.span_of_time(START - timedelta(days=1), START + timedelta(days=1))
            store.reprice_step(lambda _: cost(told), Filter(principal="k2"), span)

    def _made(self, nanousd: int, minutes: int = 0, **changes: Any) -> Entry:
        self.number += 1
        self.minutes = max(minutes, self.minutes)
        return spending(self.number, nanousd, minutes, **changes)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=3, max_size=14))
@example(  # beside the end of a hold, an entry of the window before it that asked for the same model
    [
        ("define", [definition("gateway", "1h")]),
        ("batch", (0, 1, {"nanousd": 0, "minutes": 30, "principal": "k1", "model": "claude-opus-4-5"})),
        ("settle", (0, 0)),
    ]
)
def test_a_counter_is_the_sum_of_the_ledger(store: Store, steps: list[tuple[str, Any]]) -> None:
    emptied(store)
    run = Run(store)
    define(store._engines, [definition("gateway"), definition("key:k1", "1h")], NOW)
    for what, told in steps:
        run.step(what, told)
        found = counted(store)
        sums = expected(store, found)
        for key, (epoch, nanousd) in found.items():
            assert nanousd == sums[key].get(epoch, 0), key


def test_an_entry_is_charged_to_all_of_its_scopes(store: Store) -> None:
    scopes = ("gateway", "key:k", "user:u", "team:t", "customer:c", "session:s", "tag:a", "tag:b")
    define(store._engines, [definition(scope) for scope in (*scopes, "user:other")], NOW)
    one = Charged(int(NOW * 1e6), 7, "m", "k", "u", "t", "c", "s", ("a", "b"))
    with store._engines.write.begin() as connection:
        charge(connection, Journal("1-a"), [one])
    found = counted(store)
    assert {key[0]: spent for key, (_, spent) in found.items()} == {
        **dict.fromkeys(scopes, 7),
        "user:other": 0,
    }
    assert {(journal, key[0]) for journal, key in shared(store)} == {("1-a", scope) for scope in scopes}


def test_an_older_window_changes_nothing_and_a_newer_one_begins_anew(store: Store) -> None:
    define(store._engines, [definition("gateway", "1h")], NOW)
    start = Calendar().span("1h", "", NOW).start
    store.write.insert_entries([spending(1, 10), spending(2, 100, -60)], from_journal("1-a"))
    assert counted(store)["gateway", "1h", ""] == (start, 10)
    store.write.insert_entries([spending(3, 1, 60), spending(4, 5, 10)], from_journal("1-a"))
    assert counted(store)["gateway", "1h", ""] == (start + 3600, 1)
    assert shared(store)["1-a", ("gateway", "1h", "")] == (start + 3600, 1)


def test_a_settled_batch_is_charged_to_its_creator_beside_its_journal(store: Store) -> None:
    define(store._engines, [definition("key:k1"), definition("key:k2")], NOW)
    new = NewBatch("msgbatch_1", 1, {"claude-opus-4-5": 1}, 1_000)
    store.write.insert_entries([spending(1, 0, batch=new)], from_journal("1-a"))
    assert counted(store)["key:k1", "", ""] == (ENDLESS_START, 1_000)
    share = BatchShare("claude-opus-4-5", 1, Usage(input_tokens=1), [cost(400)])
    results = BatchResults("msgbatch_1", 1, [START.date()], [share])
    store.write.insert_entries([spending(2, 3, settles=results, principal="k2")], from_journal("2-a"))
    assert counted(store)["key:k1", "", ""] == (ENDLESS_START, 400)
    assert counted(store)["key:k2", "", ""] == (ENDLESS_START, 3)
    assert shared(store) == {
        ("1-a", ("key:k1", "", "")): (ENDLESS_START, 1_000),
        ("2-a", ("key:k2", "", "")): (ENDLESS_START, 3),
    }


def test_what_began_before_all_workers_knew_of_a_budget_is_no_workers_own(store: Store) -> None:
    late = definition("key:k1", shared_from=NOW + 60)
    define(store._engines, [late], NOW)
    store.write.insert_entries([spending(1, 10, 0.5), spending(2, 100, 1.5)], from_journal("1-a"))
    assert counted(store)["key:k1", "", ""] == (ENDLESS_START, 110)
    assert shared(store)["1-a", ("key:k1", "", "")] == (ENDLESS_START, 100)


def test_a_definition_beside_inserts_misses_none_and_counts_none_twice(store: Store) -> None:
    many = [[spending(100 * turn + i, 1, 0, session_id="s1") for i in range(20)] for turn in range(40)]
    begun = threading.Event()

    def insert() -> None:
        for some in many:
            store.write.insert_entries(some, from_journal("1-a"))
            begun.set()

    writer = threading.Thread(target=insert)
    writer.start()
    begun.wait(30)
    for duration in ("", "1h", "1d", "30d"):
        define(store._engines, [definition("session:s1", duration), definition("gateway", duration)], NOW)
    writer.join()
    assert {spent for _, spent in counted(store).values()} == {800}


def test_another_anchor_counts_anew(store: Store) -> None:
    store.write.insert_entries([spending(1, 10), spending(2, 100, -3 * 24 * 60)], from_journal("1-a"))
    define(store._engines, [definition("gateway", "5d", anchor="2026-11-18")], NOW)
    assert counted(store)["gateway", "5d", ""][1] == 10
    assert define(store._engines, [definition("gateway", "5d", anchor="2026-11-17")], NOW) == 1
    assert counted(store)["gateway", "5d", ""][1] == 110
    assert define(store._engines, [definition("gateway", "5d", anchor="2026-11-17")], NOW) == 0


def test_a_counter_that_is_reset_goes_on_from_there(store: Store) -> None:
    define(store._engines, [definition("key:k1")], NOW)
    store.write.insert_entries([spending(1, 10)], from_journal("1-a"))
    assert reset(store._engines, ("key:k1", "", ""), 4) == 10
    store.write.insert_entries([spending(2, 1)], from_journal("1-a"))
    assert counted(store)["key:k1", "", ""] == (ENDLESS_START, 5)
    assert reset(store._engines, ("key:k2", "", ""), 4) is None
