"""The bodies of requests and answers, as far as they were kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import delete, insert, select

from ferryman.store.engine import Engines, translated
from ferryman.store.rows import microseconds
from ferryman.store.schema_bodies import bodies

MAX_STEP = 100
"""Exchanges whose bodies are deleted in one transaction: with both at their cap some tens of megabytes."""

Kind = Literal["request", "response"]


class Body(NamedTuple):
    """A body.

    Attributes:
        entry_id: of its exchange.
        created_at_microseconds: when that began.
        total_bytes: of all of it, as it went over the wire.
        truncated: `text` has not all of it.
        redacted: by the rules of `log_bodies: redacted`.
        text: JSON; of a body that is none, a JSON text.
    """

    entry_id: str
    kind: Kind
    created_at_microseconds: int
    total_bytes: int
    truncated: bool
    redacted: bool
    text: str


class Bodies:
    """What was kept. Methods wait for the database, and raise StoreUnavailable while it is away."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def __repr__(self) -> str:
        return f"<Bodies in {self._engines.write.dialect.name}>"

    def insert(self, found: Iterable[Body]) -> None:
        """Keep these, in the place of what there was of their exchanges: they may be told twice."""
        rows = [one._asdict() for one in found]
        if not rows:
            return
        ids = sorted({row["entry_id"] for row in rows})
        with translated(), self._engines.write.begin() as connection:
            connection.execute(delete(bodies).where(bodies.c.entry_id.in_(ids)))
            connection.execute(insert(bodies), rows)

    def of(self, entry_id: str) -> dict[Kind, Body]:
        """The bodies of an exchange, by their kinds."""
        columns = [bodies.c[name] for name in Body._fields]
        with translated(), self._engines.read.connect() as connection:
            rows = connection.execute(select(*columns).where(bodies.c.entry_id == entry_id))
            found = [Body(*row) for row in rows]
        return {one.kind: one for one in found}

    def delete_before(self, moment: datetime, *, at_most: int = MAX_STEP) -> int:
        """Delete some of those that are older than `moment`; how many, 0 when none are left."""
        made = bodies.c.created_at_microseconds
        old = select(bodies.c.entry_id).where(made < microseconds(moment)).order_by(made).limit(at_most)
        with translated(), self._engines.write.begin() as connection:
            return connection.execute(delete(bodies).where(bodies.c.entry_id.in_(old))).rowcount
