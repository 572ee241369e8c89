"""What a machine may spend of each budget, and what it needs to know of a counter.

Machines that share a database share each cap: whoever needs more of it takes a slice, under a lock of the
counter's row. A slice is a part of `granted_nanousd`, which only grows in a window until its machine gives
back what it does not use; what the machine has spent is in it. What a machine has spent is what came from
its journals: `shares` of those that are there, and `spent_nanousd` of those that are no more. What no
machine has spent, such as the settlement of a batch, comes on top.

    what no machine has spent + the sum of max(granted, spent) over all machines <= cap

unless more has been spent than was granted, as `hold: expected` allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, func, literal, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from ferryman.store.counters import Key
from ferryman.store.engine import Engines, translated
from ferryman.store.schema_counters import counters, grants, machines, shares

STEP = 500
"""Scopes of one question."""


class State(NamedTuple):
    """A counter, as a machine needs it.

    Attributes:
        epoch: the start of its window.
        spent_nanousd: by all.
        live_nanousd: of it by journals whose workers count it themselves.
        own_nanousd: of it by this machine.
        granted_nanousd: to this machine in that window.
    """

    epoch: int
    spent_nanousd: int
    live_nanousd: int = 0
    own_nanousd: int = 0
    granted_nanousd: int = 0


class Ask(NamedTuple):
    """A machine's wish.

    Attributes:
        start: of the window.
        cap_nanousd: of the budget.
        committed_nanousd: what the machine has spent and holds.
        needed_nanousd: what it wants to be granted in all, at least.
    """

    key: Key
    start: int
    cap_nanousd: int
    committed_nanousd: int
    needed_nanousd: int


class Machine(NamedTuple):
    """One that shares the database.

    Attributes:
        seen_at_microseconds: when it was last there.
        idle_nanousd: granted to it, and not spent as far as its journals are stored; in all windows.
    """

    id: str
    host: str
    seen_at_microseconds: int
    idle_nanousd: int


def states(
    engines: Engines, keys: Iterable[Key], journals: Sequence[str], machine: str = ""
) -> dict[Key, State]:
    """The counters with these keys, as they are at one moment; a key that is none is left out.

    Args:
        engines: ways to the database.
        keys: of counters.
        journals: whose workers count for themselves.
        machine: whose own, empty where there is only one.

    Raises:
        StoreUnavailable: the database is away.
    """
    wanted = set(keys)
    scopes = sorted({key[0] for key in wanted})
    found: dict[Key, State] = {}
    for first in range(0, len(scopes), STEP):
        with translated(), engines.read.connect() as connection:
            found |= _states(connection, scopes[first : first + STEP], set(journals), machine)
    return {key: state for key, state in found.items() if key in wanted}


def _states(connection: Connection, scopes: list[str], journals: set[str], machine: str) -> dict[Key, State]:
    c, s, g = counters.c, shares.c, grants.c
    zero, none = literal(0), literal("")
    queries = [
        select(zero, none, none, c.scope, c.duration, c.model, c.epoch, c.spent_nanousd, zero).where(
            c.scope.in_(scopes)
        ),
        select(
            literal(1), s.journal, s.machine, s.scope, s.duration, s.model, s.epoch, s.stored_nanousd, zero
        ).where(s.scope.in_(scopes)),
        select(
            literal(2), none, g.machine, g.scope, g.duration, g.model,
            g.epoch, g.spent_nanousd, g.granted_nanousd,
        ).where(g.scope.in_(scopes), g.machine == machine, literal(machine) != ""),
    ]  # fmt: skip
    found: dict[Key, State] = {}
    # One statement: PostgreSQL lets each see another moment.
    for kind, journal, whose, scope, duration, model, epoch, nanousd, granted in sorted(
        tuple(row) for row in connection.execute(union_all(*queries))
    ):
        key = (scope, duration, model)
        if kind == 0:
            found[key] = State(epoch, int(nanousd))
            continue
        state = found.get(key)
        if state is None or state.epoch != epoch:
            continue
        own_nanousd = nanousd if machine and whose == machine else 0
        live = nanousd if kind == 1 and journal in journals else 0
        found[key] = state._replace(
            live_nanousd=state.live_nanousd + live,
            own_nanousd=state.own_nanousd + own_nanousd,
            granted_nanousd=state.granted_nanousd + granted,
        )
    return found


def keys_of_journal(engines: Engines, journal: str) -> list[Key]:
    """The counters that this journal's entries came to.

    Raises:
        StoreUnavailable: the database is away.
    """
    s = shares.c
    with translated(), engines.read.connect() as connection:
        rows = connection.execute(select(s.scope, s.duration, s.model).where(s.journal == journal))
        return [(row[0], row[1], row[2]) for row in rows]


def forget_journal(engines: Engines, journal: str) -> None:
    """A journal is no more: what came from it was spent by its machine.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    with translated(), engines.write.begin() as connection:
        s = shares.c
        query = select(shares).where(s.journal == journal, s.machine != "")
        for row in connection.execute(query.order_by(s.scope, s.duration, s.model)).all():
            key = (row.scope, row.duration, row.model)
            _put(connection, row.machine, key, row.epoch, spent=row.stored_nanousd)
        connection.execute(delete(shares).where(s.journal == journal))


def grant(engines: Engines, machine: str, asks: Sequence[Ask]) -> dict[Key, int]:
    """Grant what is asked for, as far as the caps have room; what is granted to the machine then, in all.

    Of what is left the machine gets what it needs, or the half of an equal part for each machine, whichever
    is more: a machine that spends fast asks some ten times for a cap, and others find something left.

    Raises:
        StoreUnavailable: the database is away; nothing was granted.
    """
    found: dict[Key, int] = {}
    with translated(), engines.write.begin() as connection:
        scopes = sorted({ask.key[0] for ask in asks})
        spent = _locked(connection, scopes)
        granted, own = _by_machine(connection, scopes)
        for ask in sorted(asks):
            epoch, total = spent.get(ask.key, (ask.start + 1, 0))
            if epoch > ask.start:  # it is undefined, or another clock is ahead
                continue
            here = (ask.key, ask.start)
            of_grants, of_own = granted.get(here, {}), own.get(here, {})
            mine = max(of_grants.get(machine, 0), of_own.get(machine, 0), ask.committed_nanousd)
            others = set(of_grants) | set(of_own)
            others.discard(machine)
            taken = sum(max(of_grants.get(one, 0), of_own.get(one, 0)) for one in others)
            unowned = (total if epoch == ask.start else 0) - sum(of_own.values())
            free = max(ask.cap_nanousd - unowned - taken - mine, 0)
            slice_nanousd = max(ask.needed_nanousd - mine, free // (2 * (len(others) + 1)))
            found[ask.key] = mine + min(free, slice_nanousd)
            _put(connection, machine, ask.key, ask.start, granted=found[ask.key])
    return found


def lower(engines: Engines, machine: str, given_back: Sequence[tuple[Key, int, int]]) -> None:
    """Grant a machine no more than this: of each key and the start of its window, how much in all.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    g = grants.c
    same = (
        *(g.machine == machine, g.scope == bindparam("of"), g.duration == bindparam("during")),
        *(g.model == bindparam("by"), g.epoch == bindparam("since"), g.granted_nanousd > bindparam("most")),
    )
    values = [
        {"of": key[0], "during": key[1], "by": key[2], "since": start, "most": most}
        for key, start, most in sorted(given_back)
    ]
    if values:
        with translated(), engines.write.begin() as connection:
            change = update(grants).where(*same).values(granted_nanousd=bindparam("most"))
            connection.execute(change, values)


def forfeit(engines: Engines, machine: str) -> int:
    """Take back what a machine that is gone for good was granted and has not spent; how much that is.

    What its unread journals have spent is lost to the caps then.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    idle = sum(one.idle_nanousd for one in known_machines(engines) if one.id == machine)
    with translated(), engines.write.begin() as connection:
        connection.execute(update(grants).where(grants.c.machine == machine).values(granted_nanousd=0))
        connection.execute(delete(machines).where(machines.c.id == machine))
    return idle


def known_machines(engines: Engines) -> list[Machine]:
    """All that have shared the database and are not forfeited, by their names.

    Raises:
        StoreUnavailable: the database is away.
    """
    c, g, s, of = counters.c, grants.c, shares.c, machines.c
    stored = (
        select(func.coalesce(func.sum(s.stored_nanousd), 0))
        .where(s.machine == g.machine, s.scope == g.scope, s.duration == g.duration, s.model == g.model)
        .where(s.epoch == g.epoch)
        .scalar_subquery()
    )
    query = (
        select(g.machine, g.granted_nanousd, g.spent_nanousd + stored)
        .where(g.scope == c.scope, g.duration == c.duration, g.model == c.model, g.epoch == c.epoch)
    )  # fmt: skip
    idle: dict[str, int] = {}
    with translated(), engines.read.connect() as connection:
        for machine, granted, spent in connection.execute(query):
            idle[machine] = idle.get(machine, 0) + max(0, granted - int(spent))
        rows = connection.execute(select(of.id, of.host, of.seen_at_microseconds).order_by(of.host, of.id))
        return [Machine(*row, idle.get(row[0], 0)) for row in rows]


def seen(engines: Engines, machine: str, host: str, at_microseconds: int) -> None:
    """A machine is there.

    Raises:
        StoreUnavailable: the database is away.
    """
    dialect = sqlite if engines.is_sqlite else postgresql
    values = {"host": host, "seen_at_microseconds": at_microseconds}
    statement = dialect.insert(machines).values(id=machine, **values)
    with translated(), engines.write.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def _locked(connection: Connection, scopes: list[str]) -> dict[Key, tuple[int, int]]:
    """Epoch and sum of the counters of `scopes`, which nobody changes before the transaction is over."""
    c = counters.c
    query = (
        select(c.scope, c.duration, c.model, c.epoch, c.spent_nanousd)
        .where(c.scope.in_(scopes))
        .order_by(c.scope, c.duration, c.model)
        .with_for_update()
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in connection.execute(query)}


_Amounts = dict[tuple[Key, int], dict[str, int]]


def _by_machine(connection: Connection, scopes: list[str]) -> tuple[_Amounts, _Amounts]:
    """What is granted to each machine, and what it has spent, by counter and window."""
    granted: _Amounts = {}
    own: _Amounts = {}
    for row in connection.execute(select(grants).where(grants.c.scope.in_(scopes))):
        here = ((row.scope, row.duration, row.model), row.epoch)
        granted.setdefault(here, {})[row.machine] = row.granted_nanousd
        own.setdefault(here, {})[row.machine] = row.spent_nanousd
    for row in connection.execute(select(shares).where(shares.c.scope.in_(scopes))):
        sums = own.setdefault(((row.scope, row.duration, row.model), row.epoch), {})
        sums[row.machine] = sums.get(row.machine, 0) + row.stored_nanousd
    return granted, own


def _put(
    connection: Connection, machine: str, key: Key, epoch: int, *, granted: int | None = None, spent: int = 0
) -> None:
    """Set what a machine is granted, if told, and add to what it has spent by journals that are no more.

    A row of an earlier window begins anew; one of a later window stays.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(grants).values(
        machine=machine, scope=key[0], duration=key[1], model=key[2],
        epoch=epoch, granted_nanousd=granted or 0, spent_nanousd=spent,
    )  # fmt: skip
    g, new = grants.c, statement.excluded
    same = g.epoch == new.epoch
    kept = case((same, g.granted_nanousd), else_=new.granted_nanousd)
    changes = {
        "granted_nanousd": kept if granted is None else new.granted_nanousd,
        "spent_nanousd": case((same, g.spent_nanousd + new.spent_nanousd), else_=new.spent_nanousd),
        "epoch": new.epoch,
    }
    index = ["machine", "scope", "duration", "model"]
    connection.execute(
        statement.on_conflict_do_update(index_elements=index, set_=changes, where=g.epoch <= new.epoch)
    )
