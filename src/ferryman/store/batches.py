"""Message batches: whose they are, what they may cost, and what they did cost, which is told once.

Who creates a batch pays for it, whoever reads its results, and whenever. The exchange that creates it leaves
a row here; that with all its results, or the poller, settles it: in one transaction the row gets its cost,
and the entries of the settlement are made, one for each model. Their ids come from the batch's, and the row
is settled only while it is open, so that a second reading, another machine or a crash changes nothing.

Results may come before the creation does, from another worker's journal: they wait in the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Table, Text, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ferryman.ledger.records import encode
from ferryman.limits.owner import Owner
from ferryman.model import SETTLEMENT, BatchResults, Ended, Entry
from ferryman.store.counters import Charged, charge
from ferryman.store.engine import Engines, translated
from ferryman.store.flat import Row
from ferryman.store.owners import Made, insert_many
from ferryman.store.rows import microseconds, moment, row_of
from ferryman.store.schema import metadata

OPEN, SETTLED, LOST, UNCLAIMED = "open", "settled", "lost", "unclaimed"
"""Not settled yet; settled; nothing will tell its cost any more; its results came, and we know no creator."""

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("entry_id", Text),  # of the exchange that has created it
    Column("created_at_microseconds", BigInteger, nullable=False),
    Column("principal", Text),
    Column("end_user", Text),
    Column("session_id", Text),
    Column("tags", Text),  # a JSON array
    Column("more", Text),  # a JSON object: what else its entries have of the one that has created it
    Column("models", Text, nullable=False),  # a JSON object: how many requests ask for each
    Column("requests", Integer),
    Column("hold_nanousd", BigInteger, nullable=False),  # 0 once it is not open any more
    Column("cost_nanousd", BigInteger),
    Column("settled_at_microseconds", BigInteger),
    Column("results", Text),  # of an unclaimed one: a `BatchResults`
    Column("polls", Integer, nullable=False),
    Column("poll_at_microseconds", BigInteger, nullable=False),
    Index("ix_batches_status_poll_at_microseconds", "status", "poll_at_microseconds"),
)
"""One row for each batch that was created through Ferryman, or whose results were read through it."""

_MORE = (
    *("credential", "client_address", "agent_id", "parent_agent_id", "request_class", "agent_type"),
    *("user_id", "team_id"),
)
_NOTES = "spend_logs_metadata"

NO_KEYS = frozenset({"open", "passthrough"})
"""Principals of callers without a virtual key."""

_decode_results = msgspec.json.Decoder(BatchResults).decode
_decode_tags = msgspec.json.Decoder(list[str]).decode
_decode_more = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_models = msgspec.json.Decoder(dict[str, int]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_notes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Due(NamedTuple):
    """A batch that is to be asked for.

    Attributes:
        polls: how often it was.
    """

    id: str
    created_at: datetime
    polls: int
    poll_at_microseconds: int


class Batches:
    """The batches that nobody has settled, for the poller."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def due(self, now: datetime, at_most: int) -> list[Due]:
        """Open ones whose time has come, those that wait longest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        table = batches.c
        query = (
            select(table.id, table.created_at_microseconds, table.polls, table.poll_at_microseconds)
            .where(table.status == OPEN, table.poll_at_microseconds <= microseconds(now))
            .order_by(table.poll_at_microseconds)
            .limit(at_most)
        )
        with translated(), self._engines.read.connect() as connection:
            return [Due(row[0], moment(row[1]), row[2], row[3]) for row in connection.execute(query)]

    def claim(self, one: Due, until: datetime) -> bool:
        """Ask for it here, and nowhere else before `until`; whether nobody else was first.

        Raises:
            StoreUnavailable: the database is away.
        """
        table = batches.c
        change = (
            update(batches)
            .where(table.id == one.id, table.poll_at_microseconds == one.poll_at_microseconds)
            .values(poll_at_microseconds=microseconds(until), polls=one.polls + 1)
        )
        with translated(), self._engines.write.begin() as connection:
            return connection.execute(change).rowcount == 1

    def lose(self, batch_id: str) -> bool:
        """Nothing will tell its cost any more; whether it was open until now.

        Raises:
            StoreUnavailable: the database is away.
        """
        change = update(batches).where(batches.c.id == batch_id, batches.c.status == OPEN)
        with translated(), self._engines.write.begin() as connection:
            row = _row(connection, batch_id)
            if row is None or connection.execute(change.values(status=LOST, hold_nanousd=0)).rowcount != 1:
                return False
            charge(connection, None, [_held(row, -1)])
            return True


def taken(connection: Connection, entries: Iterable[Entry], holds: list[Charged]) -> list[Row]:
    """Note what `entries` tell of batches; the rows of the settlements that follow from it.

    Args:
        connection: in the transaction in which these rows and those of `entries` are inserted.
        entries: of exchanges that tell of batches.
        holds: gets what is to be charged beside them.
    """
    made: list[Row] = []
    ordered = sorted(entries, key=_batch_id)  # of two writers one waits for the other
    for entry in ordered:
        if entry.batch is not None:
            made += _created(connection, entry, holds)
    for entry in ordered:
        if entry.settles is not None:
            made += settled(connection, entry.settles, entry.started_at, holds)
    return made


def settled(connection: Connection, results: BatchResults, at: datetime, holds: list[Charged]) -> list[Row]:
    """The rows that settle a batch; none if that was done before, or some of the results are missing.

    Args:
        connection: in the transaction in which they are inserted.
        results: all of them.
        at: when they were read.
        holds: gets what is to be charged beside them.
    """
    row = _row(connection, results.id)
    if row is None:
        waiting = {
            "id": results.id,
            "status": UNCLAIMED,
            "created_at_microseconds": microseconds(at),
            "models": "{}",
            "hold_nanousd": 0,
            "results": encode(results).decode(),
            "polls": 0,
            "poll_at_microseconds": 0,
        }
        _insert(connection, waiting)
        return []
    if row["status"] == UNCLAIMED:
        return []  # they wait already
    if row["requests"] is not None and results.lines < row["requests"]:
        return []  # its end was the end of a connection, say
    made = settlement(row, results)
    cost_nanousd = sum(entry.cost.nanousd for entry in made if entry.cost is not None)
    change = (
        update(batches)
        .where(batches.c.id == results.id, batches.c.status.in_((OPEN, LOST)))
        .values(
            status=SETTLED,
            hold_nanousd=0,
            cost_nanousd=cost_nanousd,
            settled_at_microseconds=microseconds(at),
            results=None,
        )
    )
    if connection.execute(change).rowcount != 1:
        return []
    holds.append(_held(row, -1))
    insert_many(connection, _owned(row, results, at))
    return [row_of(encode(entry)) for entry in made]


def _owned(row: Mapping[str, Any], results: BatchResults, at: datetime) -> list[Made]:
    """What the answers of a batch have made; nobody's if no virtual key has created it."""
    principal = row["principal"]
    if principal is None or principal in NO_KEYS:
        return []
    more = _decode_more(row["more"] or "{}")
    owner = Owner(principal, _decode_text(more["team_id"]) if "team_id" in more else None)
    return [Made(resource_id, kind, owner, at) for resource_id, kind in results.made.items()]


def settlement(row: dict[str, Any], results: BatchResults) -> list[Entry]:
    """The entries that charge a batch to whoever has created it, at the prices of then.

    Args:
        row: the batch's.
        results: all of them.
    """
    created_at = moment(row["created_at_microseconds"])
    price = max((i for i, day in enumerate(results.days) if day <= created_at.date()), default=0)
    more = _decode_more(row["more"] or "{}")
    notes = more.pop(_NOTES, None)
    texts: dict[str, Any] = {name: _decode_text(value) for name, value in more.items()}
    return [
        Entry(
            id=_entry_id(row["entry_id"], results.id, share.model),
            started_at=created_at,
            method=SETTLEMENT,
            path=f"/v1/messages/batches/{results.id}/results",
            ended=Ended.DONE,
            attempts=0,
            request_bytes=0,
            response_bytes=0,
            duration_seconds=0.0,
            status=200,
            model=share.model or None,
            usage=share.usage,
            usage_complete=not share.costs[price].estimated,
            cost=share.costs[price],
            principal=row["principal"],
            end_user=row["end_user"],
            session_id=row["session_id"],
            tags=None if row["tags"] is None else _decode_tags(row["tags"]),
            spend_logs_metadata=None if notes is None else _decode_notes(notes),
            **texts,
        )
        for share in results.shares
    ]


def _batch_id(entry: Entry) -> str:
    batch = entry.batch or entry.settles
    return "" if batch is None else batch.id


def _held(row: Mapping[str, Any], sign: int) -> Charged:
    """The hold of a batch, which its creator is charged with until it is settled.

    It is charged whole to each counter that one of its models belongs to.
    """
    more = _decode_more(row["more"] or "{}")
    user_id, team_id = (_decode_text(more[name]) if name in more else None for name in ("user_id", "team_id"))
    models = list(_decode_models(row["models"]))
    return Charged(
        row["created_at_microseconds"],
        sign * row["hold_nanousd"],
        models[0] if models else None,
        row["principal"],
        user_id,
        team_id,
        row["end_user"],
        row["session_id"],
        None if row["tags"] is None else tuple(_decode_tags(row["tags"])),
        is_live=sign > 0,
        more_models=tuple(models[1:]),
    )


def _created(connection: Connection, entry: Entry, holds: list[Charged]) -> list[Row]:
    batch = entry.batch
    assert batch is not None  # noqa: S101  # for the checker
    more = {name: value for name in (*_MORE, _NOTES) if (value := getattr(entry, name)) is not None}
    values = {
        "status": OPEN,
        "entry_id": entry.id,
        "created_at_microseconds": microseconds(entry.started_at),
        "principal": entry.principal,
        "end_user": entry.end_user,
        "session_id": entry.session_id,
        "tags": None if not entry.tags else encode(entry.tags).decode(),
        "more": encode(more).decode(),
        "models": encode(batch.models).decode(),
        "requests": batch.requests,
        "hold_nanousd": batch.hold_nanousd,
        "polls": 0,
        "poll_at_microseconds": microseconds(entry.started_at),
    }
    if _insert(connection, {"id": batch.id, **values}):
        holds.append(_held(values, 1))
        return []
    unclaimed = batches.c.id == batch.id, batches.c.status == UNCLAIMED
    if connection.execute(update(batches).where(*unclaimed).values(**values)).rowcount != 1:
        return []
    holds.append(_held(values, 1))
    row = _row(connection, batch.id)
    if row is None or row["results"] is None:
        return []
    return settled(connection, _decode_results(row["results"]), entry.started_at, holds)


def _insert(connection: Connection, values: dict[str, Any]) -> bool:
    """Make a row; whether there was none."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(batches).values(**values).on_conflict_do_nothing()
    # Its row tells: PostgreSQL's driver counts none for an insert.
    return connection.execute(statement.returning(batches.c.id)).first() is not None


def _row(connection: Connection, batch_id: str) -> dict[str, Any] | None:
    query = select(batches).where(batches.c.id == batch_id).with_for_update()
    found = connection.execute(query).mappings().first()
    return None if found is None else dict(found)


def _entry_id(entry_id: str, batch_id: str, model: str) -> str:
    """A UUIDv7 of the moment in which the batch was created; the same whenever it is asked for."""
    digits = hashlib.sha256(f"{batch_id} {model}".encode()).hexdigest()
    return f"{entry_id[:14]}7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"
