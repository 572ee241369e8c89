"""The tables. A change here needs a migration in `migrations/versions/`, which a test asks for.

Points in time are whole microseconds since 1970 in UTC, and lengths of time are microseconds, on both
databases: integers compare, sort and sum alike everywhere, and no session's time zone can change them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

REVISION = "0001"
"""The newest migration; a database that is there needs none (and alembic is not loaded)."""

VERSION_TABLE = "ferryman_version"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "web_search_requests",
    "web_fetch_requests",
    "thinking_tokens",
)
"""What is counted, in this order in every table."""

MEASURES = ("requests", "errors", *TOKENS)
"""The sums in a roll-up."""

ROLLUP_KEY = ("day", "model", "principal", "end_user", "status_class", "ended")
TAG_ROLLUP_KEY = ("day", "tag", "model", "status_class", "ended")

entries = Table(
    "entries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at_microseconds", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("ended", Text, nullable=False),
    Column("principal", Text),
    Column("credential", Text),
    Column("client_address", Text),
    Column("session_id", Text),
    Column("agent_id", Text),
    Column("parent_agent_id", Text),
    Column("request_class", Text),
    Column("agent_type", Text),
    Column("end_user", Text),
    Column("tags", JSON),
    Column("spend_logs_metadata", JSON),
    Column("model", Text),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer),
    Column("status_class", SmallInteger, nullable=False),  # 2 for 2xx …; 0 is no answer
    Column("failed", Boolean, nullable=False),
    Column("error", Text),
    Column("upstream_request_id", Text),
    Column("attempts", Integer, nullable=False),
    *(Column(name, BigInteger) for name in TOKENS),
    Column("service_tier", Text),
    Column("inference_geo", Text),
    Column("speed", Text),
    Column("iterations", JSON),
    Column("usage_complete", Boolean, nullable=False),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_bytes", BigInteger, nullable=False),
    Column("duration_microseconds", BigInteger, nullable=False),
    Column("time_to_first_byte_microseconds", BigInteger),
    Column("overhead_microseconds", BigInteger),
)
"""One row for each exchange."""

COLUMNS = tuple(column.name for column in entries.columns)


def _entries_index(*names: str, where: str | None = None) -> None:
    """Index for a filter, newest first. The id is not in it: what began in one microsecond is sorted."""
    condition = None if where is None else text(where)
    columns = [entries.c[name] for name in (*names, "started_at_microseconds")]
    label = "_".join(["ix_entries", *names, "started"])
    if where == "failed" and not names:
        label = "ix_entries_failed_started"
    Index(label, *columns, sqlite_where=condition, postgresql_where=condition)


_entries_index()
_entries_index("model", where="model IS NOT NULL")
_entries_index("principal", where="principal IS NOT NULL")
_entries_index("end_user", where="end_user IS NOT NULL")
_entries_index("session_id", where="session_id IS NOT NULL")
_entries_index(where="failed")
_entries_index("status_class", where="failed")  # success is the rule, so that only failures are worth it
_entries_index("ended", where="failed")

entry_tags = Table(
    "entry_tags",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("started_at_microseconds", BigInteger, primary_key=True),
    Column("entry_id", Text, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)
"""The tags of the entries once more, to find entries by tag."""


def _rollup_columns(key: tuple[str, ...]) -> list[Column[Any]]:
    """`''` is what an entry does not have: a key has no nulls."""
    kinds: dict[str, TypeEngine[Any]] = {"day": Date(), "status_class": SmallInteger()}
    keys = [Column(name, kinds.get(name, Text()), primary_key=True, autoincrement=False) for name in key]
    return [*keys, *(Column(name, BigInteger, nullable=False) for name in MEASURES)]


rollups = Table("rollups", metadata, *_rollup_columns(ROLLUP_KEY), sqlite_with_rowid=False)
"""Sums of entries by UTC day; they outlive the entries."""

tag_rollups = Table("tag_rollups", metadata, *_rollup_columns(TAG_ROLLUP_KEY), sqlite_with_rowid=False)
"""The same by tag. An entry counts once for each of its tags, so that these sums are not to be added up."""

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("position", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("updated_at_microseconds", BigInteger, nullable=False),
)
"""How far each worker's journal is in `entries`."""
