"""The tables of keys and of whom and what they belong to, and the log of what was changed there.

A row has what it is found by in columns, and all of it as JSON in `data`: a struct of
`ferryman.store.access_rows`. `part` is the number of the snapshot's part that its scope stands in (see
`ferryman.limits.spec.part_of_scope`), so that a change reads one part's rows and no others.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
)

from ferryman.store.schema import metadata

_INTEGER = BigInteger().with_variant(Integer, "sqlite")


def _records(name: str, *columns: Column[str]) -> Table:
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        *columns,
        Column("budget_id", Text, index=True),
        Column("part", SmallInteger, nullable=False, index=True),
        Column("created_at_microseconds", BigInteger, nullable=False, index=True),
        Column("data", Text, nullable=False),
    )


keys = _records(
    "access_keys",
    Column("alias", Text),
    Column("user_id", Text, index=True),
    Column("team_id", Text, index=True),
)
"""Virtual keys. `id` is the SHA-256 of the first one's text and stays when the key is made anew."""

Index("ux_access_keys_alias", keys.c.alias, unique=True)

key_tokens = Table(
    "access_key_tokens",
    metadata,
    Column("token", Text, primary_key=True),
    Column("key_id", Text, ForeignKey("access_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("part", SmallInteger, nullable=False, index=True),
    Column("until_microseconds", BigInteger),
)
"""The SHA-256 of each text that is a key now; `until` when an old one ends, NULL for the one in force.

`part` is that of `ferryman.limits.spec.part_of_key`.
"""

deleted_keys = Table(
    "access_deleted_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, index=True),
    Column("team_id", Text, index=True),
    Column("deleted_at_microseconds", BigInteger, nullable=False, index=True),
    Column("data", Text, nullable=False),
)
"""What was a key once: its entries stay, and with them whose they are."""

users = _records("access_users", Column("email", Text, index=True))
teams = _records("access_teams", Column("alias", Text, index=True))
customers = _records("access_customers")
budgets = _records("access_budgets")
tags = _records("access_tags")

team_members = Table(
    "access_team_members",
    metadata,
    Column("team_id", Text, ForeignKey("access_teams.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, primary_key=True, index=True),
)
"""Who is in which team once more, to find the teams of a user."""

revision = Table(
    "access_revision",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
"""One row, which every change counts up first: on PostgreSQL too, changes follow one upon the other."""

changes = Table(
    "access_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("parts", Text, nullable=False),
)
"""The parts of the snapshot that each of the latest revisions has touched, a JSON array."""

audit = Table(
    "audit",
    metadata,
    Column("number", _INTEGER, primary_key=True),
    Column("at_microseconds", BigInteger, nullable=False, index=True),
    Column("revision", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("client_address", Text),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Index("ix_audit_kind_object_id", "kind", "object_id"),
)
"""Every change: who, what, before and after; without secrets, since no row has any."""
