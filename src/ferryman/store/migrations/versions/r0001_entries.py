"""Entries, their tags, their sums by day, and the checkpoints of journals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _entries()
    _entries_indexes()
    _entry_tags()
    _rollups()
    _tag_rollups()
    _checkpoints()


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=True),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("client_address", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.Column("parent_agent_id", sa.Text(), nullable=True),
        sa.Column("request_class", sa.Text(), nullable=True),
        sa.Column("agent_type", sa.Text(), nullable=True),
        sa.Column("end_user", sa.Text(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("spend_logs_metadata", sa.JSON(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("status_class", sa.SmallInteger(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("upstream_request_id", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_creation_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_read_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("ephemeral_5m_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("ephemeral_1h_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("web_search_requests", sa.BigInteger(), nullable=True),
        sa.Column("web_fetch_requests", sa.BigInteger(), nullable=True),
        sa.Column("thinking_tokens", sa.BigInteger(), nullable=True),
        sa.Column("service_tier", sa.Text(), nullable=True),
        sa.Column("inference_geo", sa.Text(), nullable=True),
        sa.Column("speed", sa.Text(), nullable=True),
        sa.Column("iterations", sa.JSON(), nullable=True),
        sa.Column("usage_complete", sa.Boolean(), nullable=False),
        sa.Column("request_bytes", sa.BigInteger(), nullable=False),
        sa.Column("response_bytes", sa.BigInteger(), nullable=False),
        sa.Column("duration_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("time_to_first_byte_microseconds", sa.BigInteger(), nullable=True),
        sa.Column("overhead_microseconds", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
    )


def _entries_indexes() -> None:
    given = ("model", "principal", "end_user", "session_id")
    _index("ix_entries_started", ["started_at_microseconds"], None)
    for name in given:
        _index(f"ix_entries_{name}_started", [name, "started_at_microseconds"], f"{name} IS NOT NULL")
    for name in ("status_class", "ended"):
        _index(f"ix_entries_{name}_started", [name, "started_at_microseconds"], "failed")
    _index("ix_entries_failed_started", ["started_at_microseconds"], "failed")


def _entry_tags() -> None:
    op.create_table(
        "entry_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("started_at_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.id"], name=op.f("fk_entry_tags_entry_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag", "started_at_microseconds", "entry_id", name=op.f("pk_entry_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_entry_tags_entry_id"), "entry_tags", ["entry_id"], unique=False)


def _rollups() -> None:
    op.create_table(
        "rollups",
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("principal", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("end_user", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("status_class", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ended", sa.Text(), autoincrement=False, nullable=False),
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
        sa.PrimaryKeyConstraint(
            "day", "model", "principal", "end_user", "status_class", "ended", name=op.f("pk_rollups")
        ),
        sqlite_with_rowid=False,
    )


def _tag_rollups() -> None:
    op.create_table(
        "tag_rollups",
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("status_class", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ended", sa.Text(), autoincrement=False, nullable=False),
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
        sa.PrimaryKeyConstraint("day", "tag", "model", "status_class", "ended", name=op.f("pk_tag_rollups")),
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


def _index(name: str, columns: list[str], condition: str | None) -> None:
    where = None if condition is None else sa.text(condition)
    op.create_index(name, "entries", columns, sqlite_where=where, postgresql_where=where)
