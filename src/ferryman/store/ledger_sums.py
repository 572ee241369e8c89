"""What a scope has spent by the ledger: where a counter begins that is made after its first entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from ferryman.limits.patterns import covers
from ferryman.limits.spec import GATEWAY
from ferryman.limits.windows import Span
from ferryman.store.batches import OPEN, batches
from ferryman.store.place import MILLISECOND, hour_of, key_of
from ferryman.store.rows import entry_of
from ferryman.store.schema import entries, entry_tags, rollup_groups, rollups
from ferryman.store.walk import MAX_HOURS

SECOND = 1_000_000

_COLUMNS = {"key": "principal", "customer": "end_user", "session": "session_id"}
"""What is looked for in `entries`, by the kind of a scope."""

_OWNERS = {"user": "user_id", "team": "team_id"}
"""What only the whole entry tells."""

_HELD_BY = {**_COLUMNS, **_OWNERS}

_decode_models = msgspec.json.Decoder(dict[str, int]).decode
_decode_more = msgspec.json.Decoder(dict[str, Any]).decode
_decode_tags = msgspec.json.Decoder(list[str]).decode


def ledger_sum(connection: Connection, scope: str, model: str, window: Span) -> int:
    """Nano-dollars of a scope's entries in a window, and of its batches that are open.

    Of a window without end the gateway and keys are summed by day, which counts deleted entries too.

    Args:
        connection: to read on; nobody may insert meanwhile.
        scope: an id of `ferryman.limits.spec.scope_ids`.
        model: a pattern.
        window: what began in it.
    """
    kind, _, name = scope.partition(":")
    if window.end is None and (scope == GATEWAY or kind == "key"):
        by_model = _by_day(connection, kind, name)
    elif kind in _OWNERS:
        by_model = _by_owner(connection, _OWNERS[kind], name, window)
    else:
        by_model = _by_index(connection, kind, name, window)
    spent = sum(nanousd for one, nanousd in by_model.items() if covers(model, one))
    return spent + _held(connection, kind, name, model, window)


def _by_day(connection: Connection, kind: str, name: str) -> dict[str, int]:
    groups = rollup_groups.c
    query = (
        select(groups.model, func.sum(rollups.c.cost_nanousd))
        .where(rollups.c.group_number == groups.number, *[groups.principal == name] * (kind == "key"))
        .group_by(groups.model)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _within(window: Span) -> list[ColumnElement[bool]]:
    start, end = window
    if end is None:
        return []
    at, place = entries.c.started_at_microseconds, entries.c.place
    # The clock is read once for the id and the start, but rounded in two ways.
    low, high = max(start * 1000 - 1, 0) * MILLISECOND, (end * 1000 + 1) * MILLISECOND
    return [place >= low, place < high, at >= start * SECOND, at < end * SECOND]


def _by_index(connection: Connection, kind: str, name: str, window: Span) -> Counter[str]:
    query = select(entries.c.model, func.sum(entries.c.cost_nanousd)).where(*_within(window))
    if kind == "tag":
        query = query.where(entry_tags.c.tag == name, entry_tags.c.place == entries.c.place)
        if window.end is not None:
            query = query.where(entry_tags.c.place >= (window.start * 1000 - 1) * MILLISECOND)
    queries = [query]
    if kind in _COLUMNS:
        column = _COLUMNS[kind]
        same = query.where(entries.c[column] == name)
        keys = entries.c[f"{column}_key"]
        queries = [same.where(keys.in_(some)) for some in _keys(connection, name, window)]
    found: Counter[str] = Counter()
    for one in queries:
        for model, nanousd in connection.execute(one.group_by(entries.c.model)):
            found[model or ""] += int(nanousd or 0)
    return found


def _keys(connection: Connection, name: str, window: Span) -> Iterator[list[int]]:
    """The keys of a value in the index, of all hours of a window that have entries."""
    place = entries.c.place
    bounds = _within(window)[:2]
    ends = [select(one(place)).where(*bounds).scalar_subquery() for one in (func.min, func.max)]
    first, last = connection.execute(select(*ends)).one()
    hours = iter(range(hour_of(first), hour_of(last) + 1) if first is not None else ())
    while some := list(islice(hours, MAX_HOURS)):
        yield [key_of(hour, name) for hour in some]


def _by_owner(connection: Connection, field: str, name: str, window: Span) -> Counter[str]:
    found: Counter[str] = Counter()
    query = select(entries).where(entries.c.cost_nanousd > 0, *_within(window))
    for row in connection.execute(query, execution_options={"yield_per": 1_000}):
        entry = entry_of(row._asdict())
        if getattr(entry, field) == name and entry.cost is not None:
            found[entry.model or ""] += entry.cost.nanousd
    return found


def _held(connection: Connection, kind: str, name: str, model: str, window: Span) -> int:
    """What the scope's open batches may cost."""
    c = batches.c
    query = select(batches).where(c.status == OPEN, c.hold_nanousd > 0)
    if window.end is not None:
        query = query.where(
            c.created_at_microseconds >= window.start * SECOND,
            c.created_at_microseconds < window.end * SECOND,
        )
    held = 0
    for row in connection.execute(query).mappings():
        models = _decode_models(row["models"]) or {"": 1}
        if _is_in(row, kind, name) and any(covers(model, one) for one in models):
            held += row["hold_nanousd"]
    return held


def _is_in(row: Any, kind: str, name: str) -> bool:  # noqa: ANN401  # a row of `batches`
    if kind == GATEWAY:
        return True
    if kind == "tag":
        return name in _decode_tags(row["tags"] or "[]")
    if kind in _OWNERS:
        return bool(_decode_more(row["more"] or "{}").get(_OWNERS[kind]) == name)
    return bool(row[_HELD_BY[kind]] == name)
