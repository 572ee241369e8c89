"""Entries into the database: each one once, and its sums with it.

A batch is one transaction: the rows that are new, the sums of exactly those rows by day and by session, and
the checkpoints of the journals they come from. Whoever is killed in between, or does not know whether it was
done, sends the same batch again.

The statements are text for the driver, not SQLAlchemy's expressions, and each database gets the rows in
the way that costs it least; `python -m bench.store` measures it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection, select

from ferryman.errors import StoreError, StoreUnavailable
from ferryman.ledger.records import encode
from ferryman.model import BatchResults, Entry
from ferryman.store import schema, session_rows
from ferryman.store.batches import settled, taken
from ferryman.store.counters import Charged, Journal, charge
from ferryman.store.engine import Engines, translated
from ferryman.store.flat import Row
from ferryman.store.outbox import note
from ferryman.store.owners import insert_many, made_by
from ferryman.store.place import MAX_SHIFT
from ferryman.store.rollup import MAX_GROUPS, Group, Groups, Sums, summed
from ferryman.store.rows import id_of, microseconds, moment, row_of
from ferryman.store.statements import Database, postgres, sqlite

MAX_BATCH = 4_000
"""Entries in one transaction: about a tenth of a second of the write lock. Larger batches touch each page
of the indexes less often: from 1,000 to 4,000 an entry got about a tenth cheaper."""

TRIES = 10
"""How often a batch is sent again that another writer sends in part at the same time."""


class Checkpoint(NamedTuple):
    """How far a worker's journal is in the database.

    Attributes:
        worker_id: whose journal; never used again for another.
        position: where its reading stopped, as the reader wrote it.
        sequence: of the last record that is read; a checkpoint never moves to a smaller one.
        updated_at: when it was read.
    """

    worker_id: str
    position: str
    sequence: int
    updated_at: datetime


class New(NamedTuple):
    """What of a batch was not there before, with its sums."""

    rows: list[Row]
    sums: Sums


class Writer:
    """Writes batches of entries. Safe to call from several threads, of which one at a time gets on.

    Attributes:
        machine: whose journals they come from, empty where there is only one.
        noting: what is inserted is noted for sinks; the clock's time in UTC, `None` where there are none.
        on_stored: is told of what is new, once it is committed, on the thread that stores it. Of a commit of
            which nobody knows whether it was done, nothing is told.
    """

    def __init__(self, engines: Engines, *, most_groups: int = MAX_GROUPS) -> None:
        """Write to the database of `engines`.

        Args:
            engines: ways to it.
            most_groups: of a day (see `ferryman.store.rollup.MAX_GROUPS`).
        """
        self._engines = engines
        self._database = sqlite() if engines.is_sqlite else postgres()
        self._lock = threading.Lock()
        self._groups = Groups(most_groups)
        self.machine = ""
        self.noting: Callable[[], datetime] | None = None
        self.on_stored: Callable[[New], None] = lambda _: None

    def insert_entries(self, entries: Iterable[Entry], *checkpoints: Checkpoint) -> int:
        """`insert` for entries that are not rows yet."""
        return self.insert((row_of(encode(entry)) for entry in entries), *checkpoints)

    def insert(self, rows: Iterable[Row], *checkpoints: Checkpoint) -> int:
        """Insert what is new of `rows`, in transactions of `MAX_BATCH`, the checkpoints with the last.

        Returns:
            How many were new.

        Raises:
            StoreUnavailable: the database is away; send all of them again.
            StoreError: the database refused; sending them again will not help.
        """
        inserted = 0
        left = iter(rows)
        batch = list(islice(left, MAX_BATCH))
        while True:
            following = list(islice(left, MAX_BATCH))
            with self._lock, translated():
                try:
                    with self._engines.write.begin() as connection:
                        new = self._write(connection, batch, checkpoints, is_last=not following)
                except BaseException:
                    self._groups.forget()
                    raise
            inserted += len(new.rows)
            self.on_stored(new)
            if not following:
                return inserted
            batch = following

    def _write(
        self, connection: Connection, batch: list[Row], checkpoints: Sequence[Checkpoint], *, is_last: bool
    ) -> New:
        entries = [row.entry for row in batch if row.entry is not None]
        journal = Journal(checkpoints[0].worker_id, self.machine) if checkpoints else None
        holds: list[Charged] = []
        if entries:
            batch = batch + taken(connection, entries, holds)
            insert_many(connection, made_by(entries))
        new = self._insert_new(connection, batch, journal, holds)
        for checkpoint in checkpoints if is_last else ():
            values = (*checkpoint[:-1], microseconds(checkpoint.updated_at))
            connection.exec_driver_sql(self._database.checkpoint, values)
        return new

    def settle(self, results: BatchResults, at: datetime) -> None:
        """Charge a batch to whoever has created it, unless that was done before.

        Args:
            results: all of them.
            at: when they were read.

        Raises:
            StoreUnavailable: the database is away; nothing was done.
        """
        with self._lock, translated():
            try:
                with self._engines.write.begin() as connection:
                    holds: list[Charged] = []
                    made = settled(connection, results, at, holds)
                    new = self._insert_new(connection, made, None, holds)
            except BaseException:
                self._groups.forget()
                raise
        self.on_stored(new)

    def _insert_new(
        self, connection: Connection, batch: list[Row], journal: Journal | None, holds: list[Charged]
    ) -> New:
        """Insert what is new, with its sums."""
        database = self._database
        rows = {row.values[1]: row for row in batch}  # by id
        new = self._insert(connection, list(rows.values())) if rows else []
        sums: Sums = {}
        if new:
            sums, tag_sums = summed(new)
            source = _Source(connection, database)
            database.many(connection, database.rollups, self._groups.numbered(sums, source))
            if tag_sums:
                tags = sorted((tag, row.values[0]) for row in new if row.tags for tag in row.tags)
                database.many(connection, database.tags, tags)
                database.many(connection, database.tag_rollups, self._groups.numbered(tag_sums, source))
            if by_session := session_rows.summed(new):
                database.many(connection, database.session_sums, by_session)
            if self.noting is not None:
                note(connection, self.machine, new, self.noting())
        charge(connection, journal, holds, new)
        return New(new, sums)

    def _insert(self, connection: Connection, rows: list[Row]) -> list[Row]:
        """Insert; the rows that were not there, each at its place."""
        database = self._database
        left = rows = database.ordered(rows)
        for _ in range(TRIES):
            connection.exec_driver_sql("SAVEPOINT batch")
            if database.many(connection, database.entries, [row.values for row in left]) == len(left):
                connection.exec_driver_sql("RELEASE SAVEPOINT batch")
                return left
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT batch")
            left = unknown(rows, lambda places: database.there(connection, places))
            if not left:
                return left
        raise StoreUnavailable("another writer stores the same entries; try again")

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Every checkpoint by its worker's id."""
        with translated(), self._engines.read.connect() as connection:
            found = [Checkpoint(*row) for row in connection.execute(select(schema.checkpoints))]
        return {one.worker_id: one._replace(updated_at=moment(one.updated_at)) for one in found}  # type: ignore[arg-type]  # as the row has it

    def forget_checkpoint(self, worker_id: str) -> None:
        """Forget the checkpoint of a journal that is read to its end and removed."""
        table = schema.checkpoints
        with translated(), self._engines.write.begin() as connection:
            connection.execute(table.delete().where(table.c.worker_id == worker_id))


class _Source:
    """The groups in the database, for `Groups`."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database

    def load(self, day: date, *, tagged: bool) -> dict[Group, int]:
        """The groups that a day has."""
        table = schema.tag_rollups if tagged else schema.rollups
        groups = schema.rollup_groups
        query = select(*(groups.c[name] for name in schema.GROUP), groups.c.number).where(
            table.c.day == day, table.c.group_number == groups.c.number
        )
        return {tuple(row[:-1]): row[-1] for row in self._connection.execute(query)}

    def number(self, group: Group) -> int:
        """The number of a group, which is made if need be."""
        find, make = self._database.find_group, self._database.make_group
        found = self._connection.exec_driver_sql(find, group).scalar()
        if found is None:
            self._connection.exec_driver_sql(make, group)
            found = self._connection.exec_driver_sql(find, group).scalar_one()
        return int(found)


def unknown(rows: Sequence[Row], there: Callable[[list[int]], dict[int, str]]) -> list[Row]:
    """The rows that are not in the database, each at the first free place from its own on.

    Args:
        rows: with different ids.
        there: tells the ids at those of some places that are taken.

    Raises:
        StoreError: `MAX_SHIFT` places in a row are taken.
    """
    new: list[Row] = []
    taken: dict[int, str] = {}
    waiting = list(rows)
    for shift in range(MAX_SHIFT):
        taken |= there([row.values[0] + shift for row in waiting])
        beyond: list[Row] = []
        for row in waiting:
            place = row.values[0] + shift
            holder, entry_id = taken.get(place), id_of(row)
            if holder is None:
                taken[place] = entry_id
                new.append(replace(row, values=(place, *row.values[1:])))
            elif holder != entry_id:
                beyond.append(row)
        waiting = beyond
        if not waiting:
            return new
    raise StoreError("the database refused: too many entries have one place")
