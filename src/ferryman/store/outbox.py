"""Entries on their way to sinks: each sink gets all that is stored, in that order, at least once.

What a transaction inserts is noted in the same transaction, so that nothing can be stored and not be sent.
Each machine sends what it has stored itself: only there the order of numbers is the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from ferryman.model import Entry
from ferryman.store.engine import Engines, translated
from ferryman.store.flat import Row
from ferryman.store.read import Reader
from ferryman.store.rows import microseconds
from ferryman.store.schema_outbox import outbox, sinks

MAX_ROWS = 100
"""Of the table that are looked at for one batch."""

KEPT = timedelta(days=7)
"""What a sink has not taken by then is not sent to it any more; the entries themselves stay."""

_WAITS = (outbox.c.machine == sinks.c.machine) & (outbox.c.sequence > sinks.c.sequence)
"""Whether a sink has not taken all of a row."""

_NOTED = func.length(outbox.c.places) - func.length(func.replace(outbox.c.places, ",", "")) + 1
"""How many entries a row has, there is always one: counted by the database, as there may be days of rows."""


class Position(NamedTuple):
    """How far a sink is: the last whole row, and how many entries of the next one."""

    sequence: int
    beyond: int


class Found(NamedTuple):
    """What is to be sent next.

    Attributes:
        entries: in the order in which they were stored. Fewer than were noted, if some are deleted by now.
        before, after: where the sink stands without them, and with them.
    """

    entries: list[Entry]
    before: Position
    after: Position


class Outbox:
    """What is to be sent. Methods wait for the database, and raise StoreUnavailable while it is away."""

    def __init__(self, engines: Engines, reader: Reader) -> None:
        self._engines = engines
        self._reader = reader

    def __repr__(self) -> str:
        return f"<Outbox in {self._engines.write.dialect.name}>"

    def begin(self, machine: str, names: Iterable[str]) -> None:
        """There are these sinks and no others. A new one gets what is still here for others, too."""
        wanted = set(names)
        of_machine = sinks.c.machine == machine
        with translated(), self._engines.write.begin() as connection:
            there = set(connection.execute(select(sinks.c.name).where(of_machine)).scalars())
            connection.execute(delete(sinks).where(of_machine, sinks.c.name.not_in(wanted)))
            for name in sorted(wanted - there):
                row = {"machine": machine, "name": name, "sequence": 0, "beyond": 0}
                connection.execute(insert(sinks).values(row))

    def next(self, machine: str, name: str, limit: int) -> Found | None:
        """At most `limit` entries, `None` if the sink has all."""
        with translated(), self._engines.read.connect() as connection:
            # One statement: `trim` must not come between the position and the rows that it is about.
            rows = connection.execute(
                select(sinks.c.sequence, sinks.c.beyond, outbox.c.sequence, outbox.c.places)
                .join_from(sinks, outbox, _WAITS)
                .where(sinks.c.machine == machine, sinks.c.name == name)
                .order_by(outbox.c.sequence)
                .limit(MAX_ROWS)
            ).all()
        if not rows:
            return None
        places: list[int] = []
        before = after = Position(*rows[0][:2])
        for _, _, sequence, noted in rows:
            every = msgspec.json.decode(noted, type=list[int])
            start, room = after.beyond, limit - len(places)
            places += every[start : start + room]
            if len(every) - start > room:
                after = Position(after.sequence, start + room)
                break
            after = Position(sequence, 0)
        return Found(self._reader.entries(places), before, after)

    def move(self, machine: str, name: str, to: Position) -> None:
        """The sink has taken everything up to there; nothing is changed if `trim` has moved it past that."""
        of_sink = (sinks.c.machine == machine) & (sinks.c.name == name)
        with translated(), self._engines.write.begin() as connection:
            ahead = of_sink & (sinks.c.sequence <= to.sequence)
            connection.execute(update(sinks).where(ahead).values(**to._asdict()))

    def trim(self, machine: str, now: datetime) -> dict[str, int]:
        """Delete what all sinks have taken, and what is older than `KEPT`.

        A sink that has not taken what is deleted goes on behind it.

        Returns:
            How many entries each such sink misses, by its name.
        """
        ours = outbox.c.machine == machine
        of_machine = sinks.c.machine == machine
        with translated(), self._engines.write.begin() as connection:
            old = ours & (outbox.c.stored_at_microseconds < microseconds(now - KEPT))
            last = connection.execute(
                select(func.coalesce(func.max(outbox.c.sequence), 0)).where(old)
            ).scalar_one()
            missed = (
                select(sinks.c.name, func.sum(_NOTED) - func.max(sinks.c.beyond))
                .join_from(sinks, outbox, _WAITS)
                .where(of_machine, outbox.c.sequence <= last)
                .group_by(sinks.c.name)
            )
            found = {name: int(number) for name, number in connection.execute(missed)}
            # With the row that it is about goes `beyond`: of the next one nothing has been sent.
            late = of_machine & (sinks.c.sequence < last)
            connection.execute(update(sinks).where(late).values(sequence=last, beyond=0))
            taken = connection.execute(select(func.min(sinks.c.sequence)).where(of_machine)).scalar_one()
            connection.execute(delete(outbox).where(ours, outbox.c.sequence <= max(taken or 0, last)))
        return found

    def behind(self, machine: str, name: str, now: datetime) -> float:
        """For how many seconds the oldest entry waits that the sink has not taken; 0 without one."""
        with translated(), self._engines.read.connect() as connection:
            before = _position(connection, machine, name)
            oldest = connection.execute(
                select(func.min(outbox.c.stored_at_microseconds)).where(
                    outbox.c.machine == machine, outbox.c.sequence > before.sequence
                )
            ).scalar_one()
        return 0.0 if oldest is None else max(0.0, (microseconds(now) - oldest) / 1e6)


def _position(connection: Connection, machine: str, name: str) -> Position:
    query = select(sinks.c.sequence, sinks.c.beyond).where(sinks.c.machine == machine, sinks.c.name == name)
    found = connection.execute(query).one_or_none()
    return Position(0, 0) if found is None else Position(*found)


def note(connection: Connection, machine: str, rows: list[Row], now: datetime) -> None:
    """Note what this transaction inserts."""
    places = msgspec.json.encode([row.values[0] for row in rows]).decode()
    values = {"machine": machine, "places": places, "stored_at_microseconds": microseconds(now)}
    connection.execute(insert(outbox).values(values))
