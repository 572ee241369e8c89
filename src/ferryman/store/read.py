"""What the database tells: pages of entries, counts, and sums by day.

Pages go by key, newest first: the next page begins below the last entry of the one before, however many
there are. A filter that few of the entries meet which an index offers is answered in several pages.
Sums by day come from the roll-ups, never from the entries.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import CTE, ColumnElement, Connection, FromClause, Table, func, literal, select, union_all

from ferryman.model import Ended, Entry
from ferryman.store.engine import Engines, translated
from ferryman.store.place import LAST_PLACE
from ferryman.store.rows import counts_in, entry_of, microseconds, moment
from ferryman.store.schema import COLUMNS, GROUP, MEASURES, entries, rollup_groups, rollups, tag_rollups
from ferryman.store.walk import STEP, among, conditions, is_of, matching, span_of, walked

MAX_PAGE = 1_000
MAX_COUNTED = 10_000
MAX_SUMS = 100_000
"""Rows of sums in one answer: a year of 270 members."""

Dimension = Literal["day", "model", "principal", "end_user", "status_class", "ended", "tag"]

WALK_SECONDS = 0.1
"""How long a page is looked for before it is returned as it is: few entries may be wanted of many."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant; `None` is any.

    Attributes:
        status_class: 2, 4 or 5 for 2xx, 4xx or 5xx; 0 for entries that were not answered.
        principals: one of these, at most 500.
        outcome: `success` or `failure` (see `ferryman.store.rows.has_failed`).
        start: the earliest `started_at`.
        end: the first `started_at` that is too late.
        min_nanousd, max_nanousd: of the cost. An entry without one cost nothing, as far as is known.
    """

    id: str | None = None
    end_user: str | None = None
    model: str | None = None
    session_id: str | None = None
    principal: str | None = None
    principals: tuple[str, ...] | None = None
    tag: str | None = None
    status: int | None = None
    status_class: int | None = None
    outcome: Literal["success", "failure"] | None = None
    ended: Ended | None = None
    start: datetime | None = None
    end: datetime | None = None
    min_nanousd: int | None = None
    max_nanousd: int | None = None


class Cursor(NamedTuple):
    """Where a page ended: all up to this place has been looked at."""

    place: int

    def __str__(self) -> str:
        return str(self.place)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `str` made `text` of.

        Raises:
            ValueError: none did.
        """
        if not text.isdecimal() or not text.isascii() or len(text) > 19 or int(text) > LAST_PLACE:
            raise ValueError(text)
        return cls(int(text))


class Page(NamedTuple):
    """A page of entries.

    Attributes:
        entries: newest first. Fewer than were asked for, even none, if looking for more took too long.
        after: for the next page, `None` if this was the last.
    """

    entries: list[Entry]
    after: Cursor | None


class Ending(NamedTuple):
    """An entry and when its exchange ended."""

    place: int
    ended_at: datetime


class Count(NamedTuple):
    """How many entries there are.

    Attributes:
        number: of entries that were counted.
        exact: whether there are no more than that, and not even a look at more was left out.
    """

    number: int
    exact: bool


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of entries with the same dimensions; a dimension that was not asked for is `None`.

    `''` is the model, principal or end user of entries that have none.
    """

    day: date | None = None
    model: str | None = None
    principal: str | None = None
    end_user: str | None = None
    status_class: int | None = None
    ended: str | None = None
    tag: str | None = None
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int
    web_search_requests: int
    web_fetch_requests: int
    thinking_tokens: int
    cost_nanousd: int


class Reader:
    """Reads on connections that cannot write. Safe to call from several threads.

    Every method raises StoreUnavailable when the database is away, and may be called again then.

    Attributes:
        walk_seconds: how long a page is looked for, or entries are counted.
    """

    def __init__(self, engines: Engines) -> None:
        self.walk_seconds = WALK_SECONDS
        self._engines = engines

    def entry(self, entry_id: str) -> Entry | None:
        """One entry, `None` if there is none."""
        found = self.page(Filter(id=entry_id), limit=1).entries
        return found[0] if found else None

    def page(
        self,
        wanted: Filter,
        *,
        limit: int = 50,
        after: Cursor | None = None,
        skip: int = 0,
        oldest_first: bool = False,
    ) -> Page:
        """At most `limit` entries (1 to `MAX_PAGE`), newest first, from below the cursor `after`.

        Args:
            wanted: which.
            limit: of entries.
            after: where the page before ended.
            skip: so many entries first. The database walks over them: for small numbers only.
            oldest_first: the other way round, from above the cursor.
        """
        limit = min(max(limit, 1), MAX_PAGE)
        needed = skip + limit + 1
        found: list[int] = []
        rest: Cursor | None = None
        with translated(), self._engines.read.connect() as connection:
            span = span_of(connection, wanted)
            if after is not None:
                span = span.without(after.place, up=oldest_first)
            begun = time.monotonic()
            for places, left in walked(connection, wanted, span, up=oldest_first, first=needed):
                found += matching(connection, wanted, places, up=oldest_first)
                if len(found) >= needed:
                    rest = Cursor(found[needed - 2])
                    break
                if left and time.monotonic() - begun > self.walk_seconds:
                    rest = Cursor(left.low - 1 if oldest_first else left.high + 1)
                    break
            return Page(_fetched(connection, found[skip : needed - 1]), rest)

    def entries(self, places: Sequence[int]) -> list[Entry]:
        """The entries at these `places`, in their order and without those that are not there."""
        with translated(), self._engines.read.connect() as connection:
            return _fetched(connection, places)

    def ended_since(self, wanted: Filter, since: datetime | None, *, at_most: int) -> list[Ending]:
        """The latest endings, latest first, not before `since`.

        No index is by the end: every entry between `wanted.start` and `wanted.end` is looked at.
        """
        place = entries.c.place
        ended_at = entries.c.started_at_microseconds + entries.c.duration_microseconds
        with translated(), self._engines.read.connect() as connection:
            span = span_of(connection, wanted)
            query = select(place, ended_at.label("ended_at")).where(place.between(*span), *conditions(wanted))
            if since is not None:
                query = query.where(ended_at >= microseconds(since))
            query = query.order_by(ended_at.desc(), place.desc()).limit(at_most)
            return [Ending(row[0], moment(row[1])) for row in connection.execute(query)]

    def count(self, wanted: Filter, *, at_most: int = MAX_COUNTED) -> Count:
        """How many entries there are, counted no further than `at_most`."""
        number = 0
        with translated(), self._engines.read.connect() as connection:
            span = span_of(connection, wanted)
            begun = time.monotonic()
            for places, left in walked(connection, wanted, span, up=False, first=at_most + 1):
                number += len(matching(connection, wanted, places, up=False))
                if number > at_most or (left and time.monotonic() - begun > self.walk_seconds):
                    return Count(min(number, at_most), exact=False)
        return Count(number, exact=True)

    def sums(  # noqa: PLR0913  # each a part of the question
        self,
        first: date,
        last: date,
        *,
        by: tuple[Dimension, ...] = ("day",),
        limit: int = MAX_SUMS,
        dearest_first: bool = False,
        equal: Mapping[str, str | int | Sequence[str]] | None = None,
        measures: Sequence[str] = MEASURES,
    ) -> list[Sums]:
        """Sums over the UTC days from `first` to `last` for each value of the dimensions `by`, in order.

        Args:
            first: the first day.
            last: the last day.
            by: what to tell apart. With `tag` there is neither `principal` nor `end_user`, and an entry
                counts for each of its tags.
            limit: of rows, at most `MAX_SUMS`.
            dearest_first: in the order of their cost in the place of that of the dimensions.
            equal: dimensions that must have a value, or one of at most 500.
            measures: of `Sums`, those that are added up; the others are 0. Each takes time.

        Raises:
            KeyError: a dimension that does not exist, or not beside `tag`.
        """
        equal = equal or {}
        tagged = "tag" in by or "tag" in equal
        table = tag_rollups if tagged else rollups
        columns = {name: rollup_groups.c[name] for name in GROUP} | {"day": table.c.day}
        for name in ("principal", "end_user") if tagged else ("tag",):
            del columns[name]
        dimensions = [columns[name] for name in by]
        conditions = [is_of(columns[name], value) for name, value in equal.items()]
        within = table.c.day.between(first, last)
        source: FromClause = table
        if by and "day" not in by and not equal:
            source = _by_group(table, (*measures, "cost_nanousd"), within)
        else:
            conditions.append(within)
        query = (
            select(
                *dimensions, *(func.coalesce(func.sum(source.c[name]), 0).label(name) for name in measures)
            )
            .where(source.c.group_number == rollup_groups.c.number, *conditions)
            .group_by(*dimensions)
            .order_by(*([func.sum(source.c.cost_nanousd).desc()] if dearest_first else []), *dimensions)
            .limit(min(limit, MAX_SUMS))
        )
        with translated(), self._engines.read.connect() as connection:
            return [_sums(row._asdict()) for row in connection.execute(query)]

    def ranked(
        self,
        first: date,
        last: date,
        most: Mapping[Literal["model", "principal", "end_user"], int],
        *,
        equal: Mapping[str, str | Sequence[str]] | None = None,
        measures: Sequence[str] = MEASURES,
    ) -> list[Sums]:
        """Sums as of `sums`, by each of several dimensions alone: one look at the table for all of them.

        Args:
            first: the first day.
            last: the last day.
            most: so many of each dimension are told, the dearest, in no order.
            equal: dimensions that must have a value, or one of at most 500.
            measures: those that are added up.
        """
        groups, added = rollup_groups.c, tuple(dict.fromkeys((*measures, "cost_nanousd")))
        conditions: list[ColumnElement[bool]] = [rollups.c.day.between(first, last)]
        if equal:
            among_them = select(groups.number).where(
                *(is_of(groups[name], value) for name, value in equal.items())
            )
            conditions.append(rollups.c.group_number.in_(among_them))
        by_group = _by_group(rollups, added, *conditions)
        parts = [
            select(
                literal(by).label("dimension"),
                groups[by].label("value"),
                *(func.sum(by_group.c[name]).label(name) for name in added),
            )
            .where(by_group.c.group_number == groups.number)
            .group_by(groups[by])
            .order_by(func.sum(by_group.c.cost_nanousd).desc(), groups[by])
            .limit(at_most)
            .subquery()
            for by, at_most in most.items()
        ]
        with translated(), self._engines.read.connect() as connection:
            rows = connection.execute(union_all(*(select(part) for part in parts))).mappings()
            return [_sums({row["dimension"]: row["value"]} | {n: row[n] for n in added}) for row in rows]

    def costs(
        self, by: Dimension, names: Sequence[str] | None = None, *, model: str | None = None
    ) -> dict[str, int]:
        """Nano-dollars of all days for each value of the dimension `by`.

        Args:
            by: `principal`, `end_user` or `tag`.
            names: of those alone, `None` for all.
            model: of this model alone, `None` for all.
        """
        table, groups = tag_rollups if by == "tag" else rollups, rollup_groups.c
        column = groups[by]
        by_group = _by_group(table, ("cost_nanousd",))
        conditions: list[ColumnElement[bool]] = []
        if names is not None:
            conditions.append(column.in_(list(names)))
        if model is not None:
            conditions.append(groups.model == model)
        query = (
            select(column, func.sum(by_group.c.cost_nanousd))
            .where(by_group.c.group_number == groups.number, *conditions)
            .group_by(column)
        )
        with translated(), self._engines.read.connect() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def sessions(
        self, start: datetime, end: datetime, *, limit: int = MAX_SUMS
    ) -> list[tuple[str | None, Sums]]:
        """Sums of the entries that began from `start` on and before `end`, by session, dearest first.

        Sums by day do not know sessions: every entry of that time is read.
        """
        table, wanted = entries.c, Filter(start=start, end=end)
        found: dict[str | None, list[int]] = {}
        with translated(), self._engines.read.connect() as connection:
            query = select(table.session_id, table.failed, table.cost_nanousd, table.rest).where(
                table.place.between(*span_of(connection, wanted)), *conditions(wanted)
            )
            rows = connection.execution_options(yield_per=STEP).execute(query)
            for session_id, failed, nanousd, rest in rows:
                measures = [1, int(failed), *counts_in(rest), nanousd or 0]
                there = found.get(session_id)
                found[session_id] = (
                    measures if there is None else [a + b for a, b in zip(there, measures, strict=True)]
                )
        by_cost = sorted(found.items(), key=lambda one: (-one[1][-1], one[0] is not None, one[0] or ""))
        return [(name, _sums(dict(zip(MEASURES, sums, strict=True)))) for name, sums in by_cost[:limit]]


def _by_group(table: Table, measures: Iterable[str], *conditions: ColumnElement[bool]) -> CTE:
    """Sums of roll-ups by group, which are few.

    Whatever tells groups apart is best looked up and sorted by behind this: then it is done once for each
    group, and not for each day of it.
    """
    columns = (func.sum(table.c[name]).label(name) for name in dict.fromkeys(measures))
    query = select(table.c.group_number, *columns).where(*conditions)
    return query.group_by(table.c.group_number).cte("by_group")


def _sums(row: dict[str, Any]) -> Sums:
    # PostgreSQL sums bigint as numeric, which comes as Decimal.
    return Sums(**(row | {name: int(row.get(name, 0)) for name in MEASURES}))


def _fetched(connection: Connection, places: Sequence[int]) -> list[Entry]:
    """The entries at `places`, in their order."""
    found: dict[int, Entry] = {}
    for start in range(0, len(places), STEP):
        query = select(entries).where(among(connection, places[start : start + STEP]))
        rows = connection.execute(query)
        found |= {row[0]: entry_of(dict(zip(COLUMNS, row, strict=True))) for row in rows}
    return [found[place] for place in places if place in found]
