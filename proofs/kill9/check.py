"""What the ledger has to know, against what clients and the upstream have seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import asdict
from sqlalchemy import func, select

from ferryman.model import Entry, Usage
from ferryman.settings_store import Postgres, SqliteFile
from ferryman.store import schema
from ferryman.store.engine import open_engines
from ferryman.store.rows import entry_of
from ferryman.store.schema_sessions import session_sums
from proofs.kill9.client import Answer, Clients
from proofs.kill9.family import Family
from proofs.kill9.upstream import Upstream
from proofs.soak.process import Failed

SHOWN = 5

_FIELDS = (*Entry.__struct_fields__, *Usage.__struct_fields__)


class Ledger:
    """The entries and the sums, as they stand in the database."""

    def __init__(self, target: SqliteFile | Postgres) -> None:
        engines = open_engines(target)
        table, sums = schema.entries, schema.rollups
        with engines.read.connect() as connection:
            self.rows = [_fields(dict(row._mapping)) for row in connection.execute(select(table))]
            columns = [func.coalesce(func.sum(sums.c[name]), 0) for name in schema.MEASURES]
            self.sums = dict(
                zip(schema.MEASURES, map(int, connection.execute(select(*columns)).one()), strict=True)
            )
            of_sessions = select(func.coalesce(func.sum(session_sums.c.requests), 0))
            self.requests_of_sessions = int(connection.execute(of_sessions).scalar_one())
            self.checkpoints = len(connection.execute(select(schema.checkpoints)).all())
        engines.read.dispose()
        engines.write.dispose()
        self.by_id = {row["id"]: row for row in self.rows}
        self.ended = Counter(row["ended"] for row in self.rows)


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """What an entry has, by name: itself, of its usage, and its columns."""
    entry = entry_of(row)
    return asdict(entry.usage or Usage()) | asdict(entry) | row


class Check:
    """Holds one against the other.

    Attributes:
        table: what was looked at, and how many were wrong.
        wrong: some of those.
    """

    def __init__(self, ledger: Ledger, clients: Clients, upstream: Upstream) -> None:
        self.table: list[tuple[str, int, int]] = []
        self.wrong: list[str] = []
        self._ledger = ledger
        self._by_session = {row["session_id"]: row for row in ledger.rows}
        self._completed(clients)
        self._reached(upstream)
        self._entries(clients, upstream)
        self._sums()

    def print_table(self) -> None:
        """Print what was looked at."""
        print(f"\n{'':<52} {'seen':>7} {'wrong':>6}")
        for what, seen, wrong in self.table:
            print(f"{what:<52} {seen:>7} {wrong:>6}")

    def _look(self, what: str, things: list[Any], wrong: Callable[[Any], object]) -> None:
        bad = [thing for thing in things if wrong(thing)]
        self.table.append((what, len(things), len(bad)))
        self.wrong += [f"{what}: not {one}" for one in bad[:SHOWN]]

    def _completed(self, clients: Clients) -> None:
        rows, nothing = self._ledger.by_id, dict.fromkeys(_FIELDS)

        def usage_differs(answer: Answer) -> bool:
            row = rows.get(answer.id, nothing)
            told = (answer.status, answer.input_tokens, answer.output_tokens, answer.upstream_id)
            kept = (row["status"], row["input_tokens"], row["output_tokens"], row["upstream_request_id"])
            return told != kept or row["session_id"] != answer.session

        def is_interrupted(answer: Answer) -> bool:
            return bool(rows.get(answer.id, nothing)["ended"] == "interrupted")

        whole = [answer for answer in clients.answers if answer.whole]
        begun = [answer for answer in clients.answers if not answer.whole]
        told = [answer for answer in begun if answer.input_tokens is not None]
        self._look("answers read to the end have an entry", whole, lambda one: one.id not in rows)
        self._look("… with their status, usage and request", whole, usage_differs)
        self._look("… that is not marked interrupted", whole, is_interrupted)
        self._look("answers not read to the end have an entry", begun, lambda one: one.id not in rows)
        self._look(
            "… with the input that the client saw",
            told,
            lambda one: rows.get(one.id, nothing)["input_tokens"] != one.input_tokens,
        )

    def _reached(self, upstream: Upstream) -> None:
        rows = self._by_session
        reached = list(upstream.reached)
        self._look("requests that reached the upstream have an entry", reached, lambda one: one not in rows)
        self._look(
            "… with as many attempts",
            reached,
            lambda one: one in rows and rows[one]["attempts"] < upstream.reached[one],
        )

    def _entries(self, clients: Clients, upstream: Upstream) -> None:
        rows = self._ledger.rows
        sessions = Counter(row["session_id"] for row in rows)
        self._look("requests have one entry at most", list(sessions), lambda one: sessions[one] > 1)
        made = clients.sessions
        self._look("entries are of requests that were made", list(sessions), lambda one: one not in made)
        answered = [row for row in rows if row["upstream_request_id"] is not None]
        told = Counter(row["upstream_request_id"] for row in answered)
        self._look("answers of the upstream are in one entry at most", list(told), lambda one: told[one] > 1)
        self._look(
            "… that of their request",
            answered,
            lambda row: upstream.sessions.get(row["upstream_request_id"]) != row["session_id"],
        )
        interrupted = [row for row in rows if row["ended"] == "interrupted"]
        self._look(
            "interrupted entries say so",
            interrupted,
            lambda row: row["status"] is not None or row["usage_complete"] or not row["error"],
        )

    def _sums(self) -> None:
        rows = self._ledger.rows
        for name in ("requests", "errors", "input_tokens", "output_tokens"):
            column = {"errors": "failed"}.get(name, name)
            total = len(rows) if name == "requests" else sum(row[column] or 0 for row in rows)
            kept = self._ledger.sums[name]
            self._look(f"roll-ups: {name}", [(total, kept)], lambda pair: pair[0] != pair[1])
        total = sum(row["session_id"] is not None for row in rows)
        kept = self._ledger.requests_of_sessions
        self._look("sums of sessions: requests", [(total, kept)], lambda pair: pair[0] != pair[1])


class Verdict(NamedTuple):
    """What came of a proof: `problems` is empty if it holds."""

    ledger: Ledger
    check: Check
    problems: list[str]


def conclude(family: Family, clients: Clients, upstream: Upstream, target: SqliteFile | Postgres) -> Verdict:
    """Let the gateway store what it has and end, and hold the ledger at `target` against what was seen."""
    problems = []
    try:
        family.stop()
    except Failed as error:
        problems.append(str(error))
    if left := family.open_journals():
        problems.append(f"journals left after the end: {left}")
    ledger = Ledger(target)
    check = Check(ledger, clients, upstream)
    return Verdict(ledger, check, [*problems, *clients.broken, *check.wrong])
