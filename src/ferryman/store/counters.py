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
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from ferryman.limits.patterns import covers
from ferryman.limits.spec import scope_ids
from ferryman.limits.windows import Calendar, Span
from ferryman.store.flat import Payers, Row
from ferryman.store.schema import COLUMNS

SECOND = 1_000_000
"""Microseconds."""

LOCK = 0x46455252434F554E
"""Of PostgreSQL's advisory locks, `FERRCOUN` in ASCII: shared by who charges, not by who defines."""

_STARTED: Final = COLUMNS.index("started_at_microseconds")
_COST: Final = COLUMNS.index("cost_nanousd")

Key = tuple[str, str, str]
"""A scope's id, a duration, a pattern of models."""

_Sum = tuple[int, int, int]
"""A counter's number, the start of a window, and how much is added."""


class Charged(NamedTuple):
    """What an entry of the ledger, or the hold of a batch, is charged to. An empty text is `None`.

    From `model` on they are as `Payers`.

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


def charged(row: Row) -> Charged:
    """What a row made by `ferryman.store.rows.row_of` is charged to."""
    return Charged(row.values[_STARTED], row.values[_COST] or 0, *row.payers)


class Journal(NamedTuple):
    """Where entries come from.

    Attributes:
        name: of the journal.
        machine: whose it is, empty where there is only one.
    """

    name: str
    machine: str = ""


class _Counter(NamedTuple):
    """A row of `counters`, but for what it has counted."""

    number: int
    scope: str
    duration: str
    model: str
    anchor: str
    zone: str
    epoch: int
    shared_from: int


class _Sums:
    """What comes to each counter in the latest of its windows: all in all, and as workers' own."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[int, int]] = {}
        self.shared: dict[int, tuple[int, int]] = {}

    def add(self, counter: _Counter, start: int, nanousd: int, *, is_shared: bool) -> None:
        """Charge an amount in the window that begins at `start`."""
        if start < counter.epoch:
            return
        sums, number = self.shared if is_shared else self.kept, counter.number
        there = sums.get(number)
        if there is None or there[0] < start:
            sums[number] = (start, nanousd)
        elif there[0] == start:
            sums[number] = (start, there[1] + nanousd)


def charge(
    connection: Connection, journal: Journal | None, entries: Sequence[Charged], rows: Sequence[Row] = ()
) -> None:
    """Charge `entries` and `rows` to all counters that they belong to.

    Args:
        connection: in the transaction in which the ledger gets these entries.
        journal: that they come from, `None` for no worker's.
        entries: each of which is new to the ledger.
        rows: more of them, as they are inserted.

    Raises:
        DBAPIError: as the driver has it; nothing may be committed then.
    """
    by_scope: dict[str, dict[_What, int]] = {}
    for key, nanousd in _grouped(entries, rows).items():
        what = _what_of(key, journal)
        for scope in _scopes_of(key):
            sums = by_scope.setdefault(scope, {})
            sums[what] = sums.get(what, 0) + nanousd
    counters = _counters(connection, sorted(by_scope)) if by_scope else []
    if not counters:
        return
    found = _Sums()
    windows = _Windows(entries, rows)
    singly: list[Charged] = []
    for counter in counters:
        start, is_whole = windows.of(counter)
        for what, nanousd in by_scope[counter.scope].items():
            if not is_whole:
                singly = singly or [*entries, *map(charged, rows)]
                alike = [one for one in singly if _what_of(one[2:], journal) == what]
                _add_singly(found, counter, what, alike, windows)
            elif covers(counter.model, what[0]) or any(covers(counter.model, one) for one in what[1]):
                found.add(counter, start, nanousd, is_shared=what[2])
    _write(connection, journal, found)


_What = tuple[str, tuple[str, ...], bool]
"""A model, the others of a batch, and whether it is a worker's own."""


def _grouped(entries: Sequence[Charged], rows: Sequence[Row]) -> dict[Payers, int]:
    """What entries come to that differ in nothing but their time and cost."""
    groups: dict[Payers, int] = {}
    for entry in entries:
        if entry.nanousd:
            key: Payers = entry[2:]
            groups[key] = groups.get(key, 0) + entry.nanousd
    for row in rows:
        nanousd = row.values[_COST]
        if nanousd:
            payers = row.payers
            groups[payers] = groups.get(payers, 0) + nanousd
    return groups


def _what_of(key: Payers, journal: Journal | None) -> _What:
    return key[0] or "", key[8], key[7] and journal is not None


def _scopes_of(key: Payers) -> list[str]:
    _, principal, user_id, team_id, end_user, session_id, tags, _, _ = key
    named = (principal or None, user_id or None, team_id or None, end_user or None)
    return scope_ids(*named, list(tags) if tags else None, session_id or None)


class _Windows:
    """In which windows some entries lie."""

    def __init__(self, entries: Sequence[Charged], rows: Sequence[Row]) -> None:
        starts = [entry.started_at_microseconds for entry in entries if entry.nanousd]
        starts += [row.values[_STARTED] for row in rows if row.values[_COST]]
        self._first, self._last = min(starts), max(starts)
        self._calendars: dict[str, Calendar] = {}
        self._found: dict[tuple[str, str, str], tuple[int, bool]] = {}

    def of(self, counter: _Counter) -> tuple[int, bool]:
        """Where the window of the first begins, and whether all of them lie in it, and are alike."""
        key = counter.duration, counter.anchor, counter.zone
        found = self._found.get(key)
        if found is None:
            start, end = self.span(counter, self._first)
            found = self._found[key] = (start, end is None or self._last < end * SECOND)
        return found[0], found[1] and self._first >= counter.shared_from

    def span(self, counter: _Counter, at: int) -> Span:
        """The window that a moment is in."""
        calendar = self._calendars.get(counter.zone)
        if calendar is None:
            calendar = self._calendars[counter.zone] = Calendar(counter.zone)
        return calendar.span(counter.duration, counter.anchor, at / SECOND)


def _add_singly(
    sums: _Sums, counter: _Counter, what: _What, entries: Sequence[Charged], windows: _Windows
) -> None:
    """Charge `entries`, all of which are `what`, one by one."""
    model, more, is_live = what
    if not any(covers(counter.model, one) for one in (model, *more)):
        return
    for entry in entries:
        if entry.nanousd and counter.scope in _scopes_of(entry[2:]):
            is_shared = is_live and entry[0] >= counter.shared_from
            sums.add(counter, windows.span(counter, entry[0]).start, entry[1], is_shared=is_shared)


def _counters(connection: Connection, scopes: Sequence[str]) -> list[_Counter]:
    """The counters of these scopes; nobody makes another one before the end of the transaction."""
    names = "number, scope, duration, model, anchor, zone, epoch, shared_from_microseconds"
    query = f"SELECT {names} FROM counters WHERE scope"  # noqa: S608  # names of our own
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        cursor.execute(f"{query} IN (SELECT value FROM json_each(?))", (json.dumps(scopes),))  # noqa: S608  # the same
        return [_Counter(*row) for row in cursor.fetchall()]
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
    return [_Counter(*row) for row in connection.exec_driver_sql(query + " = ANY(%s)", (list(scopes),))]


def _write(connection: Connection, journal: Journal | None, sums: _Sums) -> None:
    """Write the sums, in the order of the counters: of two writers one waits for the other."""
    kept = [(number, *sums.kept[number]) for number in sorted(sums.kept)]
    shared = [(number, *sums.shared[number]) for number in sorted(sums.shared)]
    if kept:
        keep_sums(connection, kept)
    if shared and journal is not None:
        _share(connection, shared, journal)


_KEEP = """
UPDATE counters SET
    spent_nanousd =
        CASE WHEN sent.epoch = counters.epoch THEN counters.spent_nanousd ELSE 0 END + sent.nanousd,
    adjusted_nanousd = CASE WHEN sent.epoch = counters.epoch THEN counters.adjusted_nanousd ELSE 0 END,
    epoch = sent.epoch
FROM ({}) AS sent
WHERE counters.number = sent.number AND sent.epoch >= counters.epoch
"""
_SHARE = """
INSERT INTO shares (counter, epoch, stored_nanousd, journal, machine) {}
ON CONFLICT (counter, journal) DO UPDATE SET
    stored_nanousd =
        CASE WHEN excluded.epoch = shares.epoch THEN shares.stored_nanousd ELSE 0 END
        + excluded.stored_nanousd,
    epoch = excluded.epoch
WHERE excluded.epoch >= shares.epoch
"""
_KEEP_SQLITE = _KEEP.format("SELECT ? AS number, ? AS epoch, ? AS nanousd")
_SHARE_SQLITE = _SHARE.format("VALUES (?, ?, ?, ?, ?)")
_FROM_SENT = "FROM json_to_recordset(%s::json) AS sent (number integer, epoch bigint, nanousd bigint)"
_KEEP_POSTGRES = _KEEP.format(f"SELECT * {_FROM_SENT}")
_SHARE_POSTGRES = _SHARE.format(f"SELECT number, epoch, nanousd, %s, %s {_FROM_SENT}")


def keep_sums(connection: Connection, rows: list[_Sum]) -> None:
    """Add to counters themselves: each one's number, the start of a window, and how much.

    An earlier window than a counter's changes nothing, a later one lets it begin anew.
    """
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().executemany(_KEEP_SQLITE, rows)
        return
    numbers = [row[0] for row in rows]
    order = "SELECT number FROM counters WHERE number = ANY(%s) ORDER BY number FOR UPDATE"
    connection.exec_driver_sql(order, (numbers,))
    connection.exec_driver_sql(_KEEP_POSTGRES, (_sent(rows),))


def _share(connection: Connection, rows: list[_Sum], journal: Journal) -> None:
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().executemany(_SHARE_SQLITE, [(*row, *journal) for row in rows])
    else:
        connection.exec_driver_sql(_SHARE_POSTGRES, (*journal, _sent(rows)))


def _sent(rows: list[_Sum]) -> str:
    names = ("number", "epoch", "nanousd")
    return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()
