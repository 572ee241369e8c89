"""Keys, users, teams, customers, budgets and tags, and the log of what was changed there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make their tables, and the one row that counts changes."""
    _records("access_keys", sa.Column("alias", sa.Text()), user_id=True, team_id=True)
    op.create_index("ux_access_keys_alias", "access_keys", ["alias"], unique=True)
    _records("access_users", email=True)
    _records("access_teams", alias=True)
    for name in ("access_customers", "access_budgets", "access_tags"):
        _records(name)
    op.create_table(
        "access_key_tokens",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("until_microseconds", sa.BigInteger()),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_access_key_tokens")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["access_keys.id"], name=op.f("fk_access_key_tokens_key_id"), ondelete="CASCADE"
        ),
    )
    _indexes("access_key_tokens", "key_id", "part")
    op.create_table(
        "access_deleted_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("team_id", sa.Text()),
        sa.Column("deleted_at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_deleted_keys")),
    )
    _indexes("access_deleted_keys", "user_id", "team_id", "deleted_at_microseconds")
    op.create_table(
        "access_team_members",
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "user_id", name=op.f("pk_access_team_members")),
        sa.ForeignKeyConstraint(
            ["team_id"], ["access_teams.id"], name=op.f("fk_access_team_members_team_id"), ondelete="CASCADE"
        ),
    )
    _indexes("access_team_members", "user_id")
    _log()


def _log() -> None:
    counted = op.create_table(
        "access_revision",
        sa.Column("one", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_access_revision")),
    )
    op.bulk_insert(counted, [{"one": 1, "revision": 0}])
    op.create_table(
        "access_changes",
        sa.Column("revision", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_access_changes")),
    )
    op.create_table(
        "audit",
        sa.Column("number", _INTEGER, nullable=False),
        sa.Column("at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("client_address", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    _indexes("audit", "at_microseconds")
    op.create_index("ix_audit_kind_object_id", "audit", ["kind", "object_id"])


def _records(name: str, *columns: sa.Column[str], **indexed: bool) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Text(), nullable=False),
        *columns,
        *(sa.Column(column, sa.Text()) for column in indexed),
        sa.Column("budget_id", sa.Text()),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("created_at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )
    _indexes(name, *indexed, "budget_id", "part", "created_at_microseconds")


def _indexes(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(f"ix_{table}_{column}", table, [column])
