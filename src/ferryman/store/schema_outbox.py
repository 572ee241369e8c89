"""The tables of what is to be sent to sinks, in the order in which it was stored."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from ferryman.store.schema import metadata

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("machine", Text, nullable=False),  # whose control plane sends it, empty where there is only one
    Column("places", Text, nullable=False),  # JSON: of the entries of one transaction
    Column("stored_at_microseconds", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # no number comes twice, though rows are deleted
)
"""One row a transaction: it costs an entry nearly nothing, and nothing where there is no sink."""

sinks = Table(
    "sinks",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # the last row of `outbox` that has been sent as a whole
    Column("beyond", Integer, nullable=False),  # how many entries of the next row have been sent too
)
"""How far each sink is."""
