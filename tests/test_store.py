"""The store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferryman.errors import SettingsError, StoreError, StoreUnavailable
from ferryman.ledger.records import encode
from ferryman.model import (
    CacheCreation,
    Cost,
    CostPart,
    Ended,
    Entry,
    OutputTokensDetails,
    Refusal,
    ServerToolUse,
    Usage,
)
from ferryman.store.migrate import scripts, upgrade
from ferryman.store.read import MAX_PAGE, Cursor, Filter
from ferryman.store.rows import row_of
from ferryman.store.schema import MEASURES, REVISION, VERSION_TABLE, metadata
from ferryman.store.store import Store
from ferryman.store.write import Checkpoint
from tests.support.stores import NOON, entry, opened

DAYS = (date(2000, 1, 1), date(2100, 1, 1))


def checkpoint(sequence: int) -> Checkpoint:
    return Checkpoint("worker-1", f"at {sequence}", sequence, NOON)


def totals(store: Store) -> dict[str, int]:
    """All roll-ups in one."""
    (sums,) = store.read.sums(*DAYS, by=())
    return {name: getattr(sums, name) for name in MEASURES}


def expected_totals(entries: list[Entry]) -> dict[str, int]:
    counted = dict.fromkeys(MEASURES, 0)
    for one in entries:
        for name, measure in zip(MEASURES, row_of(encode(one)).measures, strict=True):
            counted[name] += measure or 0
    return counted


def test_entry_comes_back_as_it_was(store: Store) -> None:
    full = entry(
        1,
        stream=True,
        principal="open",
        credential="bearer",
        client_address="10.0.0.1",
        session_id="session",
        error="größer",
        upstream_request_id="req_1",
        time_to_first_byte_seconds=0.25,
        overhead_seconds=0.000123,
        mutations="model, images",
        usage=Usage(
            input_tokens=1,
            cache_creation=CacheCreation(2, None),
            server_tool_use=ServerToolUse(None, 3),
            output_tokens_details=OutputTokensDetails(4),
            service_tier="standard",
            inference_geo="us",
            speed="fast",
        ),
    )
    bare = entry(2, model=None, status=None, usage=None, ended=Ended.CLIENT_GONE)
    assert store.write.insert_entries([full, bare]) == 2
    assert store.read.entry(full.id) == full
    assert store.read.entry(bare.id) == bare
    assert store.read.entry("another") is None


def test_cost_comes_back_as_it_was(store: Store) -> None:
    costs = [
        Cost(
            nanousd=1_234_567,
            price_source="fallback",
            price_revision="r+1",
            parts=[CostPart('dearest "opus"', "input", 3, 5_000_000, 11, 20)],
            estimated=True,
            model="größe\\u0000",
            batch=True,
            refusal=Refusal("bio"),
            declined={"a": None, "b": "cyber"},
        ),
        Cost(0, "catalog", "r", [], refusal=Refusal()),
        None,
    ]
    made = [entry(number, cost=cost) for number, cost in enumerate(costs)]
    store.write.insert_entries(made)
    assert [store.read.entry(one.id) for one in made] == made


def test_cost_that_no_exchange_has_is_cut(store: Store) -> None:
    store.write.insert_entries([entry(1, cost=Cost(10**30, "catalog", "r", []))])
    found = store.read.entry(entry(1).id)
    assert found is not None
    assert found.cost == Cost(10**15, "catalog", "r", [])


def test_text_that_a_database_does_not_take_is_stored_without_it(store: Store) -> None:
    raw = [msgspec.Raw(b'{"type":"\\u0000","back":"\\\\u0000"}')]
    odd = entry(1, model="a\x00b", session_id="", usage=Usage(input_tokens=10**30, iterations=raw))
    store.write.insert_entries([odd])
    found = store.read.entry(odd.id)
    assert found is not None
    assert found.model == "a\ufffdb"
    assert found.usage is not None
    assert found.usage.input_tokens == 10**12
    assert found.usage.iterations is not None
    assert msgspec.json.decode(found.usage.iterations[0]) == {"type": "\ufffd", "back": "\\u0000"}


def test_batch_that_comes_again_changes_nothing(store: Store) -> None:
    batch = [entry(number) for number in range(1_005)]
    assert store.write.insert_entries([*batch, batch[0]], checkpoint(1)) == 1_005
    before = totals(store)
    assert before == expected_totals(batch)
    assert store.write.insert_entries(batch, checkpoint(1)) == 0
    assert store.write.insert_entries([]) == 0
    assert totals(store) == before
    assert store.read.count(Filter()).number == 1_005


def test_checkpoint_moves_with_the_entries_and_never_back(store: Store) -> None:
    store.write.insert_entries([entry(1)], checkpoint(2))
    store.write.insert_entries([], checkpoint(1))
    assert store.write.checkpoints() == {"worker-1": checkpoint(2)}
    store.write.forget_checkpoint("worker-1")
    assert store.write.checkpoints() == {}


def test_batch_that_fails_half_way_leaves_nothing(store: Store) -> None:
    broken = checkpoint(1)._replace(position=None)  # type: ignore[arg-type]  # which the table refuses
    with pytest.raises(StoreError) as caught:
        store.write.insert_entries([entry(1)], broken)
    assert not isinstance(caught.value, StoreUnavailable)
    assert store.read.count(Filter()).number == 0
    assert totals(store)["requests"] == 0
    assert store.write.checkpoints() == {}


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 40), max_size=12), st.sampled_from(["kept", "twice", "crash"])),
        max_size=8,
    )
)
def test_sums_are_those_of_the_entries_whatever_is_sent_again(
    store: Store, batches: list[tuple[list[int], str]]
) -> None:
    store.delete_before(datetime(2100, 1, 1, tzinfo=UTC))
    before = totals(store)  # the examples share a database, and sums outlive their entries
    for numbers, fate in batches:
        batch = [
            entry(number, model=f"model-{number % 3}", status=500 if number % 5 == 0 else 200)
            for number in numbers
        ]
        if fate == "crash":
            broken = checkpoint(1)._replace(position=None)  # type: ignore[arg-type]  # which the table refuses
            with pytest.raises(StoreError):
                store.write.insert_entries(batch, broken)
        for _ in range({"kept": 1, "twice": 2, "crash": 0}[fate]):
            store.write.insert_entries(batch)
    kept = store.read.page(Filter(), limit=MAX_PAGE).entries
    after = totals(store)
    added = {name: after[name] - before[name] for name in MEASURES}
    assert added == expected_totals(kept)
    assert {one.id for one in kept} == {
        entry(number).id for numbers, fate in batches if fate != "crash" for number in numbers
    }


def test_two_writers_count_each_entry_once(url: str, store: Store) -> None:
    other = opened(url)
    batch = [entry(number) for number in range(300)]
    threads = [
        threading.Thread(target=one.write.insert_entries, args=(batch[offset:],))
        for one in (store, other)
        for offset in (0, 50, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert totals(store) == expected_totals(batch)


def test_pages_hold_each_entry_once_and_newest_first(store: Store) -> None:
    together = [entry(number, started_at=NOON) for number in range(7)]
    later = [entry(number) for number in range(10, 15)]
    store.write.insert_entries([*later, *together])
    seen: list[str] = []
    after = None
    while True:
        page = store.read.page(Filter(), limit=5, after=after)
        seen += [one.id for one in page.entries]
        if page.after is None:
            break
        after = Cursor.parse(str(page.after))
    assert seen == sorted((one.id for one in together + later), reverse=True)


@pytest.mark.parametrize("text", ["", "x", "-1", "1_a", "\u00b2", "9" * 19, "1" * 20])
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text itself
        Cursor.parse(text)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(id=entry(3).id), [3]),
        (Filter(model="other"), [2]),
        (Filter(session_id="s"), [3]),
        (Filter(principal="p"), [3]),
        (Filter(status=429), [4]),
        (Filter(status_class=4), [4]),
        (Filter(status_class=0), [5]),
        (Filter(outcome="failure"), [5, 4]),
        (Filter(outcome="success"), [3, 2, 1]),
        (Filter(ended=Ended.TIMEOUT), [5]),
        (Filter(ended=Ended.DONE), [4, 3, 2, 1]),
        (Filter(start=NOON + timedelta(minutes=2), end=NOON + timedelta(minutes=4)), [3, 2]),
        (Filter(end_user="nobody"), []),
        (Filter(tag="none"), []),
    ],
)
def test_filter_selects(store: Store, wanted: Filter, numbers: list[int]) -> None:
    store.write.insert_entries(
        [
            entry(1),
            entry(2, model="other"),
            entry(3, session_id="s", principal="p"),
            entry(4, status=429),
            entry(5, status=None, ended=Ended.TIMEOUT),
        ]
    )
    assert [one.id for one in store.read.page(wanted).entries] == [entry(number).id for number in numbers]
    assert store.read.count(wanted) == (len(numbers), True)
    assert store.read.count(Filter(), at_most=3) == (3, False)


def test_sums_tell_days_and_models_apart(store: Store) -> None:
    store.write.insert_entries(
        [entry(1), entry(2, model="other", status=500), entry(3, started_at=NOON + timedelta(days=1))]
    )
    today, tomorrow = NOON.date(), NOON.date() + timedelta(days=1)
    found = store.read.sums(today, tomorrow, by=("day", "model"))
    assert [(one.day, one.model, one.requests, one.errors) for one in found] == [
        (today, "claude-opus-4-5", 1, 0),
        (today, "other", 1, 1),
        (tomorrow, "claude-opus-4-5", 1, 0),
    ]
    assert [one.output_tokens for one in store.read.sums(today, today, equal={"model": "other"})] == [2]
    assert store.read.sums(*DAYS, by=("tag",)) == []
    with pytest.raises(KeyError):
        store.read.sums(*DAYS, by=("tag", "end_user"))


def test_old_entries_go_in_steps_and_their_sums_stay(store: Store) -> None:
    store.write.insert_entries([entry(number) for number in range(10)])
    before = totals(store)
    bound = NOON + timedelta(minutes=5)
    assert [store.delete_before(bound, at_most=3) for _ in range(3)] == [3, 2, 0]
    assert store.read.count(Filter()).number == 5
    assert totals(store) == before


def test_tags_are_found_counted_and_deleted_with_their_entry(store: Store) -> None:
    one = entry(1, tags=["a", "b", "a"])
    store.write.insert_entries([one, entry(2, tags=["b"]), entry(3)])
    assert [found.tags for found in store.read.page(Filter(tag="a")).entries] == [["a", "b"]]
    assert store.read.count(Filter(tag="b")) == (2, True)
    assert store.read.count(Filter(tag="b", model="other")) == (0, True)
    tagged = store.read.sums(*DAYS, by=("tag",))
    assert [(sums.tag, sums.requests) for sums in tagged] == [("a", 1), ("b", 2)]
    assert totals(store)["requests"] == 3
    assert store.delete_before(NOON + timedelta(days=1)) == 3
    with store._engines.read.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM entry_tags").scalar() == 0


def test_tables_are_those_of_the_migrations(store: Store) -> None:
    assert scripts().get_current_head() == REVISION
    with store._engines.read.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("revision", ["base", *(one.revision for one in scripts().walk_revisions())])
def test_every_earlier_revision_is_brought_up(url: str, revision: str) -> None:
    with closing(opened(url)) as store:
        if revision != "base":
            with store._engines.write.begin() as connection:
                upgrade(connection, revision)
        store.migrate()
        store.write.insert_entries([entry(1)])
        assert store.read.entry(entry(1).id) == entry(1)


def test_processes_that_start_together_all_get_their_tables(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=start, args=(url, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with closing(opened(url)) as store:
        assert totals(store)["requests"] == 4


def start(url: str, number: int) -> None:
    with closing(opened(url)) as store:
        store.migrate()
        store.write.insert_entries([entry(number)])


def test_database_of_a_newer_version_is_refused(store: Store) -> None:
    with store._engines.write.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SettingsError, match=r"newer Ferryman.*9999"):
        store.migrate()


def test_password_is_in_no_repr() -> None:
    with closing(opened("postgresql://me:do-not-tell@localhost/name")) as store:
        assert "do-not-tell" not in repr(store)
