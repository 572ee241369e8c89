"""Which places an index offers for a filter, and how far back a reader has to look.

A filter is answered from one index, the one that offers the least; what it offers is then held against the
whole filter. So a walk may look at many entries for few that are wanted, and has to end in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Select, exists, func, intersect, select, text

from ferryman.model import Ended
from ferryman.store.place import MAX_SHIFT, MILLISECOND, first_of_hour, first_place, hour_of, key_of, place_of
from ferryman.store.rows import microseconds
from ferryman.store.schema import LOOKED_FOR, entries, entry_tags

if TYPE_CHECKING:
    from ferryman.store.read import Filter

STEP = 2_000
"""Places looked at in one statement."""

FEWEST = 50
"""The same where few are left to be found: some of them may have another value with the same key."""

MAX_HOURS = 512
"""Hours of an index in one statement."""

PROBED = 1_000
PROBED_HOURS = 24

NARROWED = 10
"""Places of failures that are read for each place under a key, to find the places that are both. To read a
place in an index takes a microsecond, to look at its entry ten to a hundred of them."""

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
        for under, left in _by_hours(connection, name, wanted, span, up=up, first=first):
            yield (_failed(connection, wanted, under) if implies_failure(wanted) else under), left
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
    return _failures(wanted) if implies_failure(wanted) else select(entries.c.place)


def _failures(wanted: Filter) -> Select[Any]:
    """The places of the smallest index of failures."""
    query = select(entries.c.place)
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
    connection: Connection, name: str, wanted: Filter, span: Span, *, up: bool, first: int
) -> Iterator[tuple[list[int], Span]]:
    """The places under a key, some hours at a time: more and more of them while little is found.

    Where nothing else is asked for, what has the key is wanted, and no more is offered than is needed.
    """
    column, key, value = entries.c.place, entries.c[f"{name}_key"], getattr(wanted, name)
    is_all = structs.replace(wanted, start=None, end=None, **{name: None}) == type(wanted)()
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
        first -= len(places)
        step = min(max(first, FEWEST), STEP) if is_all else STEP


def _failed(connection: Connection, wanted: Filter, places: list[int]) -> list[int]:
    """Those of `places` that the index of failures has, or all of them if it has many more beside them."""
    if not places:
        return places
    failures = _failures(wanted).where(entries.c.place.between(min(places), max(places)))
    if connection.execute(failures.offset(NARROWED * len(places)).limit(1)).first() is not None:
        return places
    # A set operation, as SQLite would look at the entry of each place for anything else.
    both = intersect(failures, _given(connection, places))
    failed = set(connection.execute(both).scalars())
    return [place for place in places if place in failed]


def _rarest(connection: Connection, wanted: Filter, span: Span) -> str | None:
    """The column to look under, `None` if another index is better or there is none."""
    names = [name for name in LOOKED_FOR if getattr(wanted, name) is not None]
    if "session_id" in names:
        return "session_id"
    if wanted.tag is not None:
        return None
    if implies_failure(wanted) and names:
        # What few entries have is looked for under its key, beside which failures are found without a look at
        # the entries; but failures are rarer than what most have.
        first = first_of_hour(max(hour_of(span.high) - PROBED_HOURS, 0))
        failures = _number(connection, _failures(wanted).where(entries.c.place.between(first, span.high)))
        if failures < PROBED:
            names = [one for one in names if _probe(connection, one, wanted, span) < failures]
    if len(names) < 2:  # nothing to choose from
        return names[0] if names else None
    found = {name: _probe(connection, name, wanted, span) for name in names}
    if min(found.values()) == PROBED:  # or more, each of them
        found = {name: _probe(connection, name, wanted, span, hours=1) for name in names}
    return min(names, key=lambda name: found[name])


def _probe(
    connection: Connection, name: str, wanted: Filter, span: Span, *, hours: int = PROBED_HOURS
) -> int:
    """How many places lie under a key in the last hours of `span`, counted up to `PROBED`."""
    last, value = hour_of(span.high), getattr(wanted, name)
    keys = [key_of(hour, value) for hour in range(max(last - hours, 0), last + 1)]
    return _number(connection, select(entries.c.place).where(entries.c[f"{name}_key"].in_(keys)))


def _number(connection: Connection, offered: Select[Any]) -> int:
    """How many places are offered, counted up to `PROBED`."""
    return connection.execute(select(func.count()).select_from(offered.limit(PROBED).subquery())).scalar_one()


def among(connection: Connection, places: Sequence[int]) -> ColumnElement[bool]:
    """That the place of an entry is one of `places`, sent as one value."""
    if connection.dialect.name == "sqlite":
        there = text("entries.place IN (SELECT value FROM json_each(:places))")
        return there.bindparams(places=json.dumps(list(places)))  # type: ignore[return-value]  # a condition
    return text("entries.place = ANY(:places)").bindparams(places=list(places))  # type: ignore[return-value]  # the same


def _given(connection: Connection, places: list[int]) -> Select[Any]:
    """A query that finds `places`, sent as one value."""
    if connection.dialect.name == "sqlite":
        there = text("SELECT value AS place FROM json_each(:places)").bindparams(places=json.dumps(places))
    else:
        there = text("SELECT unnest(CAST(:places AS bigint[])) AS place").bindparams(places=places)
    return select(there.columns(entries.c.place).subquery())


def matching(connection: Connection, wanted: Filter, places: list[int], *, up: bool) -> list[int]:
    """Those of `places` whose entries are wanted, in their order."""
    found: list[int] = []
    column = entries.c.place
    for start in range(0, len(places), STEP):
        query = select(column).where(among(connection, places[start : start + STEP]), *conditions(wanted))
        found += connection.execute(query.order_by(column if up else column.desc())).scalars()
    return found


def is_of(column: ColumnElement[Any], value: str | int | Sequence[str]) -> ColumnElement[bool]:
    """That a column has this value, or one of these."""
    return column == value if isinstance(value, str | int) else column.in_(value)


def conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    """What has to hold of an entry."""
    names = ("id", "end_user", "model", "session_id", "principal", "status", "status_class")
    found = [entries.c[name] == value for name in names if (value := getattr(wanted, name)) is not None]
    if wanted.principals is not None:
        found.append(entries.c.principal.in_(wanted.principals))
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
