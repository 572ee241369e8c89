"""The tables of what was spent: one counter for each window of a budget, and who may spend how much of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text, UniqueConstraint

from ferryman.store.schema import metadata

KEY = ("scope", "duration", "model")
"""What a counter is found by: an id (`ferryman.limits.spec.scope_ids`), a duration, a pattern of models."""

counters = Table(
    "counters",
    metadata,
    Column("number", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in KEY),
    Column("anchor", Text, nullable=False),
    Column("zone", Text, nullable=False),  # an IANA name: whose midnights count
    Column("epoch", BigInteger, nullable=False),  # Unix seconds: the start of the window that it counts
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("adjusted_nanousd", BigInteger, nullable=False),  # of it what no entry and no hold accounts for
    Column("shared_from_microseconds", BigInteger, nullable=False),
    UniqueConstraint(*KEY, name="uq_counters"),
)
"""What was spent in a window, but for what stands in `shares`.

What started before `shared_from_microseconds` is not in `shares`: then not every worker knew of the budget.
"""

shares = Table(
    "shares",
    metadata,
    Column("counter", Integer, primary_key=True, autoincrement=False),
    Column("journal", Text, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("stored_nanousd", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What of each counter came from a journal that is still there: its worker counts that too.

The sum of a counter and its shares of the newest window is that of the ledger and of open batches' holds.
"""

grants = Table(
    "grants",
    metadata,
    Column("counter", Integer, primary_key=True, autoincrement=False),
    Column("machine", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("granted_nanousd", BigInteger, nullable=False),
    Column("spent_nanousd", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What each machine may spend of a window, what it has spent included, and what came from its journals that
are no more. Only where machines share a database."""

machines = Table(
    "machines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("seen_at_microseconds", BigInteger, nullable=False),
)
"""Who shares the database, for whoever has to tell which of them is gone."""
