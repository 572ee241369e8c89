"""Reads what a part of the snapshot is made of, and no more than that."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, select

from ferryman.store import schema_access as schema
from ferryman.store.access_look import BUDGETS, KEYS, SCOPED, Look
from ferryman.store.access_rows import Budget, Key, Record
from ferryman.store.engine import Engines, translated


class HeldToken(NamedTuple):
    """A token and the key that it opens; `until_microseconds` is `None` for the one in force."""

    token: str
    until_microseconds: int | None
    key: Key


class ScopeRows(NamedTuple):
    """What a part with scopes is made of.

    Attributes:
        budgets: by their ids.
    """

    records: list[Record]
    budgets: dict[str, Budget]


class PartReader:
    """Reads parts, several with one question."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._look = Look(connection)

    def keys(self, numbers: Collection[int]) -> dict[int, list[HeldToken]]:
        """The tokens of these parts, by their numbers and in order."""
        tokens, table = schema.key_tokens.c, schema.keys.c
        query = select(tokens.part, tokens.token, tokens.until_microseconds, table.data).where(
            tokens.part.in_(numbers), table.id == tokens.key_id
        )
        held: dict[int, list[HeldToken]] = {number: [] for number in numbers}
        for row in self._connection.execute(query.order_by(tokens.part, tokens.token)):
            held[row[0]].append(HeldToken(row[1], row[2], KEYS.decode(row[3])))
        return held

    def scopes(self, numbers: Collection[int]) -> dict[int, ScopeRows]:
        """The records whose scopes are in these parts, by their numbers and in order."""
        records: dict[int, list[Record]] = {number: [] for number in numbers}
        for kind in SCOPED:
            table = kind.table.c
            query = select(table.part, table.data).where(table.part.in_(numbers))
            for row in self._connection.execute(query.order_by(table.part, table.id)):
                records[row[0]].append(kind.decode(row[1]))
        budgets = {one.budget_id for found in records.values() for one in found if one.budget_id is not None}
        lent = self._look.many(BUDGETS, budgets)
        return {number: ScopeRows(found, lent) for number, found in records.items()}


@contextmanager
def reading(engines: Engines) -> Iterator[PartReader]:
    """Read parts on one connection.

    Raises:
        StoreUnavailable: the database is away.
    """
    with translated(), engines.read.connect() as connection:
        yield PartReader(connection)
