"""What each session came to: added up as its entries are inserted, and read, the latest first.

The sums are kept in the transaction that inserts the entries, as the roll-ups are: one row for each session,
principal and model. A page of sessions walks the index of their last requests and reads no entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, exists, func, select, union_all, update

from ferryman.store.engine import Engines, translated
from ferryman.store.place import LAST_PLACE
from ferryman.store.rows import moment
from ferryman.store.schema_sessions import session_sums
from ferryman.store.session_rows import Key

STEP_ROWS = 64
"""Rows looked at in one query: a page's sessions mostly, where each has a row or two."""

MAX_STEPS = 100
"""For a page; beyond them, with sessions of hundreds of models, it is shorter than it may be."""


class SessionSums(NamedTuple):
    """What a session came to, with those of its entries that were deleted meanwhile.

    Attributes:
        place: of its last request.
        principal: of whoever called last, `None` for nobody.
        ended_at: when the last request to end had ended.
        models: most used first.
    """

    session_id: str
    place: int
    principal: str | None
    started_at: datetime
    ended_at: datetime
    requests: int
    errors: int
    cost_nanousd: int
    models: tuple[str, ...]


class Sessions:
    """Reads them. Safe to call from several threads; raises StoreUnavailable when the database is away."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def __repr__(self) -> str:
        return f"<Sessions in {self._engines.read.dialect.name}>"

    def page(
        self, *, limit: int, before: int | None = None, principals: Sequence[str] | None = None
    ) -> tuple[list[SessionSums], int | None]:
        """At most `limit` sessions by their last request, latest first, and where the next page begins.

        Args:
            limit: of sessions.
            before: only those whose last request stands before this place.
            principals: only requests of these are seen, at most 500 (SQLite takes no more); `None` for all.
        """
        if principals is not None and not principals:
            return [], None
        latest: dict[str, int] = {}
        last = LAST_PLACE if before is None else before - 1
        with translated(), self._engines.read.connect() as connection:
            for _ in range(MAX_STEPS):
                rows = connection.execute(_step(last, principals)).all()
                latest |= {row.session_id: row.last_place for row in rows if row.is_latest}
                if len(latest) > limit:
                    shown = list(latest)[:limit]
                    return _sums(connection, shown, principals), latest[shown[-1]]
                if len(rows) < STEP_ROWS:
                    return _sums(connection, list(latest), principals), None
                last = rows[-1].last_place - 1
            return _sums(connection, list(latest), principals), last + 1

    def span(
        self, session_id: str, principals: Sequence[str] | None = None
    ) -> tuple[datetime, datetime] | None:
        """From when on and before when all requests of a session began.

        `None` if there is no such session, or nothing of these `principals`.

        With it a reader of its entries looks for them in those hours alone.
        """
        if "\0" in session_id:
            return None  # which no session has, and PostgreSQL takes in no text
        c = session_sums.c
        query = select(func.min(c.started_at_microseconds), func.max(c.ended_at_microseconds))
        query = query.where(c.session_id == session_id)
        if principals is not None:
            query = query.where(c.principal.in_(list(principals)))
        with translated(), self._engines.read.connect() as connection:
            first, last = connection.execute(query).one()
        return None if first is None else (moment(first), moment(last + 1))


def _step(last: int, principals: Sequence[str] | None) -> Select[Any]:
    """The rows of `session_sums` with the newest requests up to a place, and which have the newest of all."""
    table = session_sums.alias("walked")
    newest = select(table.c.session_id, table.c.last_place).where(table.c.last_place <= last)
    newest = newest.order_by(table.c.last_place.desc()).limit(STEP_ROWS)
    step = newest.subquery("step")
    if principals is not None:
        # Of each by itself: with all in one condition SQLite would read and sort whatever they have.
        parts = [newest.where(table.c.principal == one).subquery() for one in dict.fromkeys(principals)]
        each = union_all(*(select(part) for part in parts)).subquery()
        step = select(each).order_by(each.c.last_place.desc()).limit(STEP_ROWS).subquery("step")
    other = session_sums.alias("other")
    newer = exists().where(other.c.session_id == step.c.session_id, other.c.last_place > step.c.last_place)
    if principals is not None:
        # An expression, which no index is of: by that of principals all newer rows of theirs would be read.
        newer = newer.where(func.coalesce(other.c.principal, "").in_(list(principals)))
    return select(step, (~newer).label("is_latest")).order_by(step.c.last_place.desc())


def _sums(
    connection: Connection, session_ids: list[str], principals: Sequence[str] | None
) -> list[SessionSums]:
    """What these sessions came to, in this order."""
    c = session_sums.c
    query = select(session_sums).where(c.session_id.in_(session_ids))
    if principals is not None:
        query = query.where(c.principal.in_(list(principals)))
    found: dict[str, list[Any]] = {session_id: [] for session_id in session_ids}
    for row in connection.execute(query) if session_ids else ():
        found[row.session_id].append(row)
    return [_together(rows) for rows in found.values() if rows]


def _together(rows: list[Any]) -> SessionSums:
    last = max(rows, key=lambda row: row.last_place)
    models: dict[str, int] = {}
    for row in rows:
        models[row.model] = models.get(row.model, 0) + row.requests
    return SessionSums(
        last.session_id,
        last.last_place,
        last.principal or None,
        moment(min(row.started_at_microseconds for row in rows)),
        moment(max(row.ended_at_microseconds for row in rows)),
        sum(row.requests for row in rows),
        sum(row.errors for row in rows),
        sum(row.cost_nanousd for row in rows),
        tuple(sorted(filter(None, models), key=lambda model: -models[model])),
    )


def change_costs(connection: Connection, differences: Mapping[Key, int]) -> None:
    """Add nano-dollars to what sessions cost; nothing where the sums are gone already."""
    c = session_sums.c
    query = update(session_sums).values(cost_nanousd=c.cost_nanousd + bindparam("delta"))
    names = ("session_id", "principal", "model")
    query = query.where(*(c[name] == bindparam(f"its_{name}") for name in names))
    for key, delta in sorted(differences.items()):  # in the writer's order
        named = {f"its_{name}": value for name, value in zip(names, key, strict=True)}
        connection.execute(query, {**named, "delta": delta})
