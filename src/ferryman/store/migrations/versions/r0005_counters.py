"""What was spent of each budget, and how machines share it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = ("scope", "duration", "model")


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "counters",
        sa.Column("number", sa.Integer(), nullable=False),
        *_texts(*_KEY, "anchor", "zone"),
        *_numbers("epoch", "spent_nanousd", "adjusted_nanousd", "shared_from_microseconds"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_counters")),
        sa.UniqueConstraint(*_KEY, name="uq_counters"),
    )
    op.create_table(
        "shares",
        _counter(),
        *_texts("journal", "machine"),
        *_numbers("epoch", "stored_nanousd"),
        sa.PrimaryKeyConstraint("counter", "journal", name=op.f("pk_shares")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "grants",
        _counter(),
        *_texts("machine"),
        *_numbers("epoch", "granted_nanousd", "spent_nanousd"),
        sa.PrimaryKeyConstraint("counter", "machine", name=op.f("pk_grants")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "machines",
        *_texts("id", "host"),
        *_numbers("seen_at_microseconds"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
    )


def _counter() -> sa.Column[int]:
    return sa.Column("counter", sa.Integer(), autoincrement=False, nullable=False)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
