"""Who made what at Anthropic, as the control plane stores and tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from ferryman.limits.owner import Owner
from ferryman.model import Entry
from ferryman.store.engine import Engines, translated
from ferryman.store.rows import microseconds
from ferryman.store.schema_owners import owners
from ferryman.wire.owned import CONTAINERS

LIFE = {CONTAINERS: timedelta(days=60)}
"""How long the maker of a kind is remembered, from its making on; of all others, for ever: Anthropic keeps
them until they are deleted, and a file whose maker is forgotten could not be used any more.

Anthropic deletes a container after 30 days
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/code-execution-tool#containers), and each
conversation with code execution has one.
"""

MAX_STEP = 1_000
"""Rows of one statement: each database takes as many parameters, and it holds the lock for milliseconds."""


class Made(NamedTuple):
    """A resource that was made with a virtual key.

    Attributes:
        id: Anthropic's.
        kind: the collection that it is in.
        owner: who made it.
        made_at: when, for `LIFE`.
    """

    id: str
    kind: str
    owner: Owner
    made_at: datetime


def made_by(entries: Iterable[Entry]) -> Iterator[Made]:
    """What `entries` tell to be made; those without a principal tell nothing."""
    for entry in entries:
        if entry.made and entry.principal is not None:
            owner = Owner(entry.principal, entry.team_id)
            for resource_id, kind in entry.made.items():
                yield Made(resource_id, kind, owner, entry.started_at)


def insert_many(connection: Connection, made: Iterable[Made]) -> None:
    """Note who made what. Of several makers of one id the first stays: later ones have seen it only.

    Args:
        connection: in the transaction in which the entries are inserted that tell of it. What fails there
            is repeated as a whole, and changes nothing the second time.
        made: in any order.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(owners).on_conflict_do_nothing()
    # In one order: of two writers with the same ids one waits for the other.
    rows = [
        {
            "id": one.id,
            "kind": one.kind,
            "key_id": one.owner.key_id,
            "team_id": one.owner.team_id,
            "made_at_microseconds": microseconds(one.made_at),
        }
        for one in sorted(made, key=lambda one: (one.id, one.made_at))
    ]
    if rows:
        connection.execute(statement, rows)


class Owners:
    """Who made what, for the control plane. Methods wait for the database."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def __repr__(self) -> str:
        return "<Owners>"

    def lookup(self, ids: Sequence[str]) -> dict[str, Owner]:
        """The owners of those `ids` that are known.

        Raises:
            StoreUnavailable: the database is away.
        """
        columns = owners.c.id, owners.c.key_id, owners.c.team_id
        found: dict[str, Owner] = {}
        with translated(), self._engines.read.connect() as connection:
            for start in range(0, len(ids), MAX_STEP):
                query = select(*columns).where(owners.c.id.in_(ids[start : start + MAX_STEP]))
                found |= {row[0]: Owner(row[1], row[2]) for row in connection.execute(query)}
        return found

    def delete(self, ids: Sequence[str]) -> int:
        """Forget who made these; how many were known.

        Raises:
            StoreUnavailable: the database is away; some may be forgotten.
        """
        deleted = 0
        for start in range(0, len(ids), MAX_STEP):
            change = delete(owners).where(owners.c.id.in_(ids[start : start + MAX_STEP]))
            with translated(), self._engines.write.begin() as connection:
                deleted += connection.execute(change).rowcount
        return deleted

    def expire(self, now: datetime, *, at_most: int = MAX_STEP) -> int:
        """Forget some of what has outlived `LIFE`; how many that were, less than `at_most` for the last.

        Raises:
            StoreUnavailable: the database is away; nothing was forgotten.
        """
        over = [
            (owners.c.kind == kind) & (owners.c.made_at_microseconds < microseconds(now - life))
            for kind, life in LIFE.items()
        ]
        some = select(owners.c.id).where(or_(*over)).limit(min(at_most, MAX_STEP))
        with translated(), self._engines.write.begin() as connection:
            return connection.execute(delete(owners).where(owners.c.id.in_(some))).rowcount
