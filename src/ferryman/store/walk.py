"""Which places an index offers for a filter, and how far back a reader has to look.

A filter is answered from one index, the one that offers the least; what it offers is then held against the
whole filter. So a walk may look at many entries for few that are wanted, and has to end in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select, text

from ferryman.model import Ended
from ferryman.store.place import MAX_SHIFT, MILLISECOND, first_of_hour, first_place, hour_of, key_of, place_of
from ferryman.store.rows import microseconds
from ferryman.store.schema import LOOKED_FOR, entries, entry_tags

if TYPE_CHECKING:
    from ferryman.store.read import Filter

STEP = 2_000
"""Places looked at in one statement."""

MAX_HOURS = 512
"""Hours of an index in one statement."""

PROBED = 1_000
PROBED_HOURS = 24

FAILED = text("failed")
"""As the indexes spell it: SQLite's planner does not know them again by `failed = 1`."""


class Span(NamedTuple):
    """Places from `low` up to `high`, both of them in it."""

    low: int
    high: int

    def __bool__(self) -> bool:
        return self.low <= self.high

    def without(self, place: int, *, up: bool) -> Span:
        """What is left when all up to `place` has been walked."""
        return Span(place + 1, self.high) if up else Span(self.low, place - 1)


def span_of(connection: Connection, wanted: Filter) -> Span:
    """Where entries of a filter can be, by their time alone; empty if there are none."""
    lowest, highest = connection.execute(
        select(
            select(func.min(entries.c.place)).scalar_subquery(),
            select(func.max(entries.c.place)).scalar_subquery(),
        )
    ).one()
    if lowest is None:
        return Span(0, -1)
    low, high = lowest, highest
    # The clock is read once for the id and the start, but rounded in two ways.
    if wanted.start is not None:
        low = max(low, first_place(wanted.start) - MILLISECOND)
    if wanted.end is not None:
        high = min(high, first_place(wanted.end) + 2 * MILLISECOND)
    return Span(low, high)


def walked(
    connection: Connection, wanted: Filter, span: Span, *, up: bool, first: int
) -> Iterator[tuple[list[int], Span]]:
    """Places that may be wanted, in their order, and what of `span` is then left.

    Args:
        connection: to read on.
        wanted: the filter.
        span: where to look.
        up: oldest first.
        first: how many are enough at first.
    """
    step = first
    if wanted.id is not None:
        place = place_of(wanted.id)
        here = Span(max(place, span.low), min(place + MAX_SHIFT, span.high))
        yield list(range(here.low, here.high + 1))[:: 1 if up else -1], Span(0, -1)
        return
    name = _rarest(connection, wanted, span)
    if name is not None:
        yield from _by_hours(connection, name, getattr(wanted, name), span, up=up, first=first)
        return
    offered = _offered(wanted)
    column = offered.selected_columns[0]
    while span:
        query = offered.where(column.between(*span)).order_by(column if up else column.desc()).limit(step)
        places: list[int] = list(connection.execute(query).scalars())
        span = span.without(places[-1], up=up) if len(places) == step else Span(0, -1)
        yield places, span
        step = STEP


def _offered(wanted: Filter) -> Select[Any]:
    """The places of an index that has them in their order."""
    if wanted.tag is not None:
        return select(entry_tags.c.place).where(entry_tags.c.tag == wanted.tag)
    query = select(entries.c.place)
    if not implies_failure(wanted):
        return query
    if wanted.ended is not None and wanted.ended is not Ended.DONE:
        return query.where(FAILED, entries.c.ended == wanted.ended.value)
    status_class = class_of(wanted)
    return query.where(FAILED, *[] if status_class is None else [entries.c.status_class == status_class])


def implies_failure(wanted: Filter) -> bool:
    """Whether only entries that have failed can be wanted."""
    never_done = wanted.ended is not None and wanted.ended is not Ended.DONE
    return wanted.outcome == "failure" or never_done or class_of(wanted) not in {None, 2, 3}


def class_of(wanted: Filter) -> int | None:
    """The class of status that a filter implies."""
    return wanted.status // 100 if wanted.status is not None else wanted.status_class


def _by_hours(
    connection: Connection, name: str, value: str, span: Span, *, up: bool, first: int
) -> Iterator[tuple[list[int], Span]]:
    """The places under a key, some hours at a time: more and more of them while little is found."""
    column, key = entries.c.place, entries.c[f"{name}_key"]
    hours, step = 1, first
    while span:
        begin = hour_of(span.low if up else span.high)
        end = min(begin + hours - 1, hour_of(span.high)) if up else max(begin - hours + 1, hour_of(span.low))
        keys = [key_of(hour, value) for hour in range(min(begin, end), max(begin, end) + 1)]
        query = select(column).where(
            key == keys[0] if len(keys) == 1 else key.in_(keys), column.between(*span)
        )
        places = list(
            connection.execute(query.order_by(column if up else column.desc()).limit(step)).scalars()
        )
        if len(places) == step:
            span = span.without(places[-1], up=up)
        else:
            edge = first_of_hour(end + 1) - 1 if up else first_of_hour(end)
            span = span.without(edge, up=up)
            hours = min(hours * 4, MAX_HOURS)
        yield places, span
        step = STEP


def _rarest(connection: Connection, wanted: Filter, span: Span) -> str | None:
    """The column to look under, `None` if another index is better or there is none."""
    names = [name for name in LOOKED_FOR if getattr(wanted, name) is not None]
    if "session_id" in names:
        return "session_id"
    if wanted.tag is not None:
        return None
    if implies_failure(wanted):
        return "end_user" if "end_user" in names else None
    if len(names) < 2:  # nothing to choose from
        return names[0] if names else None
    return min(names, key=lambda name: _probe(connection, name, getattr(wanted, name), span))


def _probe(connection: Connection, name: str, value: str, span: Span) -> int:
    last = hour_of(span.high)
    keys = [key_of(hour, value) for hour in range(max(last - PROBED_HOURS, 0), last + 1)]
    some = select(entries.c.place).where(entries.c[f"{name}_key"].in_(keys)).limit(PROBED).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def among(connection: Connection, places: Sequence[int]) -> ColumnElement[bool]:
    """That the place of an entry is one of `places`, sent as one value."""
    if connection.dialect.name == "sqlite":
        there = text("entries.place IN (SELECT value FROM json_each(:places))")
        return there.bindparams(places=json.dumps(list(places)))  # type: ignore[return-value]  # a condition
    return text("entries.place = ANY(:places)").bindparams(places=list(places))  # type: ignore[return-value]  # the same


def matching(connection: Connection, wanted: Filter, places: list[int], *, up: bool) -> list[int]:
    """Those of `places` whose entries are wanted, in their order."""
    found: list[int] = []
    column = entries.c.place
    for start in range(0, len(places), STEP):
        query = select(column).where(among(connection, places[start : start + STEP]), *conditions(wanted))
        found += connection.execute(query.order_by(column if up else column.desc())).scalars()
    return found


def conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    """What has to hold of an entry."""
    names = ("id", "end_user", "model", "session_id", "principal", "status", "status_class")
    found = [entries.c[name] == value for name in names if (value := getattr(wanted, name)) is not None]
    if wanted.ended is not None:
        found.append(entries.c.ended == wanted.ended.value)
    if wanted.outcome is not None:
        found.append(entries.c.failed if wanted.outcome == "failure" else ~entries.c.failed)
    if wanted.start is not None:
        found.append(entries.c.started_at_microseconds >= microseconds(wanted.start))
    if wanted.end is not None:
        found.append(entries.c.started_at_microseconds < microseconds(wanted.end))
    if wanted.min_nanousd is not None:
        found.append(func.coalesce(entries.c.cost_nanousd, 0) >= wanted.min_nanousd)
    if wanted.max_nanousd is not None:
        found.append(func.coalesce(entries.c.cost_nanousd, 0) <= wanted.max_nanousd)
    if wanted.tag is not None:
        same = (entry_tags.c.place == entries.c.place, entry_tags.c.tag == wanted.tag)
        found.append(exists().where(*same))
    return found
