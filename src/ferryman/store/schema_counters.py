"""The tables of what was spent: one counter for each window of a budget, and who may spend how much of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from ferryman.store.schema import metadata

KEY = ("scope", "duration", "model")
"""What a counter is found by: an id (`ferryman.limits.spec.scope_ids`), a duration, a pattern of models."""

counters = Table(
    "counters",
    metadata,
    *(Column(name, Text, primary_key=True) for name in KEY),
    Column("anchor", Text, nullable=False),
    Column("zone", Text, nullable=False),  # an IANA name: whose midnights count
    Column("epoch", BigInteger, nullable=False),  # Unix seconds: the start of the window that it counts
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("adjusted_nanousd", BigInteger, nullable=False),  # of it what no entry and no hold accounts for
    Column("shared_from_microseconds", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What was spent in the newest window: the sum of the ledger and of what open batches may cost.

What started before `shared_from_microseconds` is not in `shares`: then not every worker knew of the budget.
"""

shares = Table(
    "shares",
    metadata,
    Column("journal", Text, primary_key=True),
    *(Column(name, Text, primary_key=True) for name in KEY),
    Column("machine", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("stored_nanousd", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How much of each counter came from a journal that is still there: its worker counts that too."""

grants = Table(
    "grants",
    metadata,
    Column("machine", Text, primary_key=True),
    *(Column(name, Text, primary_key=True) for name in KEY),
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
