"""The table of the sums of sessions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from ferryman.store.schema import metadata

session_sums = Table(
    "session_sums",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("last_place", BigInteger, nullable=False),
    Column("started_at_microseconds", BigInteger, nullable=False),  # the first of them
    Column("ended_at_microseconds", BigInteger, nullable=False),  # the last of them
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
)
"""What each session came to, by who called and by model; `''` is what an entry does not have.

With a number of its own in SQLite, not without: a row that changes is then taken out of two small indexes and
put into them again, which costs two thirds.

All of a session's entries count, those too that were deleted meanwhile; its rows go when the last of their
entries is as old as those are.
"""

Index("ix_session_sums_last_place", session_sums.c.last_place)
Index("ix_session_sums_principal_last_place", session_sums.c.principal, session_sums.c.last_place)
