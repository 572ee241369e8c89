"""The table of who made what at Anthropic."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from ferryman.store.schema import metadata

owners = Table(
    "owners",
    metadata,
    Column("id", Text, primary_key=True),  # Anthropic's; ids of different kinds have different prefixes
    Column("kind", Text, nullable=False),  # the collection, see `ferryman.wire.owned`
    Column("key_id", Text, nullable=False),
    Column("team_id", Text),
    Column("made_at_microseconds", BigInteger, nullable=False),
    Index("ix_owners_kind_made_at_microseconds", "kind", "made_at_microseconds"),
    sqlite_with_rowid=False,
)
"""One row for each file, batch, skill, session and the like that was made with a virtual key."""
