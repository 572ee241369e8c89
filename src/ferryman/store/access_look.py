"""Finds keys, users, teams, customers, budgets, tags, and what was changed of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, select

from ferryman.store import schema_access as schema
from ferryman.store.access_rows import AuditRow, Budget, Customer, Key, Record, Tag, Team, Terms, User

R = TypeVar("R", bound=Record)

STEP = 500
"""Ids in one question; SQLite takes 32,766."""

_HASH = re.compile(r"[0-9a-f]{64}")


class Kind(Generic[R]):
    """One of the kinds of records.

    Attributes:
        name: as in ids of scopes and in the audit log.
        table: where it stands.
        columns: attributes of the record that are columns too.
        decode: a record from its JSON.
    """

    def __init__(self, name: str, table: Table, shape: type[R], *columns: str) -> None:
        self.name = name
        self.table = table
        self.columns = (*columns, "id", "budget_id", "created_at_microseconds")
        self.decode = msgspec.json.Decoder(shape).decode

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"


KEYS = Kind("key", schema.keys, Key, "alias", "user_id", "team_id")
USERS = Kind("user", schema.users, User, "email")
TEAMS = Kind("team", schema.teams, Team, "alias")
CUSTOMERS = Kind("customer", schema.customers, Customer)
BUDGETS = Kind("budget", schema.budgets, Budget)
TAGS = Kind("tag", schema.tags, Tag)

KINDS: tuple[Kind[Any], ...] = (KEYS, USERS, TEAMS, CUSTOMERS, BUDGETS, TAGS)
SCOPED: tuple[Kind[Any], ...] = (KEYS, USERS, TEAMS, CUSTOMERS, TAGS)
"""Those that are scopes: a budget is not, it only lends its terms."""

_NO_TERMS = {name: getattr(Terms(), name) for name in Terms.__struct_fields__}


class Found(NamedTuple):
    """A page of a list.

    Attributes:
        total: how many there are on all pages.
    """

    records: list[Any]
    total: int


def token_of(text: str) -> str:
    """The SHA-256 of a key's text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def has_terms(record: Record) -> bool:
    """Whether `record` has limits or budgets, be it by its `budget_id`."""
    if record.budget_id is not None:
        return True
    return any(getattr(record, name) != nothing for name, nothing in _NO_TERMS.items())


class Look:
    """Reads in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, kind: Kind[R], record_id: str) -> R | None:
        """The record with this id, `None` if there is none."""
        table = kind.table.c
        found = self._connection.execute(select(table.data).where(table.id == record_id)).scalar()
        return None if found is None else kind.decode(found)

    def many(self, kind: Kind[R], record_ids: Iterable[str]) -> dict[str, R]:
        """Those records of `record_ids` that there are, by their ids."""
        table, ids = kind.table.c, sorted(set(record_ids))
        found: dict[str, R] = {}
        for start in range(0, len(ids), STEP):
            query = select(table.id, table.data).where(table.id.in_(ids[start : start + STEP]))
            found |= {row[0]: kind.decode(row[1]) for row in self._connection.execute(query)}
        return found

    def where(self, kind: Kind[R], column: str, value: object) -> list[R]:
        """All records with `value` in a column, oldest first."""
        table = kind.table.c
        query = select(table.data).where(table[column] == value)
        return self._decoded(kind, query.order_by(table.created_at_microseconds, table.id))

    def page(
        self,
        kind: Kind[R],
        conditions: Sequence[ColumnElement[bool]] = (),
        *,
        limit: int,
        skip: int = 0,
        order: Sequence[ColumnElement[Any]] = (),
    ) -> Found:
        """At most `limit` records, newest first unless there is another `order`."""
        table = kind.table.c
        total = select(func.count()).select_from(kind.table).where(*conditions)
        ordered = [*order] or [table.created_at_microseconds.desc()]
        query = select(table.data).where(*conditions).order_by(*ordered, table.id)
        records = self._decoded(kind, query.limit(limit).offset(skip))
        return Found(records, self._connection.execute(total).scalar_one())

    def count(self, kind: Kind[R], *conditions: ColumnElement[bool]) -> int:
        """How many there are."""
        query = select(func.count()).select_from(kind.table).where(*conditions)
        return self._connection.execute(query).scalar_one()

    def key(self, named: str) -> Key | None:
        """The key that is named by its text, the SHA-256 of that, or its id; `None` if there is none."""
        token = named if _HASH.fullmatch(named) else token_of(named)
        return self.get(KEYS, token) or self.key_with(token)

    def key_with(self, token: str, now_microseconds: int | None = None) -> Key | None:
        """The key with this token; only one that is good at that time if one is told."""
        tokens, table = schema.key_tokens.c, schema.keys.c
        query = select(table.data, tokens.until_microseconds).where(
            tokens.token == token, table.id == tokens.key_id
        )
        row = self._connection.execute(query).first()
        if row is None:
            return None
        key = KEYS.decode(row[0])
        if now_microseconds is not None:
            ends = [end for end in (row[1], key.expires_at_microseconds) if end is not None]
            if key.blocked or any(end <= now_microseconds for end in ends):
                return None
        return key

    def deleted_keys(self, *, limit: int, skip: int = 0) -> Found:
        """Keys that were deleted, latest first."""
        table = schema.deleted_keys
        total = self._connection.execute(select(func.count()).select_from(table)).scalar_one()
        query = select(table.c.data).order_by(table.c.deleted_at_microseconds.desc(), table.c.id)
        return Found(self._decoded(KEYS, query.limit(limit).offset(skip)), total)

    def keys_ever(self, key_ids: Iterable[str]) -> dict[str, Key]:
        """The keys with these ids, deleted ones too, by their ids."""
        ids, table = sorted(set(key_ids)), schema.deleted_keys.c
        found: dict[str, Key] = {}
        for start in range(0, len(ids), STEP):
            query = select(table.id, table.data).where(table.id.in_(ids[start : start + STEP]))
            found |= {row[0]: KEYS.decode(row[1]) for row in self._connection.execute(query)}
        return found | self.many(KEYS, ids)

    def key_ids(self, column: str, values: Sequence[str]) -> dict[str, list[str]]:
        """Ids of the keys of users or teams, deleted ones too, by the ids of those who have any."""
        found: dict[str, set[str]] = {}
        for table in (schema.keys, schema.deleted_keys):
            owner = table.c[column]
            for start in range(0, len(values), STEP):
                query = select(owner, table.c.id).where(owner.in_(values[start : start + STEP]))
                for name, key_id in self._connection.execute(query):
                    found.setdefault(name, set()).add(key_id)
        return {name: sorted(ids) for name, ids in found.items()}

    def teams_of(self, user_id: str) -> list[Team]:
        """The teams that a user is a member of."""
        members = schema.team_members.c
        query = select(schema.teams.c.data).where(
            members.user_id == user_id, schema.teams.c.id == members.team_id
        )
        return self._decoded(TEAMS, query.order_by(schema.teams.c.id))

    def teams_and_keys_of(self, user_ids: Sequence[str]) -> dict[str, tuple[list[Team], int]]:
        """The teams of each of these users, at most `STEP`, and how many keys they have."""
        members, keys = schema.team_members.c, schema.keys.c
        query = select(members.user_id, schema.teams.c.data).where(
            members.user_id.in_(user_ids), schema.teams.c.id == members.team_id
        )
        teams: dict[str, list[Team]] = {}
        for user_id, data in self._connection.execute(query.order_by(schema.teams.c.id)):
            teams.setdefault(user_id, []).append(TEAMS.decode(data))
        counted = select(keys.user_id, func.count()).where(keys.user_id.in_(user_ids)).group_by(keys.user_id)
        counts = {row[0]: int(row[1]) for row in self._connection.execute(counted)}
        return {one: (teams.get(one, []), counts.get(one, 0)) for one in user_ids}

    def audit(
        self, conditions: Sequence[ColumnElement[bool]] = (), *, limit: int, skip: int = 0
    ) -> tuple[list[AuditRow], int]:
        """Changes, latest first, and how many there are."""
        table = schema.audit
        total = select(func.count()).select_from(table).where(*conditions)
        query = select(table).where(*conditions).order_by(table.c.number.desc()).limit(limit).offset(skip)
        rows = [_audit_row(row) for row in self._connection.execute(query)]
        return rows, self._connection.execute(total).scalar_one()

    def _decoded(self, kind: Kind[R], query: Select[Any]) -> list[R]:
        return [kind.decode(row[0]) for row in self._connection.execute(query)]


def _audit_row(row: Row[Any]) -> AuditRow:
    values = row._asdict()
    for name in ("before", "after"):
        values[name] = None if values[name] is None else msgspec.Raw(values[name].encode())
    return AuditRow(**values)
