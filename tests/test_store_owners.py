"""Who made what, in both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

from ferryman.limits.owner import Owner
from ferryman.store.owners import LIFE, Made, insert_many
from ferryman.store.store import Store
from tests.support.stores import NOON

ANN = Owner("key-ann", "team-1")
BOB = Owner("key-bob")


def insert(store: Store, *made: Made) -> None:
    with store._engines.write.begin() as connection:
        insert_many(connection, made)


def test_owner_is_told_as_it_was_noted(store: Store) -> None:
    insert(store, Made("file_1", "files", ANN, NOON), Made("msgbatch_1", "messages/batches", BOB, NOON))
    assert store.owners.lookup(["file_1", "msgbatch_1", "file_2"]) == {"file_1": ANN, "msgbatch_1": BOB}
    assert store.owners.lookup([]) == {}
    insert(store)


def test_first_maker_stays(store: Store) -> None:
    insert(store, Made("file_1", "files", ANN, NOON))
    insert(store, Made("file_1", "files", BOB, NOON - timedelta(days=1)), Made("file_2", "files", BOB, NOON))
    later = NOON + timedelta(seconds=1)
    insert(store, Made("file_3", "files", BOB, later), Made("file_3", "files", ANN, NOON))
    assert store.owners.lookup(["file_1", "file_2", "file_3"]) == {
        "file_1": ANN,
        "file_2": BOB,
        "file_3": ANN,
    }


def test_many_are_looked_up_and_forgotten_at_once(store: Store) -> None:
    ids = [f"file_{number}" for number in range(2_500)]
    insert(store, *(Made(one, "files", ANN, NOON) for one in ids))
    assert len(store.owners.lookup([*ids, "other"])) == 2_500
    assert store.owners.delete([*ids[:1_500], "other"]) == 1_500
    assert set(store.owners.lookup(ids)) == set(ids[1_500:])


def test_writers_of_the_same_ids_do_not_lock_each_other_out(store: Store) -> None:
    ids = [f"file_{number}" for number in range(50)]
    failures: list[Exception] = []

    def write(ordered: list[str], owner: Owner) -> None:
        try:
            for _ in range(10):
                insert(store, *(Made(one, "files", owner, NOON) for one in ordered))
        except Exception as error:  # noqa: BLE001  # told below
            failures.append(error)

    threads = [
        threading.Thread(target=write, args=(ids, ANN)),
        threading.Thread(target=write, args=(ids[::-1], BOB)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.owners.lookup(ids)) == 50


def test_only_what_anthropic_deletes_by_itself_is_forgotten_with_time(store: Store) -> None:
    ages = {"old": NOON, "new": NOON + LIFE["containers"]}
    for name, made_at in ages.items():
        insert(store, Made(f"container_{name}", "containers", ANN, made_at))
        insert(store, Made(f"file_{name}", "files", ANN, made_at))
    now = NOON + LIFE["containers"] + timedelta(seconds=1)
    assert store.owners.expire(now) == 1
    assert store.owners.expire(now) == 0
    assert set(store.owners.lookup(["container_old", "container_new", "file_old"])) == {
        "container_new",
        "file_old",
    }
