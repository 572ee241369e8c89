"""The table of the bodies of requests and answers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Table, Text

from ferryman.store.schema import metadata

bodies = Table(
    "bodies",
    metadata,
    Column("entry_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # `request` or `response`
    Column("created_at_microseconds", BigInteger, nullable=False, index=True),
    Column("total_bytes", BigInteger, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("redacted", Boolean, nullable=False),
    Column("text", Text, nullable=False),  # JSON
)
"""A row for each body that was kept. It may be there before its entry is, and none need be there at all."""
