"""What counters should say, added up entry by entry; and entries to charge."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select

from ferryman.limits.patterns import covers
from ferryman.limits.spec import scope_ids
from ferryman.limits.windows import Calendar
from ferryman.model import Cost, CostPart, Entry
from ferryman.store.batches import OPEN, batches
from ferryman.store.counters import Key
from ferryman.store.definitions import Definition
from ferryman.store.grants import states
from ferryman.store.read import Filter
from ferryman.store.rows import moment
from ferryman.store.schema_counters import counters, shares
from ferryman.store.store import Store
from ferryman.store.write import Checkpoint
from tests.support.stores import entry

START = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)


def cost(nanousd: int) -> Cost:
    part = CostPart("claude-opus-4-5", "input", nanousd, 1_000)
    return Cost(nanousd, "catalog", "r", [part], model="claude-opus-4-5")


def spending(number: int, nanousd: int, minutes: float = 0.0, **changes: Any) -> Entry:
    """An entry that costs something, some minutes after `START`."""
    at = START + timedelta(minutes=minutes)
    values: dict[str, Any] = {"cost": cost(nanousd), "started_at": at, "principal": "k1"} | changes
    return entry(number, **values)


def from_journal(name: str, sequence: int = 1) -> Checkpoint:
    return Checkpoint(name, "{}", sequence, START)


def definition(scope: str, duration: str = "", model: str = "", **changes: Any) -> Definition:
    return Definition(scope, duration, model, "", "UTC")._replace(**changes)


def ledger_of(store: Store) -> list[Entry]:
    found: list[Entry] = []
    page = store.read.page(Filter(), limit=1_000)
    assert page.after is None
    return found + page.entries


def counted(store: Store) -> dict[Key, tuple[int, int]]:
    """The start of its window and what was spent, by counter."""
    with store._engines.read.connect() as connection:
        c = counters.c
        keys = [tuple(row) for row in connection.execute(select(c.scope, c.duration, c.model))]
    return {key: state[:2] for key, state in states(store._engines, keys, []).items()}


def shared(store: Store) -> dict[tuple[str, Key], tuple[int, int]]:
    c, s = counters.c, shares.c
    query = select(s.journal, c.scope, c.duration, c.model, s.epoch, s.stored_nanousd)
    with store._engines.read.connect() as connection:
        rows = connection.execute(query.where(s.counter == c.number)).all()
    return {(row[0], tuple(row[1:4])): (row[4], row[5]) for row in rows}


def expected(store: Store, keys: Iterable[Key], zone: str = "UTC") -> dict[Key, dict[int, int]]:
    """What the ledger and open holds come to, by counter and window."""
    calendar = Calendar(zone)
    sums: dict[Key, dict[int, int]] = {key: {} for key in keys}
    for at, nanousd, scopes, models in [*_entries(store), *_holds(store)]:
        for (scope, duration, model), here in sums.items():
            if scope in scopes and any(covers(model, one) for one in models):
                start = calendar.span(duration, "", at.timestamp()).start
                here[start] = here.get(start, 0) + nanousd
    return sums


def _entries(store: Store) -> list[tuple[datetime, int, list[str], list[str]]]:
    return [
        (
            one.started_at,
            one.cost.nanousd if one.cost is not None else 0,
            scope_ids(one.principal, one.user_id, one.team_id, one.end_user, one.tags, one.session_id),
            [one.model or ""],
        )
        for one in ledger_of(store)
    ]


def _holds(store: Store) -> list[tuple[datetime, int, list[str], list[str]]]:
    with store._engines.read.connect() as connection:
        rows = connection.execute(select(batches).where(batches.c.status == OPEN)).all()
    return [
        (
            moment(row.created_at_microseconds),
            row.hold_nanousd,
            scope_ids(
                row.principal, None, None, row.end_user, msgspec.json.decode(row.tags or "[]"), row.session_id
            ),
            list(msgspec.json.decode(row.models)) or [""],
        )
        for row in rows
    ]
