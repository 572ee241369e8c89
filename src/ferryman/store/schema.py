"""The tables. A change here needs a migration in `migrations/versions/`, which a test asks for.

Points in time are whole microseconds since 1970 in UTC, and lengths of time are microseconds, on both
databases: integers compare, sort and sum alike everywhere, and no session's time zone can change them.
"""

from __future__ import annotations

from sqlalchemy import (
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
    UniqueConstraint,
    text,
)

REVISION = "0008"
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

COUNTED = (*TOKENS, "cost_nanousd")
"""What of an entry is added up, in this order in every table."""

MEASURES = ("requests", "errors", *COUNTED)
"""The sums in a roll-up."""

GROUP = ("tag", "model", "principal", "end_user", "status_class", "ended")
"""What roll-ups tell apart, beside the day."""

LOOKED_FOR = ("model", "principal", "end_user", "session_id")
"""Columns of `entries` that are found by `<name>_key` (see `ferryman.store.place`)."""

_INTEGER = BigInteger().with_variant(Integer, "sqlite")  # which SQLite takes for the number of the row itself

entries = Table(
    "entries",
    metadata,
    Column("place", _INTEGER, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("started_at_microseconds", BigInteger, nullable=False),
    Column("duration_microseconds", BigInteger, nullable=False),
    Column("ended", Text, nullable=False),
    Column("status", Integer),
    Column("status_class", SmallInteger, nullable=False),  # 2 for 2xx …; 0 is no answer
    Column("failed", Boolean, nullable=False),
    Column("model", Text),
    Column("principal", Text),
    Column("end_user", Text),
    Column("session_id", Text),
    *(Column(f"{name}_key", BigInteger) for name in LOOKED_FOR),
    Column("cost_nanousd", BigInteger),
    Column("rest", Text, nullable=False),  # JSON of `ferryman.store.flat.Rest`: what SQL has no need of
)
"""One row for each exchange, in the order of their starts.

A column costs every row a fifth of a microsecond and more, so these are only what is looked for, sorted by or
compared by the database.
"""

COLUMNS = tuple(column.name for column in entries.columns)


def _entries_index(name: str, column: str | None, condition: str) -> None:
    columns = [entries.c[one] for one in (column, "place") if one is not None]
    Index(f"ix_entries_{name}", *columns, sqlite_where=text(condition), postgresql_where=text(condition))


for _name in LOOKED_FOR:
    _entries_index(_name, f"{_name}_key", f"{_name}_key IS NOT NULL")
_entries_index("failed", None, "failed")  # success is the rule, so that only failures are worth it
_entries_index("status_class", "status_class", "failed")
_entries_index("ended", "ended", "failed")

entry_tags = Table(
    "entry_tags",
    metadata,
    Column("tag", Text, primary_key=True),
    Column(
        "place", BigInteger, ForeignKey("entries.place", ondelete="CASCADE"), primary_key=True, index=True
    ),
    sqlite_with_rowid=False,
)
"""The tags of the entries once more, to find entries by tag."""

rollup_groups = Table(
    "rollup_groups",
    metadata,
    Column("number", Integer, primary_key=True),
    *(Column(name, SmallInteger if name == "status_class" else Text, nullable=False) for name in GROUP),
    UniqueConstraint(*GROUP, name="uq_rollup_groups"),
)
"""What was added up together, once for all days. `''` is what an entry does not have."""


def _rollups(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("day", Date, primary_key=True, autoincrement=False),
        Column("group_number", Integer, primary_key=True, autoincrement=False),
        *(Column(name, BigInteger, nullable=False) for name in MEASURES),
        sqlite_with_rowid=False,
    )


rollups = _rollups("rollups")
"""Sums of entries by UTC day; they outlive the entries."""

tag_rollups = _rollups("tag_rollups")
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
