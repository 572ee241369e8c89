"""Reads what a part of the snapshot is made of, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ferryman.store import schema_access as schema
from ferryman.store.access_look import BUDGETS, KEYS, SCOPED, TEAMS, USERS, Look
from ferryman.store.access_rows import Budget, Key, Record, Team, User
from ferryman.store.engine import Engines, translated


class HeldToken(NamedTuple):
    """A token and the key that it opens; `until_microseconds` is `None` for the one in force."""

    token: str
    until_microseconds: int | None
    key: Key


class KeyRows(NamedTuple):
    """What a part with keys is made of; users and teams by their ids."""

    tokens: list[HeldToken]
    users: dict[str, User]
    teams: dict[str, Team]


class ScopeRows(NamedTuple):
    """What a part with scopes is made of.

    Attributes:
        records: each with the name of its kind.
        budgets: by their ids.
    """

    records: list[tuple[str, Record]]
    budgets: dict[str, Budget]


class PartReader:
    """Reads parts; all that are read within one `reading` are of one revision on SQLite."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._look = Look(connection)

    def keys(self, number: int) -> KeyRows:
        """The tokens of the part `number`, in order."""
        tokens, table = schema.key_tokens.c, schema.keys.c
        query = select(tokens.token, tokens.until_microseconds, table.data).where(
            tokens.part == number, table.id == tokens.key_id
        )
        held = [
            HeldToken(row[0], row[1], KEYS.decode(row[2]))
            for row in self._connection.execute(query.order_by(tokens.token))
        ]
        users = {one.key.user_id for one in held if one.key.user_id is not None}
        teams = {one.key.team_id for one in held if one.key.team_id is not None}
        return KeyRows(held, self._look.many(USERS, users), self._look.many(TEAMS, teams))

    def scopes(self, number: int) -> ScopeRows:
        """The records whose scopes are in the part `number`, in order."""
        records: list[tuple[str, Record]] = []
        for kind in SCOPED:
            table = kind.table.c
            query = select(table.data).where(table.part == number).order_by(table.id)
            rows: Any = self._connection.execute(query).scalars()
            records += [(kind.name, kind.decode(text)) for text in rows]
        budgets = {record.budget_id for _, record in records if record.budget_id is not None}
        return ScopeRows(records, self._look.many(BUDGETS, budgets))


@contextmanager
def reading(engines: Engines) -> Iterator[PartReader]:
    """Read parts on one connection.

    Raises:
        StoreUnavailable: the database is away.
    """
    with translated(), engines.read.connect() as connection:
        yield PartReader(connection)
