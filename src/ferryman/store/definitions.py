"""Which windows are counted: made, with what the ledger has of them already, and given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select, update

from ferryman.limits.windows import Calendar, Span
from ferryman.store.counters import LOCK, SECOND, Key
from ferryman.store.engine import Engines, translated
from ferryman.store.ledger_sums import ledger_sum
from ferryman.store.schema_counters import counters, grants, shares

STEP = 200
"""Counters made in one transaction: with a short ledger some milliseconds of the write lock."""


class Definition(NamedTuple):
    """A window that is counted; see `ferryman.limits.spec.Budget`.

    Attributes:
        zone: an IANA name.
        shared_from: Unix time in seconds. What began before is not counted as a worker's own: not every one
            of them knew of the budget. 0 if no worker can have let anything through without.
        is_new: there is nothing of it in the ledger: it need not be looked for.
    """

    scope: str
    duration: str
    model: str
    anchor: str
    zone: str
    shared_from: float = 0.0
    is_new: bool = False

    @property
    def key(self) -> Key:
        """What its counter is found by."""
        return self[:3]


def define(engines: Engines, wanted: Sequence[Definition], now_seconds: float) -> int:
    """See to it that these windows are counted; how many were not.

    A window that is counted from another anchor, or in another time zone, is counted anew.

    Args:
        engines: ways to the database.
        wanted: windows.
        now_seconds: the Unix time.

    Raises:
        StoreUnavailable: the database is away; some of them may be done.
        ValueError: a duration, an anchor or a time zone that is none.
    """
    calendars = {zone: Calendar(zone) for zone in {one.zone for one in wanted}}
    for one in wanted:
        calendars[one.zone].span(one.duration, one.anchor, now_seconds)
    with translated(), engines.read.connect() as connection:
        missing = _missing(connection, wanted)
    for first in range(0, len(missing), STEP):
        with translated(), engines.write.begin() as connection:
            alone(connection)
            for one in _missing(connection, missing[first : first + STEP]):
                window = calendars[one.zone].span(one.duration, one.anchor, now_seconds)
                _make(connection, one, window)
    return len(missing)


def since(engines: Engines, scopes: Iterable[str]) -> dict[Key, float]:
    """From when on workers count for themselves what comes to these scopes' counters; 0 for always.

    Raises:
        StoreUnavailable: the database is away.
    """
    c, names = counters.c, sorted(scopes)
    found: dict[Key, float] = {}
    with translated(), engines.read.connect() as connection:
        for first in range(0, len(names), STEP):
            query = select(c.scope, c.duration, c.model, c.shared_from_microseconds)
            for row in connection.execute(query.where(c.scope.in_(names[first : first + STEP]))):
                found[row[0], row[1], row[2]] = row[3] / SECOND
    return found


def undefine(engines: Engines, keys: Iterable[Key]) -> None:
    """Count these windows no more.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    gone = set(keys)
    if not gone:
        return
    with translated(), engines.write.begin() as connection:
        alone(connection)
        for key in gone:
            _remove(connection, key)


def reset(engines: Engines, key: Key, to_nanousd: int) -> int | None:
    """Let a window's counter go on from `to_nanousd`; what it was before, `None` if there is none.

    What workers have spent that is not stored yet comes on top.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    c, s = counters.c, shares.c
    with translated(), engines.write.begin() as connection:
        alone(connection)
        query = select(c.number, c.epoch, c.spent_nanousd, c.adjusted_nanousd).where(*_is(key))
        found = connection.execute(query).one_or_none()
        if found is None:
            return None
        stored = connection.execute(select(s.epoch, s.stored_nanousd).where(s.counter == found.number)).all()
        epoch = max([found.epoch, *(row.epoch for row in stored)])
        spent, adjusted = found[2:] if found.epoch == epoch else (0, 0)
        before = spent + sum(row.stored_nanousd for row in stored if row.epoch == epoch)
        values = {
            "epoch": epoch,
            "spent_nanousd": spent + to_nanousd - before,
            "adjusted_nanousd": adjusted + to_nanousd - before,
        }
        connection.execute(update(counters).where(c.number == found.number).values(**values))
        return int(before)


def _is(key: Key) -> tuple[ColumnElement[bool], ...]:
    c = counters.c
    return c.scope == key[0], c.duration == key[1], c.model == key[2]


def _remove(connection: Connection, key: Key) -> None:
    number = connection.execute(select(counters.c.number).where(*_is(key))).scalar()
    if number is not None:
        connection.execute(delete(shares).where(shares.c.counter == number))
        connection.execute(delete(grants).where(grants.c.counter == number))
        connection.execute(delete(counters).where(counters.c.number == number))


def alone(connection: Connection) -> None:
    """Let nobody insert into the ledger before this transaction is over; SQLite's has its lock already."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))


def _missing(connection: Connection, wanted: Sequence[Definition]) -> list[Definition]:
    there: dict[Key, tuple[str, str]] = {}
    c = counters.c
    scopes = sorted({one.scope for one in wanted})
    for first in range(0, len(scopes), STEP):
        query = select(c.scope, c.duration, c.model, c.anchor, c.zone)
        for row in connection.execute(query.where(c.scope.in_(scopes[first : first + STEP]))):
            there[row[0], row[1], row[2]] = (row[3], row[4])
    unique = {one.key: one for one in wanted}
    return [one for key, one in unique.items() if there.get(key) != (one.anchor, one.zone)]


def _make(connection: Connection, one: Definition, window: Span) -> None:
    named = {"anchor": one.anchor, "zone": one.zone}
    same = (*_is(one.key), counters.c.epoch == window.start)
    if connection.execute(update(counters).where(*same).values(**named)).rowcount:
        return  # it is counted from the same moment
    _remove(connection, one.key)
    values = {
        "scope": one.scope,
        "duration": one.duration,
        "model": one.model,
        **named,
        "epoch": window.start,
        "spent_nanousd": 0 if one.is_new else ledger_sum(connection, one.scope, one.model, window),
        "adjusted_nanousd": 0,
        "shared_from_microseconds": int(one.shared_from * SECOND),
    }
    connection.execute(counters.insert().values(**values))
