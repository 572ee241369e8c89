"""Entries priced anew, and their sums with them, while others write.

A step is one transaction over a few entries: what they cost now is read, compared and written under a
lock, and the difference goes into the sums by day and by session. So whoever is killed leaves whole steps,
and whoever does it again finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Table, and_, bindparam, func, select, update

from ferryman.model import Cost, Entry
from ferryman.store.counters import Charged, charge
from ferryman.store.engine import Engines, translated
from ferryman.store.place import MILLISECOND, first_place
from ferryman.store.read import Filter
from ferryman.store.rollup import OTHER
from ferryman.store.rows import cost_columns, entry_of, microseconds
from ferryman.store.schema import GROUP, entries, rollup_groups, rollups, tag_rollups
from ferryman.store.session_rows import Key
from ferryman.store.sessions import change_costs
from ferryman.store.walk import conditions

STEP_ENTRIES = 500
"""Entries of one transaction: some tens of milliseconds of the write lock, so that others get between."""


class Change(NamedTuple):
    """An entry that costs something else now.

    Attributes:
        model: as it is in the entry.
    """

    model: str
    before_nanousd: int
    after_nanousd: int


class Step(NamedTuple):
    """What a transaction has done.

    Attributes:
        priced: entries by model that have a usage.
        changes: of those the ones whose cost is another, in its sum or in how it came to be.
        next_place: where the next one begins, `None` if this was the last.
    """

    priced: dict[str, int]
    changes: list[Change]
    next_place: int | None


def span_of_time(engines: Engines, start: datetime, end: datetime) -> tuple[int, int]:
    """The places between which all entries stand that began from `start` on and before `end`.

    The second is less than the first if there are none.
    """
    low, high = first_place(start) - MILLISECOND, first_place(end) + 2 * MILLISECOND
    query = select(func.min(entries.c.place), func.max(entries.c.place))
    with translated(), engines.read.connect() as connection:
        found = connection.execute(query.where(entries.c.place.between(low, high))).one()
    return (0, -1) if found[0] is None else (found[0], found[1])


def reprice_step(
    engines: Engines,
    price: Callable[[Entry], Cost | None],
    wanted: Filter,
    span: tuple[int, int],
    *,
    dry_run: bool = False,
) -> Step:
    """Price the first entries of `span` that are wanted.

    Entries without usage are left alone, and so is one whose cost is the same in each part: it keeps the
    revision of the catalog that it was priced with first.

    Args:
        engines: ways to the database.
        price: the cost of an entry, `None` if it has none.
        wanted: which entries.
        span: the first place and the last.
        dry_run: write nothing.

    Raises:
        StoreUnavailable: the database is away; nothing of this step was done.
    """
    low, high = span
    query = select(entries).where(entries.c.place.between(low, high), *conditions(wanted))
    query = query.order_by(entries.c.place).limit(STEP_ENTRIES)
    engine = engines.read if dry_run else engines.write
    with translated(), engine.begin() as connection:
        rows = connection.execute(query if dry_run else query.with_for_update()).all()
        priced: dict[str, int] = {}
        changed: list[tuple[Row[tuple[int]], Entry, Cost]] = []
        for row in rows:
            entry = entry_of(row._asdict())
            cost = price(entry) if entry.usage is not None else None
            if cost is None:
                continue
            name = entry.model or ""
            priced[name] = priced.get(name, 0) + 1
            if not _same(entry.cost, cost):
                changed.append((row, entry, cost))
        if changed and not dry_run:
            _write(connection, changed)
    changes = [Change(entry.model or "", _nanousd(entry.cost), cost.nanousd) for _, entry, cost in changed]
    return Step(priced, changes, rows[-1].place + 1 if len(rows) == STEP_ENTRIES else None)


def _same(before: Cost | None, after: Cost) -> bool:
    return before is not None and before == msgspec.structs.replace(
        after, price_revision=before.price_revision
    )


def _nanousd(cost: Cost | None) -> int:
    return 0 if cost is None else cost.nanousd


def _write(connection: Connection, changed: Sequence[tuple[Row[tuple[int]], Entry, Cost]]) -> None:
    values = [{"at": row.place, **cost_columns(entry, cost)} for row, entry, cost in changed]
    connection.execute(update(entries).where(entries.c.place == bindparam("at")), values)
    sums: dict[tuple[str, int], int] = {}
    tag_sums: dict[tuple[str, int], int] = {}
    numbers: dict[tuple[str, tuple[object, ...]], int] = {}
    session_sums: dict[Key, int] = {}
    differences: list[Charged] = []
    for row, entry, cost in changed:
        delta = cost.nanousd - _nanousd(entry.cost)
        differences.append(_difference(entry, delta))
        day = entry.started_at.date().isoformat()
        model, ended, status_class = entry.model or "", entry.ended.value, row.status_class
        who = (entry.principal or "", entry.end_user or "")
        if entry.session_id and delta:
            session = (entry.session_id, who[0], model)
            session_sums[session] = session_sums.get(session, 0) + delta
        groups = [(rollups, sums, ("", model, *who, status_class, ended))]
        groups += [
            (tag_rollups, tag_sums, (tag, model, "", "", status_class, ended))
            for tag in dict.fromkeys(entry.tags or [])
        ]
        for table, found, group in groups if delta else []:
            number = numbers.get((day, group))
            if number is None:
                number = numbers[day, group] = _number(connection, table, entry.started_at, group)
            found[day, number] = found.get((day, number), 0) + delta
    # In the order of the writer's: two that wait for each other's locks would do so for ever.
    for table, found in ((rollups, sums), (tag_rollups, tag_sums)):
        _add(connection, table, found)
    change_costs(connection, session_sums)
    charge(connection, None, differences)


def _difference(entry: Entry, nanousd: int) -> Charged:
    return Charged(
        microseconds(entry.started_at),
        nanousd,
        entry.model,
        entry.principal,
        entry.user_id,
        entry.team_id,
        entry.end_user,
        entry.session_id,
        tuple(entry.tags) if entry.tags else None,
        is_live=False,
    )


def _number(connection: Connection, table: Table, at: datetime, group: tuple[object, ...]) -> int:
    """The group under which an entry was counted: its own, or what its day had room for.

    Where two control planes had a full day, one may have counted under the group itself what the other
    counted under `OTHER`; then the difference goes to the former. The sum over all groups stays exact.
    """
    tag, model, principal, end_user, *rest = group
    narrowed = (tag and OTHER, model, principal, end_user and OTHER, *rest)
    for one in (group, narrowed, (narrowed[0], OTHER, *narrowed[2:])):
        same = [rollup_groups.c[name] == value for name, value in zip(GROUP, one, strict=True)]
        query = select(table.c.group_number).where(
            table.c.day == at.date(), table.c.group_number == rollup_groups.c.number, and_(*same)
        )
        found = connection.execute(query).scalar()
        if found is not None:
            return int(found)
    raise AssertionError(f"an entry of {at.date()} is in no sum")  # they are written together


def _add(connection: Connection, table: Table, sums: dict[tuple[str, int], int]) -> None:
    query = (
        update(table)
        .where(table.c.day == bindparam("on"), table.c.group_number == bindparam("number"))
        .values(cost_nanousd=table.c.cost_nanousd + bindparam("delta"))
    )
    for (day, number), delta in sorted(sums.items()):
        connection.execute(
            query, {"on": datetime.fromisoformat(day).date(), "number": number, "delta": delta}
        )
