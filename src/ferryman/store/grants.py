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

from sqlalchemy import Connection, case, delete, literal, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from ferryman.store.counters import Key, keep_sums
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
    whose = (c.scope, c.duration, c.model)
    among = c.scope.in_(scopes)
    # One statement: PostgreSQL lets each see another moment.
    query = union_all(
        select(zero, *whose, c.epoch, c.spent_nanousd, none, none, zero).where(among),
        select(literal(1), *whose, s.epoch, s.stored_nanousd, s.journal, s.machine, zero).where(
            among, s.counter == c.number
        ),
        select(literal(2), *whose, g.epoch, g.spent_nanousd, none, g.machine, g.granted_nanousd).where(
            among, g.counter == c.number, g.machine == machine
        ),
    )
    by_key: dict[Key, list[_Part]] = {}
    for kind, scope, duration, model, *part in connection.execute(query):
        by_key.setdefault((scope, duration, model), []).append(_Part(kind, *part))
    return {key: _state(parts, journals, machine) for key, parts in by_key.items()}


class _Part(NamedTuple):
    """A row of `counters` (kind 0), `shares` (1) or `grants` (2)."""

    kind: int
    epoch: int
    nanousd: int
    journal: str
    machine: str
    granted: int


def _state(parts: list[_Part], journals: set[str], machine: str) -> State:
    epoch = max(part.epoch for part in parts)  # of a window in which only a grant was made yet, too
    here = [part for part in parts if part.epoch == epoch]
    shared = [part for part in here if part.kind == 1]
    return State(
        epoch,
        sum(part.nanousd for part in here if part.kind < 2),
        sum(part.nanousd for part in shared if part.journal in journals),
        sum(part.nanousd for part in here if part.kind and machine and part.machine == machine),
        sum(part.granted for part in here),
    )


def keys_of_journal(engines: Engines, journal: str) -> list[Key]:
    """The counters that this journal's entries came to.

    Raises:
        StoreUnavailable: the database is away.
    """
    c, s = counters.c, shares.c
    query = select(c.scope, c.duration, c.model).where(s.journal == journal, s.counter == c.number)
    with translated(), engines.read.connect() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def forget_journal(engines: Engines, journal: str) -> None:
    """A journal is no more: what came from it stays with the counters, and with its machine.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    s = shares.c
    with translated(), engines.write.begin() as connection:
        query = select(shares).where(s.journal == journal).order_by(s.counter)
        for row in connection.execute(query).all():
            keep_sums(connection, [(row.counter, row.epoch, row.stored_nanousd)])
            if row.machine:
                _put(connection, row.machine, row.counter, row.epoch, spent=row.stored_nanousd)
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
        numbers = _locked(connection, sorted({ask.key[0] for ask in asks}))
        parts = _by_counter(connection, [numbers[ask.key] for ask in asks if ask.key in numbers])
        for ask in sorted(asks):
            number = numbers.get(ask.key)
            granted = None if number is None else _granted(parts[number], ask, machine)
            if number is not None and granted is not None:
                found[ask.key] = granted
                _put(connection, machine, number, ask.start, granted=granted)
    return found


def _granted(parts: list[_Part], ask: Ask, machine: str) -> int | None:
    """What a machine gets in all; `None` if the window is not that of the counter."""
    if max(part.epoch for part in parts if part.kind < 2) > ask.start:
        return None  # another clock is ahead
    granted: dict[str, int] = {}
    own: dict[str, int] = {}
    spent = 0
    for kind, epoch, nanousd, _, whose, amount in parts:
        if epoch == ask.start:
            spent += nanousd if kind < 2 else 0
            own[whose] = own.get(whose, 0) + (nanousd if kind else 0)
            granted[whose] = granted.get(whose, 0) + amount
    unowned = spent - sum(own.values())
    mine = max(granted.get(machine, 0), own.get(machine, 0), ask.committed_nanousd)
    others = [max(granted[one], own[one]) for one in own if one not in {machine, ""}]
    free = max(ask.cap_nanousd - unowned - sum(others) - mine, 0)
    return mine + min(free, max(ask.needed_nanousd - mine, free // (2 * (len(others) + 1))))


def lower(engines: Engines, machine: str, given_back: Sequence[tuple[Key, int, int]]) -> None:
    """Grant a machine no more than this: of each key and the start of its window, how much in all.

    Raises:
        StoreUnavailable: the database is away; nothing was done.
    """
    c, g = counters.c, grants.c
    with translated(), engines.write.begin() as connection:
        for (scope, duration, model), start, most in sorted(given_back):
            same = c.scope == scope, c.duration == duration, c.model == model
            number = select(c.number).where(*same).scalar_subquery()
            change = update(grants).where(g.machine == machine, g.counter == number, g.epoch == start)
            connection.execute(change.where(g.granted_nanousd > most).values(granted_nanousd=most))


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
    g, of = grants.c, machines.c
    idle: dict[str, int] = {}
    with translated(), engines.read.connect() as connection:
        numbers = list(connection.execute(select(g.counter).distinct()).scalars())
        for first in range(0, len(numbers), STEP):
            for parts in _by_counter(connection, numbers[first : first + STEP]).values():
                _add_idle(idle, parts)
        rows = connection.execute(select(of.id, of.host, of.seen_at_microseconds).order_by(of.host, of.id))
        return [Machine(row[0], row[1], row[2], idle.get(row[0], 0)) for row in rows]


def _add_idle(idle: dict[str, int], parts: list[_Part]) -> None:
    epoch = max((part.epoch for part in parts if part.kind < 2), default=0)
    for one in {part.machine for part in parts if part.kind == 2}:
        own = [part for part in parts if part.kind and part.machine == one and part.epoch >= epoch]
        unspent = sum(part.granted for part in own) - sum(part.nanousd for part in own)
        idle[one] = idle.get(one, 0) + max(unspent, 0)


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


def _locked(connection: Connection, scopes: list[str]) -> dict[Key, int]:
    """The numbers of the counters of `scopes`, which nobody else grants before the transaction is over."""
    c = counters.c
    query = select(c.scope, c.duration, c.model, c.number).where(c.scope.in_(scopes))
    found = connection.execute(query.order_by(c.number).with_for_update())
    return {(row[0], row[1], row[2]): row[3] for row in found}


def _by_counter(connection: Connection, numbers: Sequence[int]) -> dict[int, list[_Part]]:
    c, s, g = counters.c, shares.c, grants.c
    zero, none = literal(0), literal("")
    query = union_all(
        select(c.number, zero, c.epoch, c.spent_nanousd, none, none, zero).where(c.number.in_(numbers)),
        select(s.counter, literal(1), s.epoch, s.stored_nanousd, s.journal, s.machine, zero).where(
            s.counter.in_(numbers)
        ),
        select(g.counter, literal(2), g.epoch, g.spent_nanousd, none, g.machine, g.granted_nanousd).where(
            g.counter.in_(numbers)
        ),
    )
    found: dict[int, list[_Part]] = {}
    for number, *part in connection.execute(query):
        found.setdefault(number, []).append(_Part(*part))
    return found


def _put(
    connection: Connection,
    machine: str,
    number: int,
    epoch: int,
    *,
    granted: int | None = None,
    spent: int = 0,
) -> None:
    """Set what a machine is granted, if told, and add to what it has spent by journals that are no more.

    A row of an earlier window begins anew; one of a later window stays.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(grants).values(
        counter=number, machine=machine, epoch=epoch, granted_nanousd=granted or 0, spent_nanousd=spent
    )
    g, new = grants.c, statement.excluded
    same = g.epoch == new.epoch
    kept = case((same, g.granted_nanousd), else_=new.granted_nanousd)
    changes = {
        "granted_nanousd": kept if granted is None else new.granted_nanousd,
        "spent_nanousd": case((same, g.spent_nanousd + new.spent_nanousd), else_=new.spent_nanousd),
        "epoch": new.epoch,
    }
    index = ["counter", "machine"]
    connection.execute(
        statement.on_conflict_do_update(index_elements=index, set_=changes, where=g.epoch <= new.epoch)
    )
