"""What `ferryman.store.write` says to the driver of each database, as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Connection, Date, Integer, SmallInteger, Table

from ferryman.store import schema
from ferryman.store.flat import Row
from ferryman.store.schema_sessions import session_sums

Values = tuple[Any, ...]


AT_ONCE = 25
"""Rows that SQLite gets with one statement where there are many: for each it opens a table and its indexes
anew, so that an entry costs it a quarter less. With four times as many it costs no less."""


class Statement(NamedTuple):
    """One that takes many rows.

    Attributes:
        names: what the values in a row are.
        wide: for SQLite, the same for `AT_ONCE` rows.
    """

    sql: str
    names: tuple[str, ...]
    wide: str


class Database(NamedTuple):
    """A database as a writer sees it.

    Attributes:
        many: executes a statement for all rows at once; how many rows it has changed.
        there: tells which ids have these places.
        ordered: rows of `entries` in the order in which they are to be inserted.
    """

    many: Callable[[Connection, Statement, Sequence[Values]], int]
    there: Callable[[Connection, list[int]], dict[int, str]]
    ordered: Callable[[list[Row]], list[Row]]
    entries: Statement
    tags: Statement
    rollups: Statement
    tag_rollups: Statement
    session_sums: Statement
    find_group: str
    make_group: str
    checkpoint: str


def sqlite() -> Database:
    """What SQLite is told. Nobody else writes meanwhile: a transaction has the lock."""
    return Database(_many_sqlite, _there_sqlite, _as_they_are, *_statements(_insert_sqlite, "?"))


def postgres() -> Database:
    """What PostgreSQL is told; it gets all rows as one text."""
    # In one order: of two writers with the same rows one waits for the other.
    return Database(_many_postgres, _there_postgres, _sorted, *_statements(_insert_postgres, "%s"))


def _as_they_are(rows: list[Row]) -> list[Row]:
    return rows


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.values[:2])


def _many_sqlite(connection: Connection, statement: Statement, rows: Sequence[Values]) -> int:
    cursor = connection.connection.cursor()
    whole, changed = len(rows) - len(rows) % AT_ONCE, 0
    if whole:
        starts = range(0, whole, AT_ONCE)
        cursor.executemany(
            statement.wide, [tuple(chain.from_iterable(rows[at : at + AT_ONCE])) for at in starts]
        )
        changed = int(cursor.rowcount)
    if whole < len(rows):
        cursor.executemany(statement.sql, rows[whole:])
        changed += int(cursor.rowcount)
    return changed


def _many_postgres(connection: Connection, statement: Statement, rows: Sequence[Values]) -> int:
    names = statement.names
    sent = [
        {name: value for name, value in zip(names, row, strict=True) if value != ""}  # 0 is a value
        for row in rows
    ]
    return connection.exec_driver_sql(statement.sql, (msgspec.json.encode(sent).decode(),)).rowcount


def _there_sqlite(connection: Connection, places: list[int]) -> dict[int, str]:
    query = "SELECT place, id FROM entries WHERE place IN (SELECT value FROM json_each(?))"
    return dict(connection.connection.cursor().execute(query, [json.dumps(places)]).fetchall())


def _there_postgres(connection: Connection, places: list[int]) -> dict[int, str]:
    query = "SELECT place, id FROM entries WHERE place = ANY(%s)"
    return {row[0]: row[1] for row in connection.exec_driver_sql(query, (places,))}


def _statements(
    insert: Callable[[Table, int], str], mark: str
) -> tuple[Statement, Statement, Statement, Statement, Statement, str, str, str]:
    def inserting(table: Table, rest: str) -> Statement:
        one, wide = (f"{insert(table, number)} {rest}" for number in (1, AT_ONCE))
        return Statement(one, tuple(table.columns.keys()), wide)

    changes = ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in schema.MEASURES)
    adding = f"ON CONFLICT (day, group_number) DO UPDATE SET {changes}"
    group = ", ".join(schema.GROUP)
    find = " AND ".join(f"{name} = {mark}" for name in schema.GROUP)
    group_marks, marks = _marks(mark, len(schema.GROUP)), _marks(mark, len(schema.checkpoints.columns))
    moved = ", ".join(f"{name} = excluded.{name}" for name in schema.checkpoints.columns.keys()[1:])
    move = f"DO UPDATE SET {moved} WHERE excluded.sequence >= checkpoints.sequence"
    return (
        inserting(schema.entries, "ON CONFLICT (place) DO NOTHING"),
        inserting(schema.entry_tags, "ON CONFLICT DO NOTHING"),
        inserting(schema.rollups, adding),
        inserting(schema.tag_rollups, adding.replace("rollups.", "tag_rollups.")),
        inserting(session_sums, f"ON CONFLICT (session_id, principal, model) DO UPDATE SET {_of_session()}"),
        f"SELECT number FROM rollup_groups WHERE {find}",  # noqa: S608  # names of our own
        f"INSERT INTO rollup_groups ({group}) VALUES ({group_marks}) ON CONFLICT DO NOTHING",  # noqa: S608  # the same
        f"INSERT INTO checkpoints VALUES ({marks}) ON CONFLICT (worker_id) {move}",  # noqa: S608  # the same
    )


def _of_session() -> str:
    """How a row of `session_sums` takes up another: the two databases call the greater of two differently."""
    compared = {"last_place": ">", "started_at_microseconds": "<", "ended_at_microseconds": ">"}
    changes = [
        f"{name} = CASE WHEN excluded.{name} {sign} session_sums.{name}"
        f" THEN excluded.{name} ELSE session_sums.{name} END"
        for name, sign in compared.items()
    ]
    added = ("requests", "errors", "cost_nanousd")
    return ", ".join(changes + [f"{name} = session_sums.{name} + excluded.{name}" for name in added])


def _marks(mark: str, number: int) -> str:
    return ", ".join([mark] * number)


def _insert_sqlite(table: Table, rows: int) -> str:
    names = ", ".join(table.columns.keys())
    marks = ", ".join("nullif(?, '')" if column.nullable else "?" for column in table.columns)
    values = ", ".join([f"({marks})"] * rows)
    return f"INSERT INTO {table.name} ({names}) VALUES {values}"  # noqa: S608  # names of our own


def _insert_postgres(table: Table, _: int) -> str:
    names = ", ".join(table.columns.keys())
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
    return column.name if column.nullable or _sent_as(column) != "text" else f"coalesce({column.name}, '')"
