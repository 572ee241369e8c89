"""Lists of users and teams cost the database as much for many as for few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from ferryman.store.access_look import token_of
from tests.support.control import Control
from tests.support.counters import spending


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements about spends, members and keys that are executed until the end of the block."""
    found: list[str] = []

    def note(*told: Any) -> None:
        if any(name in told[2] for name in ("rollups", "team_members", "keys")):  # others look for changes
            found.append(told[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def people(control: Control, first: int, last: int) -> None:
    for number in range(first, last):
        control.post("/team/new", {"team_id": f"team-{number}"})
        control.post("/user/new", {"user_id": f"user-{number}", "team_id": f"team-{number}"})


def test_a_list_asks_as_often_for_many_as_for_two(lone: Control) -> None:
    asked = []
    people(lone, 0, 2)
    for number in (2, 12):
        people(lone, 2, number)
        with counted() as found:
            assert len(lone.get("/user/list")["users"]) == number
            assert len(lone.get("/team/list")) == number
        asked.append(len(found))
    assert asked[0] == asked[1]


def test_each_of_a_list_has_what_it_has_spent(lone: Control) -> None:
    spent = {"user-0": 3, "user-1": 5}
    people(lone, 0, 3)
    for number, (name, nanousd) in enumerate(spent.items()):
        text = lone.post("/key/generate", {"user_id": name})["key"]
        one = spending(number, nanousd, principal=token_of(text))
        lone.store.write.insert_entries([one])
    told = {one["user_id"]: one["spend_nanousd"] for one in lone.get("/user/list")["users"]}
    assert told == {**spent, "user-2": 0}
