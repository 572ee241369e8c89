"""What was spent, by scope and window: counted in the transaction in which the ledger's entries are inserted.

A counter is the sum of the ledger over its window, and of what open batches may cost. So nothing has to be
added up for a question, and nothing is counted twice, whoever is killed in between.

An entry belongs to the windows in which its exchange began. A counter is about one window: an entry of an
earlier one changes nothing any more, one of a later one lets it begin anew.

Workers count what they have spent themselves, until their journal is no more (see
`ferryman.control.authority`); `shares` tells how much of that is in the counters already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from ferryman.limits.patterns import covers
from ferryman.limits.spec import scope_ids
from ferryman.limits.windows import Calendar
from ferryman.model import SETTLEMENT
from ferryman.store.rows import POSITION, Row, tags_of
from ferryman.store.schema_counters import KEY

SECOND = 1_000_000
"""Microseconds."""

LOCK = 0x46455252434F554E
"""Of PostgreSQL's advisory locks, `FERRCOUN` in ASCII: shared by who charges, not by who defines."""

Key = tuple[str, str, str]
"""A scope's id, a duration, a pattern of models."""

_Values = tuple[str | int, ...]
_Where = tuple[str, str, str, int]
"""A key, and the start of a window."""


class Charged(NamedTuple):
    """What an entry of the ledger, or the hold of a batch, is charged to. An empty text is `None`.

    Attributes:
        nanousd: less than 0 for a hold that is over.
        model: as it was asked for.
        tags: each once.
        is_live: a worker has it in its own count, as long as its journal is there.
        more_models: of a batch, beside the first.
    """

    started_at_microseconds: int
    nanousd: int
    model: str | None = None
    principal: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    end_user: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] | None = None
    is_live: bool = True
    more_models: tuple[str, ...] = ()


_STARTED, _COST, _METHOD = (POSITION[name] for name in ("started_at_microseconds", "cost_nanousd", "method"))
_MODEL, _PRINCIPAL = POSITION["model"], POSITION["principal"]
_END_USER, _SESSION, _TAGS = POSITION["end_user"], POSITION["session_id"], POSITION["tags"]


def charged(row: Row) -> Charged:
    """What a row made by `ferryman.store.rows.row_of` is charged to."""
    return Charged(
        row[_STARTED],
        row[_COST] or 0,
        row[_MODEL],
        row[_PRINCIPAL],
        None,
        None,
        row[_END_USER],
        row[_SESSION],
        tuple(tags_of(row)) if row[_TAGS] else None,
        row[_METHOD] != SETTLEMENT,
    )


class Journal(NamedTuple):
    """Where entries come from.

    Attributes:
        name: of the journal.
        machine: whose it is, empty where there is only one.
    """

    name: str
    machine: str = ""


class _Group:
    """Entries that differ in nothing but their time and cost."""

    __slots__ = ("costs", "first", "last", "total")

    def __init__(self, at: int) -> None:
        self.costs: list[tuple[int, int]] = []
        self.first = self.last = at
        self.total = 0


class _Counter(NamedTuple):
    """A row of `counters`, but for what it has counted."""

    scope: str
    duration: str
    model: str
    anchor: str
    zone: str
    epoch: int
    shared_from: int


class _Sums:
    """What comes to each counter, by the start of the window."""

    def __init__(self) -> None:
        self.spent: dict[_Where, int] = {}
        self.shared: dict[_Where, int] = {}
        self.touched: dict[Key, _Counter] = {}

    def add(self, counter: _Counter, start: int, nanousd: int, at: int, *, is_live: bool) -> None:
        """Charge an amount of entries that began not before `at`."""
        if start < counter.epoch:
            return
        where = (counter.scope, counter.duration, counter.model, start)
        self.touched[where[:3]] = counter
        self.spent[where] = self.spent.get(where, 0) + nanousd
        if is_live and at >= counter.shared_from:
            self.shared[where] = self.shared.get(where, 0) + nanousd


def charge(connection: Connection, journal: Journal | None, entries: Iterable[Charged]) -> None:
    """Charge `entries` to all counters that they belong to.

    Args:
        connection: in the transaction in which the ledger gets these entries.
        journal: that they come from, `None` for no worker's.
        entries: each of which is new to the ledger.

    Raises:
        DBAPIError: as the driver has it; nothing may be committed then.
    """
    groups = _grouped(entries)
    if not groups:
        return
    by_group = {key: _scopes_of(key) for key in groups}
    counters = _counters(connection, sorted({scope for scopes in by_group.values() for scope in scopes}))
    if not counters:
        return
    sums = _Sums()
    calendars: dict[str, Calendar] = {}
    for key, group in groups.items():
        models = (key[0] or "", *key[8])
        for scope in by_group[key]:
            for counter in counters.get(scope, ()):
                if any(covers(counter.model, model) for model in models):
                    calendar = calendars.get(counter.zone)
                    if calendar is None:
                        calendar = calendars[counter.zone] = Calendar(counter.zone)
                    _add_group(sums, counter, group, calendar, is_live=key[7] and journal is not None)
    if sums.spent:
        _write(connection, journal, sums)


_GroupKey = tuple[
    *tuple[str | None, str | None, str | None, str | None, str | None, str | None],
    *tuple[tuple[str, ...] | None, bool, tuple[str, ...]],
]


def _grouped(entries: Iterable[Charged]) -> dict[_GroupKey, _Group]:
    groups: dict[_GroupKey, _Group] = {}
    for entry in entries:
        at, nanousd = entry[:2]
        if not nanousd:
            continue
        key = entry[2:]
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(at)
        elif at < group.first:
            group.first = at
        elif at > group.last:
            group.last = at
        group.costs.append((at, nanousd))
        group.total += nanousd
    return groups


def _scopes_of(key: _GroupKey) -> list[str]:
    _, principal, user_id, team_id, end_user, session_id, tags, _, _ = key
    named = (principal or None, user_id or None, team_id or None, end_user or None)
    return scope_ids(*named, list(tags) if tags else None, session_id or None)


def _add_group(sums: _Sums, counter: _Counter, group: _Group, calendar: Calendar, *, is_live: bool) -> None:
    """Charge a group at once where it lies in one window."""
    duration, anchor = counter.duration, counter.anchor
    start, end = calendar.span(duration, anchor, group.first / SECOND)
    is_one_share = group.first >= counter.shared_from or group.last < counter.shared_from or not is_live
    if is_one_share and (end is None or group.last < end * SECOND):
        sums.add(counter, start, group.total, group.first, is_live=is_live)
        return
    for at, nanousd in group.costs:
        start = calendar.span(duration, anchor, at / SECOND).start
        sums.add(counter, start, nanousd, at, is_live=is_live)


def _counters(connection: Connection, scopes: Sequence[str]) -> dict[str, list[_Counter]]:
    """The counters of these scopes; nobody makes another one before the end of the transaction."""
    names = "scope, duration, model, anchor, zone, epoch, shared_from_microseconds"
    query = f"SELECT {names} FROM counters WHERE scope"  # noqa: S608  # names of our own
    if connection.dialect.name == "sqlite":
        among = " IN (SELECT value FROM json_each(?))"
        rows = connection.exec_driver_sql(query + among, (json.dumps(scopes),))
    else:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
        rows = connection.exec_driver_sql(query + " = ANY(%s)", (list(scopes),))
    found: dict[str, list[_Counter]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(_Counter(*row))
    return found


def _write(connection: Connection, journal: Journal | None, sums: _Sums) -> None:
    """Write what belongs to the latest window of each counter, in the order of their keys.

    Of two writers one waits for the other.
    """
    latest: dict[Key, int] = {}
    for scope, duration, model, start in sums.spent:
        key = (scope, duration, model)
        latest[key] = max(latest.get(key, 0), start)
    spent: list[_Values] = []
    shared: list[_Values] = []
    for key in sorted(latest):
        counter, start = sums.touched[key], latest[key]
        where = (*key, start)
        spent.append((*key, counter.anchor, counter.zone, start, sums.spent[where]))
        if journal is not None and where in sums.shared:
            shared.append((journal.name, *key, journal.machine, start, sums.shared[where]))
    _many(connection, "counters", _COUNTED, spent, _SPEND)
    if shared:
        _many(connection, "shares", _SHARED, shared, _SHARE)


_COUNTED = (
    *KEY, "anchor", "zone", "epoch", "spent_nanousd", "adjusted_nanousd", "shared_from_microseconds"
)  # fmt: skip
_SHARED = ("journal", *KEY, "machine", "epoch", "stored_nanousd")
_NUMBERS = frozenset({"epoch", "spent_nanousd", "stored_nanousd"})


def _added(table: str, column: str) -> str:
    """What stands in a column after an upsert: of one window the sum, of two the later one's."""
    return (
        f"CASE WHEN excluded.epoch > {table}.epoch THEN excluded.{column} "
        f"WHEN excluded.epoch = {table}.epoch THEN {table}.{column} + excluded.{column} "
        f"ELSE {table}.{column} END"
    )


def _moved(table: str) -> str:
    later = f"excluded.epoch > {table}.epoch"
    return f"CASE WHEN {later} THEN excluded.epoch ELSE {table}.epoch END"


_SPEND = (
    "ON CONFLICT (scope, duration, model) DO UPDATE SET "
    f"spent_nanousd = {_added('counters', 'spent_nanousd')}, "
    "adjusted_nanousd = CASE WHEN excluded.epoch > counters.epoch THEN 0 ELSE counters.adjusted_nanousd END, "
    f"epoch = {_moved('counters')}"
)
_SHARE = (
    "ON CONFLICT (journal, scope, duration, model) DO UPDATE SET "
    f"stored_nanousd = {_added('shares', 'stored_nanousd')}, epoch = {_moved('shares')}"
)


def _many(
    connection: Connection,
    table: str,
    names: tuple[str, ...],
    rows: list[tuple[str | int, ...]],
    conflict: str,
) -> None:
    """Insert rows; what they have no value for is 0."""
    columns = ", ".join(names)
    sent = names[: len(rows[0])]
    zeros = ", 0" * (len(names) - len(sent))
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(sent))
        cursor = connection.connection.cursor()
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks}{zeros}) {conflict}", rows)  # noqa: S608  # names of our own
        return
    kinds = ", ".join(f"{name} {'bigint' if name in _NUMBERS else 'text'}" for name in sent)
    source = f"json_to_recordset(%s::json) AS sent ({kinds})"
    values = msgspec.json.encode([dict(zip(sent, row, strict=True)) for row in rows]).decode()
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({columns}) SELECT {', '.join(sent)}{zeros} FROM {source} {conflict}",  # noqa: S608  # names of our own
        (values,),
    )
