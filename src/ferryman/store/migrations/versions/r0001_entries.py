"""Entries, their tags, their sums by day, and the checkpoints of journals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _entries()
    _entries_indexes()
    _entry_tags()
    _rollup_groups()
    for name in ("rollups", "tag_rollups"):
        _rollups(name)
    _checkpoints()


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("place", _INTEGER, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("duration_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("status_class", sa.SmallInteger(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("principal", sa.Text(), nullable=True),
        sa.Column("end_user", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("model_key", sa.BigInteger(), nullable=True),
        sa.Column("principal_key", sa.BigInteger(), nullable=True),
        sa.Column("end_user_key", sa.BigInteger(), nullable=True),
        sa.Column("session_id_key", sa.BigInteger(), nullable=True),
        sa.Column("cost_nanousd", sa.BigInteger(), nullable=True),
        sa.Column("rest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_entries")),
    )


def _entries_indexes() -> None:
    for name in ("model", "principal", "end_user", "session_id"):
        _index(name, [f"{name}_key", "place"], f"{name}_key IS NOT NULL")
    _index("failed", ["place"], "failed")
    for name in ("status_class", "ended"):
        _index(name, [name, "place"], "failed")


def _entry_tags() -> None:
    op.create_table(
        "entry_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["place"], ["entries.place"], name=op.f("fk_entry_tags_place"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag", "place", name=op.f("pk_entry_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_entry_tags_place"), "entry_tags", ["place"], unique=False)


def _rollup_groups() -> None:
    op.create_table(
        "rollup_groups",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("end_user", sa.Text(), nullable=False),
        sa.Column("status_class", sa.SmallInteger(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rollup_groups")),
        sa.UniqueConstraint(
            "tag", "model", "principal", "end_user", "status_class", "ended", name="uq_rollup_groups"
        ),
    )


def _rollups(name: str) -> None:
    op.create_table(
        name,
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("group_number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_creation_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("ephemeral_5m_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("ephemeral_1h_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("web_search_requests", sa.BigInteger(), nullable=False),
        sa.Column("web_fetch_requests", sa.BigInteger(), nullable=False),
        sa.Column("thinking_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "group_number", name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_microseconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_checkpoints")),
    )


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(f"ix_entries_{name}", "entries", columns, sqlite_where=where, postgresql_where=where)
