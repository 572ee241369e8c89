"""What the database tells: pages of entries, counts, and sums by day.

Pages go by key, newest first: the next page begins below the last entry of the one before, however many
there are. Sums by day come from the roll-ups, never from the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, and_, func, select, text, tuple_

from ferryman.model import Ended, Entry
from ferryman.store.engine import Engines, translated
from ferryman.store.rows import entry_of, microseconds, moment
from ferryman.store.schema import MEASURES, entries, entry_tags, rollups, tag_rollups

MAX_PAGE = 1_000
MAX_COUNTED = 10_000
MAX_SUMS = 100_000
"""Rows of sums in one answer: a year of 270 members."""

Dimension = Literal["day", "model", "principal", "end_user", "status_class", "ended", "tag"]

_FAILED = text("failed")
"""As the indexes spell it: SQLite's planner does not know them again by `failed = 1`."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant; `None` is any.

    Attributes:
        status_class: 2, 4 or 5 for 2xx, 4xx or 5xx; 0 for entries that were not answered.
        outcome: `success` or `failure` (see `ferryman.store.rows.has_failed`).
        start: the earliest `started_at`.
        end: the first `started_at` that is too late.
    """

    id: str | None = None
    end_user: str | None = None
    model: str | None = None
    session_id: str | None = None
    principal: str | None = None
    tag: str | None = None
    status: int | None = None
    status_class: int | None = None
    outcome: Literal["success", "failure"] | None = None
    ended: Ended | None = None
    start: datetime | None = None
    end: datetime | None = None


class Cursor(NamedTuple):
    """Where a page ended."""

    started_at_microseconds: int
    id: str

    def __str__(self) -> str:
        return f"{self.started_at_microseconds}_{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `str` made `text` of.

        Raises:
            ValueError: none did.
        """
        started, mark, key = text.partition("_")
        if not mark or not started.isdecimal() or not started.isascii() or len(started) > 18 or "\x00" in key:
            raise ValueError(text)
        return cls(int(started), key)


class Page(NamedTuple):
    """A page of entries.

    Attributes:
        entries: newest first.
        after: for the next page, `None` if this was the last.
    """

    entries: list[Entry]
    after: Cursor | None


class Ending(NamedTuple):
    """An entry and when its exchange ended."""

    id: str
    ended_at: datetime


class Count(NamedTuple):
    """How many entries there are.

    Attributes:
        number: of entries that were counted.
        exact: whether there are no more than that.
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


class Reader:
    """Reads on connections that cannot write. Safe to call from several threads.

    Every method raises StoreUnavailable when the database is away, and may be called again then.
    """

    def __init__(self, engines: Engines) -> None:
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
        order = _order(wanted)
        query = _selected(select(entries), wanted)
        if after is not None:
            here, there = tuple_(*order), tuple_(*after)
            query = query.where(here > there if oldest_first else here < there)
        sorted_by = order if oldest_first else [column.desc() for column in order]
        query = query.order_by(*sorted_by).limit(limit + 1)
        if skip:
            query = query.offset(skip)
        with translated(), self._engines.read.connect() as connection:
            found = [entry_of(row._asdict()) for row in connection.execute(query)]
        if len(found) <= limit:
            return Page(found, None)
        last = found[limit - 1]
        return Page(found[:limit], Cursor(microseconds(last.started_at), last.id))

    def entries(self, ids: Sequence[str]) -> list[Entry]:
        """The entries with these `ids`, at most `MAX_PAGE` of them, in any order and without unknown ones."""
        query = select(entries).where(entries.c.id.in_(ids[:MAX_PAGE]))
        with translated(), self._engines.read.connect() as connection:
            return [entry_of(row._asdict()) for row in connection.execute(query)]

    def ended_since(self, wanted: Filter, since: datetime | None, *, at_most: int) -> list[Ending]:
        """The latest endings, latest first, not before `since`.

        No index is by the end: every entry between `wanted.start` and `wanted.end` is looked at.
        """
        ended_at = entries.c.started_at_microseconds + entries.c.duration_microseconds
        query = _selected(select(entries.c.id, ended_at.label("ended_at")), wanted)
        if since is not None:
            query = query.where(ended_at >= microseconds(since))
        query = query.order_by(ended_at.desc(), entries.c.id.desc()).limit(at_most)
        with translated(), self._engines.read.connect() as connection:
            return [Ending(row[0], moment(row[1])) for row in connection.execute(query)]

    def count(self, wanted: Filter, *, at_most: int = MAX_COUNTED) -> Count:
        """How many entries there are, counted no further than `at_most`."""
        some = _selected(select(entries.c.id), wanted).limit(at_most + 1).subquery()
        with translated(), self._engines.read.connect() as connection:
            number = connection.execute(select(func.count()).select_from(some)).scalar_one()
        return Count(min(number, at_most), number <= at_most)

    def sums(
        self,
        first: date,
        last: date,
        *,
        by: tuple[Dimension, ...] = ("day",),
        limit: int = MAX_SUMS,
        **equal: str | int,
    ) -> list[Sums]:
        """Sums over the UTC days from `first` to `last` for each value of the dimensions `by`, in order.

        Args:
            first: the first day.
            last: the last day.
            by: what to tell apart. With `tag` there is neither `principal` nor `end_user`, and an entry
                counts for each of its tags.
            limit: of rows, at most `MAX_SUMS`.
            **equal: dimensions that must have a value, such as `end_user="ann"`.

        Raises:
            KeyError: a dimension that does not exist, or not beside `tag`.
        """
        table = tag_rollups if "tag" in by or "tag" in equal else rollups
        dimensions = [table.c[name] for name in by]
        conditions = [table.c[name] == value for name, value in equal.items()]
        query = (
            select(*dimensions, *(func.coalesce(func.sum(table.c[name]), 0).label(name) for name in MEASURES))
            .where(table.c.day.between(first, last), *conditions)
            .group_by(*dimensions)
            .order_by(*dimensions)
            .limit(min(limit, MAX_SUMS))
        )
        with translated(), self._engines.read.connect() as connection:
            return [_sums(row._asdict()) for row in connection.execute(query)]


def _sums(row: dict[str, Any]) -> Sums:
    # PostgreSQL sums bigint as numeric, which comes as Decimal.
    return Sums(**(row | {name: int(row[name]) for name in MEASURES}))


def _order(wanted: Filter) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    if wanted.tag is not None:
        return entry_tags.c.started_at_microseconds, entry_tags.c.entry_id
    return entries.c.started_at_microseconds, entries.c.id


def _selected(query: Select[Any], wanted: Filter) -> Select[Any]:
    """`query` with the conditions of `wanted`."""
    if wanted.tag is not None:
        query = query.select_from(entry_tags.join(entries)).where(entry_tags.c.tag == wanted.tag)
    for name in ("id", "end_user", "model", "session_id", "principal", "status"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(entries.c[name] == value)
    if wanted.ended is not None:
        query = query.where(entries.c.ended == wanted.ended.value)
    status_class = wanted.status // 100 if wanted.status is not None else wanted.status_class
    if status_class is not None:
        query = query.where(entries.c.status_class == status_class)
    never_done = (wanted.ended or Ended.DONE) is not Ended.DONE
    if wanted.outcome == "failure" or never_done or (status_class is not None and status_class not in {2, 3}):
        query = query.where(_FAILED)  # what it follows from has its index below this condition
    if wanted.outcome == "success":
        query = query.where(~entries.c.failed)
    started = _order(wanted)[0]
    bounds = []
    if wanted.start is not None:
        bounds.append(started >= microseconds(wanted.start))
    if wanted.end is not None:
        bounds.append(started < microseconds(wanted.end))
    return query.where(and_(*bounds)) if bounds else query
