"""Batches in the store: each settled once, charged to whoever has created it, at the prices of then."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
from sqlalchemy import select

from ferryman.limits.owner import Owner
from ferryman.model import SETTLEMENT, BatchResults, BatchShare, Cost, CostPart, Entry, NewBatch, Usage
from ferryman.store.batches import Due, batches
from ferryman.store.read import Filter
from ferryman.store.store import Store
from tests.support.stores import NOON, entry

DAYS = (date(2026, 10, 1), date(2026, 12, 31))
CREATOR = {
    "end_user": "ann",
    "session_id": "s-1",
    "tags": ["night", "blue"],
    "principal": "open",
    "agent_id": "a-1",
    "credential": "bearer",
}


def created(number: int = 1, **changes: Any) -> Entry:
    batch = NewBatch("msgbatch_1", 3, {"claude-opus-5-5": 3}, 5_000)
    return entry(
        number, batch=batch, path="/v1/messages/batches", usage=None, model=None, **{**CREATOR, **changes}
    )


def cost(nanousd: int) -> Cost:
    part = CostPart("claude-opus-5-5", "input", nanousd, 2_000, 1, 2)
    return Cost(nanousd, "catalog", "r", [part], model="claude-opus-5-5", batch=True)


def results(lines: int = 3, *models: str) -> BatchResults:
    """What a batch came to: 30 nano-dollars for each model, 20 before 20 November."""
    usage = Usage(input_tokens=30, output_tokens=3)
    shares = [BatchShare(model, 2, usage, [cost(20), cost(30)]) for model in models or ("claude-opus-5-5",)]
    return BatchResults("msgbatch_1", lines, [date(2026, 10, 20), date(2026, 11, 20)], shares)


def read(number: int, found: BatchResults | None = None) -> Entry:
    return entry(number, settles=found or results(), method="GET", end_user="reader", usage=None, model=None)


def settlements(store: Store) -> list[Entry]:
    return [one for one in store.read.page(Filter(), limit=100)[0] if one.method == SETTLEMENT]


def row(store: Store) -> dict[str, Any]:
    with store._engines.read.connect() as connection:
        return dict(connection.execute(select(batches)).mappings().one())


def test_creation_leaves_an_open_batch_with_its_hold(store: Store) -> None:
    store.write.insert_entries([created()])
    found = row(store)
    assert (found["status"], found["hold_nanousd"], found["requests"]) == ("open", 5_000, 3)
    assert (found["end_user"], found["session_id"], found["tags"]) == ("ann", "s-1", '["night","blue"]')
    assert found["models"] == '{"claude-opus-5-5":3}'


def test_results_are_charged_to_the_creator(store: Store) -> None:
    store.write.insert_entries([created()])
    store.write.insert_entries([read(2)])
    (found,) = settlements(store)
    for name, value in CREATOR.items():
        assert getattr(found, name) == value
    assert found.started_at == created().started_at
    assert found.usage == Usage(input_tokens=30, output_tokens=3)
    assert (found.model, found.status, found.usage_complete) == ("claude-opus-5-5", 200, True)
    settled = row(store)
    assert (settled["status"], settled["hold_nanousd"], settled["cost_nanousd"]) == ("settled", 0, 30)


def test_results_read_twice_before_the_creation_is_known_settle_once(store: Store) -> None:
    store.write.insert_entries([read(2)])
    store.write.insert_entries([read(3)])
    assert settlements(store) == []
    store.write.insert_entries([created()])
    assert len(settlements(store)) == 1


def test_results_read_twice_settle_once(store: Store) -> None:
    store.write.insert_entries([created(), read(2), read(3)])
    store.write.insert_entries([read(4)])
    store.write.settle(results(), NOON)
    assert len(settlements(store)) == 1
    (sums,) = store.read.sums(*DAYS, by=())
    assert sums.input_tokens == 30


def test_results_that_come_before_their_creation_wait_for_it(store: Store) -> None:
    store.write.insert_entries([read(2)])
    assert (row(store)["status"], settlements(store)) == ("unclaimed", [])
    store.write.insert_entries([created()])
    assert [one.end_user for one in settlements(store)] == ["ann"]
    assert (row(store)["status"], row(store)["results"]) == ("settled", None)


def test_records_that_come_again_change_nothing(store: Store) -> None:
    for _ in range(2):
        store.write.insert_entries([created(), read(2)])
    assert len(settlements(store)) == 1
    assert row(store)["status"] == "settled"


def test_each_model_has_an_entry_of_its_own(store: Store) -> None:
    store.write.insert_entries([created(), read(2, results(3, "claude-opus-5-5", "claude-haiku-4-5"))])
    assert {one.model for one in settlements(store)} == {"claude-opus-5-5", "claude-haiku-4-5"}
    assert row(store)["cost_nanousd"] == 60


def test_price_is_that_of_the_day_of_creation(store: Store) -> None:
    store.write.insert_entries([created(started_at=NOON - timedelta(days=1)), read(2)])
    assert row(store)["cost_nanousd"] == 20


def test_fewer_results_than_requests_settle_nothing(store: Store) -> None:
    store.write.insert_entries([created(), read(2, results(2))])
    assert (row(store)["status"], settlements(store)) == ("open", [])


def test_batch_without_a_success_is_settled_for_nothing(store: Store) -> None:
    found = BatchResults("msgbatch_1", 3, [date(2026, 10, 20)], [])
    store.write.insert_entries([created(), read(2, found)])
    assert (row(store)["status"], row(store)["cost_nanousd"], settlements(store)) == ("settled", 0, [])


def test_what_the_answers_have_made_belongs_to_the_creator_of_their_batch(store: Store) -> None:
    made = {"file_1": "files", "cont_1": "containers"}
    found = msgspec.structs.replace(results(), made=made)
    store.write.insert_entries([created(principal="k" * 64, team_id="red")])
    store.write.settle(msgspec.structs.replace(found, lines=2), NOON)
    assert store.owners.lookup(list(made)) == {}
    store.write.insert_entries([read(2, found)])
    owner = Owner("k" * 64, "red")
    assert store.owners.lookup(list(made)) == {"file_1": owner, "cont_1": owner}


def test_what_the_answers_of_a_batch_without_a_key_have_made_is_nobodys(store: Store) -> None:
    found = msgspec.structs.replace(results(), made={"file_1": "files"})
    store.write.insert_entries([created(principal="open"), read(2, found)])
    assert len(settlements(store)) == 1
    assert store.owners.lookup(["file_1"]) == {}


def test_due_batch_is_claimed_by_one(store: Store) -> None:
    store.write.insert_entries([created()])
    now = NOON + timedelta(hours=1)
    (due,) = store.batches.due(now, 10)
    assert isinstance(due, Due)
    assert store.batches.claim(due, now + timedelta(minutes=5))
    assert not store.batches.claim(due, now + timedelta(minutes=5))
    assert store.batches.due(now, 10) == []
    assert store.batches.due(now + timedelta(minutes=5), 10)[0].polls == 1


def test_batch_goes_with_the_entries_of_its_time_unless_it_is_open(store: Store) -> None:
    store.write.insert_entries([created()])
    store.delete_before(NOON + timedelta(days=1))
    assert row(store)["status"] == "open"
    store.write.settle(results(), NOON)
    store.delete_before(NOON + timedelta(days=1))
    assert store.read.page(Filter()).entries == []
    with store._engines.read.connect() as connection:
        assert connection.execute(select(batches)).all() == []


def test_lost_batch_holds_nothing_and_is_not_due(store: Store) -> None:
    store.write.insert_entries([created()])
    assert store.batches.lose("msgbatch_1")
    assert not store.batches.lose("msgbatch_1")
    assert store.batches.due(NOON + timedelta(days=1), 10) == []
    assert (row(store)["status"], row(store)["hold_nanousd"]) == ("lost", 0)
    store.write.insert_entries([read(2)])
    assert row(store)["status"] == "settled", "its results came after all"
