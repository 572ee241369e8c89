"""Changes keys, users, teams, customers, budgets and tags: one transaction a change, with its audit.

Every change begins by counting up one row, which locks it: changes follow one upon the other on PostgreSQL
as they do on SQLite, so that what a change has looked at is still so when it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import delete, insert, select, update

from ferryman.limits.spec import part_of_key, part_of_scope
from ferryman.store import schema_access as schema
from ferryman.store.access_look import KEYS, SCOPED, TEAMS, USERS, Kind, Look, R
from ferryman.store.access_rows import Budget, Key, Record, Team
from ferryman.store.engine import Engines, translated

MAX_CHANGES = 1_000
"""Of which it is known what they have touched: a control plane that has missed more looks at everything."""

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="deterministic").encode
_NOT_TOLD = ("updated_at_microseconds", "updated_by")


class Actor(NamedTuple):
    """Who makes a change.

    Attributes:
        name: `master key`, `operator` or `key:` and the id of a key.
        client_address: from where, `None` if that is not known.
    """

    name: str
    client_address: str | None = None


class Change(Look):
    """Writes in one transaction, and reads in it.

    Attributes:
        actor: who.
        now_microseconds: when.
        parts: of the snapshot that are others now.
    """

    def __init__(self, connection: Any, actor: Actor, now_microseconds: int) -> None:  # noqa: ANN401  # of SQLAlchemy
        super().__init__(connection)
        self.actor = actor
        self.now_microseconds = now_microseconds
        self.parts: set[str] = set()
        counted = update(schema.revision).values(revision=schema.revision.c.revision + 1)
        self.revision: int = connection.execute(counted.returning(schema.revision.c.revision)).scalar_one()

    def add(self, kind: Kind[R], record: R, action: str = "create") -> R:
        """Make a record."""
        self._connection.execute(insert(kind.table).values(**_row(kind, record)))
        if isinstance(record, Key):
            self._add_token(record.token, record.id)
        self._noted(kind, None, record, action)
        return record

    def replace(self, kind: Kind[R], before: R, action: str = "update", **fields: Any) -> R:  # noqa: ANN401  # of any field
        """`before` with other values in some fields; nothing is written if they are the same."""
        after = msgspec.structs.replace(before, **fields)
        if after == before:
            return before
        after = msgspec.structs.replace(
            after, updated_at_microseconds=self.now_microseconds, updated_by=self.actor.name
        )
        change = update(kind.table).where(kind.table.c.id == before.id)
        self._connection.execute(change.values(**_row(kind, after)))
        if isinstance(before, Key) and isinstance(after, Key) and before.token != after.token:
            self._add_token(after.token, after.id)
        self._noted(kind, before, after, action)
        return after

    def remove(self, kind: Kind[R], record: R) -> None:
        """Delete a record, and the keys of a user or a team with it."""
        if kind is USERS or kind is TEAMS:
            for key in self.where(KEYS, f"{kind.name}_id", record.id):
                self.remove(KEYS, key)
        if isinstance(record, Key):
            self._touch_keys("id", record.id)
            gone = {"id": record.id, "user_id": record.user_id, "team_id": record.team_id}
            values = {**gone, "deleted_at_microseconds": self.now_microseconds, "data": _text(record)}
            # One that is made again with the same text, and deleted again, has the same id.
            self._connection.execute(delete(schema.deleted_keys).where(schema.deleted_keys.c.id == record.id))
            self._connection.execute(insert(schema.deleted_keys).values(**values))
            tokens = schema.key_tokens
            self._connection.execute(delete(tokens).where(tokens.c.key_id == record.id))
        self._noted(kind, record, None, "delete")
        self._connection.execute(delete(kind.table).where(kind.table.c.id == record.id))

    def end_token(self, token: str, until_microseconds: int | None) -> None:
        """Let an old token of a key end then, or now for `None`."""
        tokens = schema.key_tokens
        self.parts.add(part_of_key(token))
        if until_microseconds is None:
            self._connection.execute(delete(tokens).where(tokens.c.token == token))
            return
        change = update(tokens).where(tokens.c.token == token)
        self._connection.execute(change.values(until_microseconds=until_microseconds))

    def end_old_tokens(self, key: Key) -> None:
        """Forget what was kept of a key's old tokens: when it is made anew, one of them may stay."""
        tokens = schema.key_tokens.c
        query = select(tokens.token).where(tokens.key_id == key.id, tokens.token != key.token)
        for token in self._connection.execute(query).scalars().all():
            self.end_token(token, None)

    def finish(self) -> None:
        """Tell other control planes what is to be looked at again."""
        told = {"revision": self.revision, "parts": _encode(sorted(self.parts)).decode()}
        self._connection.execute(insert(schema.changes).values(**told))
        old = delete(schema.changes).where(schema.changes.c.revision <= self.revision - MAX_CHANGES)
        self._connection.execute(old)

    def _add_token(self, token: str, key_id: str) -> None:
        part = part_of_key(token)
        values = {"token": token, "key_id": key_id, "part": number_of(part)}
        self._connection.execute(insert(schema.key_tokens).values(**values))
        self.parts.add(part)

    def _noted(self, kind: Kind[R], before: R | None, after: R | None, action: str) -> None:
        record = after if after is not None else before
        assert record is not None  # noqa: S101  # for the checker
        if isinstance(record, Budget):
            self._touch_users_of(record.id)
        else:
            self.parts.add(part_of_scope(f"{kind.name}:{record.id}"))
        if isinstance(before, Key):
            self._touch_keys("id", record.id)
        if isinstance(record, Team):
            self._keep_members(after if isinstance(after, Team) else None, record.id)
        old, new = _told(before), _told(after)
        if old is not None and new is not None:
            same = {name for name in old.keys() & new.keys() if old[name] == new[name]}
            old = {name: old[name] for name in old if name not in same}
            new = {name: new[name] for name in new if name not in same}
        self.note(kind.name, record.id, action, new, before=old)

    def note(
        self,
        kind: str,
        object_id: str,
        action: str,
        after: dict[str, Any] | None,
        *,
        before: dict[str, Any] | None = None,
    ) -> None:
        """Put a change into the audit log."""
        values = {
            "at_microseconds": self.now_microseconds,
            "revision": self.revision,
            "actor": self.actor.name,
            "client_address": self.actor.client_address,
            "action": action,
            "kind": kind,
            "object_id": object_id,
            "before": None if before is None else _encode(before).decode(),
            "after": None if after is None else _encode(after).decode(),
        }
        self._connection.execute(insert(schema.audit).values(**values))

    def _keep_members(self, team: Team | None, team_id: str) -> None:
        members = schema.team_members
        self._connection.execute(delete(members).where(members.c.team_id == team_id))
        if team is not None and team.members:
            rows = [{"team_id": team_id, "user_id": user_id} for user_id in {m.user_id for m in team.members}]
            self._connection.execute(insert(members), rows)

    def _touch_keys(self, column: str, value: str) -> None:
        tokens, table = schema.key_tokens.c, schema.keys.c
        query = select(tokens.part).where(table[column] == value, tokens.key_id == table.id).distinct()
        self.parts |= {part_of_key(f"{part:02x}") for part in self._connection.execute(query).scalars()}

    def _touch_users_of(self, budget_id: str) -> None:
        for kind in SCOPED:
            query = select(kind.table.c.part).where(kind.table.c.budget_id == budget_id).distinct()
            self.parts |= {f"scopes.{part:02x}" for part in self._connection.execute(query).scalars()}


class Access:
    """Keys and whom and what they belong to. Safe to call from several threads.

    Every method raises StoreUnavailable when the database is away: nothing was done then.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    @contextmanager
    def look(self) -> Iterator[Look]:
        """Read in one transaction."""
        with translated(), self._engines.read.connect() as connection:
            yield Look(connection)

    def change(self, actor: Actor, now_microseconds: int, work: Callable[[Change], T]) -> tuple[T, Change]:
        """Do `work` in one transaction; what it raises undoes all of it.

        Returns:
            What `work` returned, and the change, which is committed.
        """
        with translated(), self._engines.write.begin() as connection:
            change = Change(connection, actor, now_microseconds)
            done = work(change)
            change.finish()
        return done, change

    def revision(self) -> int:
        """Of the last change, 0 before the first."""
        with translated(), self._engines.read.connect() as connection:
            return int(connection.execute(select(schema.revision.c.revision)).scalar_one())

    def touched_since(self, revision: int) -> tuple[int, set[str] | None]:
        """The revision now, and which parts are others since `revision`; `None` if that is forgotten."""
        table = schema.changes.c
        query = select(table.revision, table.parts).where(table.revision > revision).order_by(table.revision)
        with translated(), self._engines.read.connect() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return revision, set()
        if rows[0][0] != revision + 1:
            return rows[-1][0], None
        return rows[-1][0], {name for row in rows for name in msgspec.json.decode(row[1], type=list[str])}


def number_of(part: str) -> int:
    """The number in the name of a part: 171 for `keys.ab`."""
    return int(part[-2:], 16)


def _row(kind: Kind[R], record: R) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in kind.columns}
    part = number_of(part_of_scope(f"{kind.name}:{record.id}"))
    return {**values, "part": part, "data": _text(record)}


def _text(record: Record) -> str:
    return _encode(record).decode()


def _told(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    values: dict[str, Any] = msgspec.json.decode(_encode(record))
    return {name: value for name, value in values.items() if name not in _NOT_TOLD}
