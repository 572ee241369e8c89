"""Which sessions there were lately, and what each came to.

No table is by session. The index of sessions is by hour and value, so that an hour's sessions are one stretch
of it: hours are walked back until a page is full, and what is on it is added up from its own entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, case, func, select

from ferryman.store.engine import Engines, translated
from ferryman.store.place import hour_of, key_of
from ferryman.store.rows import moment
from ferryman.store.schema import entries

HOURS = 168
"""How far before its last request a session is added up; the page of one session tells all."""

MAX_HOURS_WALKED = 720
"""With any session in them; a month of them, each a fifth of a millisecond and more."""

_KEYS_OF_HOUR = 1 << 32


class SessionSums(NamedTuple):
    """What a session came to within `HOURS` before its last request.

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
            principals: only requests of these are seen, `None` for all.
        """
        found: list[SessionSums] = []
        with translated(), self._engines.read.connect() as connection:
            newest = connection.execute(_highest_key()).scalar() or 0
            for key, place in self._latest(connection, before, principals):
                hours = range(max((key >> 32) - HOURS, 0), (newest >> 32) + 1)
                sums = self._sums(connection, hours, place, principals)
                if sums is None:
                    continue
                if len(found) == limit:
                    return found, found[-1].place
                found.append(sums)
        return found, None

    def _latest(
        self, connection: Connection, before: int | None, principals: Sequence[str] | None
    ) -> Iterator[tuple[int, int]]:
        """Keys of sessions with the place of the last request under each, hour by hour."""
        column, place = entries.c.session_id_key, entries.c.place
        bound = None if before is None else (hour_of(before) + 1) * _KEYS_OF_HOUR
        for _ in range(MAX_HOURS_WALKED):
            last = _highest_key()
            if bound is not None:
                last = last.where(column < bound)
            highest = connection.execute(last).scalar()
            if highest is None:
                return
            hour = highest >> 32
            bound = hour * _KEYS_OF_HOUR
            query = select(column, func.max(place).label("place")).where(
                column.between(bound, bound + _KEYS_OF_HOUR - 1)
            )
            if before is not None:
                query = query.where(place < before)
            if principals is not None:
                query = query.where(entries.c.principal_key.in_([key_of(hour, one) for one in principals]))
            for row in connection.execute(query.group_by(column).order_by(func.max(place).desc())).all():
                yield row[0], row[1]

    def _sums(
        self, connection: Connection, hours: range, place: int, principals: Sequence[str] | None
    ) -> SessionSums | None:
        """What a session comes to in `hours`, by its entry at `place`; `None` if that is not its last."""
        c = entries.c
        named = connection.execute(select(c.session_id, c.principal).where(c.place == place)).one()
        keys = [key_of(hour, named[0]) for hour in hours]
        own = [] if principals is None else [c.principal.in_(list(principals))]
        query = (
            select(
                c.model,
                func.count(),
                func.sum(case((c.failed, 1), else_=0)),
                func.sum(func.coalesce(c.cost_nanousd, 0)),
                func.min(c.started_at_microseconds),
                func.max(c.started_at_microseconds + c.duration_microseconds),
                func.max(c.place),
            )
            .where(c.session_id_key.in_(keys), c.session_id == named[0], *own)
            .group_by(c.model)
        )
        rows = sorted(connection.execute(query).all(), key=lambda row: -row[1])
        if not rows or max(row[6] for row in rows) != place:
            return None
        return SessionSums(
            named[0],
            place,
            named[1],
            moment(min(row[4] for row in rows)),
            moment(max(row[5] for row in rows)),
            sum(row[1] for row in rows),
            sum(int(row[2]) for row in rows),
            sum(int(row[3]) for row in rows),
            tuple(row[0] for row in rows if row[0]),
        )


def _highest_key() -> Select[Any]:
    """The last key in the index of sessions, which the condition lets the database use."""
    column = entries.c.session_id_key
    return select(func.max(column)).where(column.is_not(None))
