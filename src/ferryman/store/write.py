"""Entries into the database: each one once, and its sums with it.

A batch is one transaction: the rows that are new, the roll-ups of exactly those rows, and the checkpoint
of the journal they come from. Whoever is killed in between, or does not know whether it was done, sends
the same batch again.

The statements are text for the driver, not SQLAlchemy's expressions, and each database gets the rows in
the way that costs it least; `python -m bench.store` measures it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Integer,
    SmallInteger,
    Table,
    select,
)

from ferryman.model import Entry
from ferryman.store import schema
from ferryman.store.engine import Engines, translated
from ferryman.store.rows import (
    EPOCH,
    MICROSECONDS_PER_DAY,
    POSITION,
    TOKENS_FROM,
    TOKENS_TO,
    Row,
    microseconds,
    moment,
    row_of,
)

MAX_BATCH = 1_000
"""Entries in one transaction: some tens of milliseconds of the write lock. Larger batches touch each page
of the indexes less often; from 500 to 2,000 an entry got about a fifth cheaper."""

_STARTED, _TAGS, _FAILED = POSITION["started_at_microseconds"], POSITION["tags"], POSITION["failed"]
_KEY = [POSITION[name] for name in schema.ROLLUP_KEY[1:]]
_MODEL, _PRINCIPAL, _END_USER, _STATUS_CLASS, _ENDED = _KEY


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


class Statements(NamedTuple):
    """What `Writer` says to the driver of one database."""

    entries: str
    rollups: str
    tag_rollups: str
    tags: str
    checkpoint: str


class Writer:
    """Writes batches of entries. Safe to call from several threads, of which one at a time gets on."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._insert = _insert_sqlite if engines.is_sqlite else _insert_postgres
        self._many = _many_sqlite if engines.is_sqlite else _many_postgres
        self._sql = _statements("sqlite" if engines.is_sqlite else "postgresql")

    def insert_entries(self, entries: Iterable[Entry], checkpoint: Checkpoint | None = None) -> int:
        """Insert what is new of `entries` in transactions of `MAX_BATCH`, the checkpoint with the last.

        Returns:
            How many were new.

        Raises:
            StoreUnavailable: the database is away; send all of them again.
            StoreError: the database refused; sending them again will not help.
        """
        inserted = 0
        left = iter(entries)
        batch = list(islice(left, MAX_BATCH))
        while True:
            following = list(islice(left, MAX_BATCH))
            with translated(), self._engines.write.begin() as connection:
                inserted += self._write(connection, batch, None if following else checkpoint)
            if not following:
                return inserted
            batch = following

    def _write(self, connection: Connection, batch: list[Entry], checkpoint: Checkpoint | None) -> int:
        rows = {entry.id: row_of(entry) for entry in batch}
        new = self._insert(connection, self._sql.entries, rows) if rows else []
        if new:
            sums, tags, tag_sums = rolled_up(new)
            self._many(connection, self._sql.rollups, schema.rollups, sums)
            if tags:
                self._many(connection, self._sql.tags, schema.entry_tags, tags)
                self._many(connection, self._sql.tag_rollups, schema.tag_rollups, tag_sums)
        if checkpoint is not None:
            values = checkpoint._replace(updated_at=microseconds(checkpoint.updated_at))  # type: ignore[arg-type]  # as the row has it
            connection.exec_driver_sql(self._sql.checkpoint, tuple(values))
        return len(new)

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


def rolled_up(rows: Iterable[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of `rollups`, of `entry_tags` and of `tag_rollups` for new `rows` of `entries`.

    Sorted by their keys, so that two writers take the locks on them in one order.
    """
    groups: dict[Row, list[Row]] = {}
    tag_groups: dict[Row, list[Row]] = {}
    tags: list[Row] = []
    days: dict[int, str] = {}
    for row in rows:
        number = row[_STARTED] // MICROSECONDS_PER_DAY
        day = days.get(number)
        if day is None:
            day = days[number] = (EPOCH + timedelta(days=number)).date().isoformat()
        status_class, ended, model = row[_STATUS_CLASS], row[_ENDED], row[_MODEL] or ""
        key = (day, model, row[_PRINCIPAL] or "", row[_END_USER] or "", status_class, ended)
        groups.setdefault(key, []).append(row)
        if row[_TAGS] is not None:
            for tag in json.loads(row[_TAGS]):
                tags.append((tag, row[_STARTED], row[0]))
                tag_groups.setdefault((day, tag, model, status_class, ended), []).append(row)
    sums = [key + _measures(members) for key, members in sorted(groups.items())]
    tag_sums = [key + _measures(members) for key, members in sorted(tag_groups.items())]
    return sums, sorted(tags), tag_sums


def _measures(rows: list[Row]) -> Row:
    if len(rows) == 1:
        row = rows[0]
        return (1, row[_FAILED], *[count or 0 for count in row[TOKENS_FROM:TOKENS_TO]])
    columns = zip(*[row[TOKENS_FROM:TOKENS_TO] for row in rows], strict=True)
    return (len(rows), sum([row[_FAILED] for row in rows]), *[sum(filter(None, each)) for each in columns])


def _insert_sqlite(connection: Connection, sql: str, rows: dict[str, Row]) -> list[Row]:
    """Insert; the rows that were not there. Nobody else writes meanwhile: the transaction has the lock."""
    cursor = connection.connection.cursor()
    cursor.execute("SAVEPOINT batch")
    cursor.executemany(sql, [_without_none(row) for row in rows.values()])
    new = list(rows.values())
    if cursor.rowcount != len(rows):
        cursor.execute("ROLLBACK TO batch")
        cursor.execute(
            "SELECT id FROM entries WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(list(rows))]
        )
        known = {found[0] for found in cursor.fetchall()}
        new = [row for row in new if row[0] not in known]
        cursor.executemany(sql, [_without_none(row) for row in new])
    cursor.execute("RELEASE batch")
    return new


def _without_none(row: Row) -> list[Any]:
    # Python's driver takes 0.5 µs for a None (it looks for an adapter first) and 0.06 µs for a text.
    return ["" if value is None else value for value in row]


def _many_sqlite(connection: Connection, sql: str, _: Table, rows: list[Row]) -> None:
    connection.connection.cursor().executemany(sql, rows)


def _insert_postgres(connection: Connection, sql: str, rows: dict[str, Row]) -> list[Row]:
    """Insert; the rows that were not there."""
    ordered = [rows[one] for one in sorted(rows)]
    sent = _as_json(ordered, schema.COLUMNS)
    new = {found[0] for found in connection.exec_driver_sql(sql, (sent,))}
    return [row for row in ordered if row[0] in new]


def _many_postgres(connection: Connection, sql: str, table: Table, rows: list[Row]) -> None:
    connection.exec_driver_sql(sql, (_as_json(rows, table.columns.keys()),))


def _as_json(rows: list[Row], names: Sequence[str]) -> str:
    objects = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows
    ]
    return msgspec.json.encode(objects).decode()


def _statements(dialect: str) -> Statements:
    def adding(table: Table, key: tuple[str, ...]) -> str:
        changes = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in schema.MEASURES)
        return f"{_insert(dialect, table)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"

    marks = ", ".join(["?" if dialect == "sqlite" else "%s"] * len(schema.checkpoints.columns))
    moved = ", ".join(f"{name} = excluded.{name}" for name in Checkpoint._fields[1:-1])
    again = "" if dialect == "sqlite" else " RETURNING id"
    return Statements(
        entries=f"{_insert(dialect, schema.entries)} ON CONFLICT (id) DO NOTHING{again}",
        rollups=adding(schema.rollups, schema.ROLLUP_KEY),
        tag_rollups=adding(schema.tag_rollups, schema.TAG_ROLLUP_KEY),
        tags=f"{_insert(dialect, schema.entry_tags)} ON CONFLICT DO NOTHING",
        checkpoint=f"INSERT INTO checkpoints VALUES ({marks}) ON CONFLICT (worker_id) DO UPDATE SET {moved}, "  # noqa: S608  # names of our own
        "updated_at_microseconds = excluded.updated_at_microseconds "
        "WHERE excluded.sequence >= checkpoints.sequence",
    )


def _insert(dialect: str, table: Table) -> str:
    names = ", ".join(table.columns.keys())
    if dialect == "sqlite":
        marks = ", ".join("nullif(?, '')" if column.nullable else "?" for column in table.columns)
        return f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608  # names of our own
    sent = ", ".join(f"{column.name} {_sent_as(column)}" for column in table.columns)
    values = ", ".join(_received(column) for column in table.columns)
    source = f"json_to_recordset(%s::json) AS sent ({sent})"
    return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {source}"  # noqa: S608  # names of our own


def _sent_as(column: Column[Any]) -> str:
    for kind, name in ((Date, "date"), (SmallInteger, "smallint"), (BigInteger, "bigint")):
        if isinstance(column.type, kind):
            return name
    return "integer" if isinstance(column.type, Integer | Boolean) else "text"


def _received(column: Column[Any]) -> str:
    if isinstance(column.type, Boolean):
        return f"{column.name} <> 0"
    return f"{column.name}::json" if isinstance(column.type, JSON) else column.name
