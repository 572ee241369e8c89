"""The rows of the table of counters, and what was spent: what budgets count, else what the ledger tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Protocol, Self
from zoneinfo import ZoneInfo

import msgspec

from ferryman.clock import Clock
from ferryman.control.authority import Authority
from ferryman.control.rows import Capped
from ferryman.limits.spec import Scope
from ferryman.limits.windows import span
from ferryman.store.counters import Key
from ferryman.store.grants import Machine
from ferryman.store.read import Dimension
from ferryman.store.store import Store

_SUMMED_BY: Mapping[str, Dimension] = MappingProxyType(
    {"key": "principal", "customer": "end_user", "tag": "tag"}
)
"""By which dimension of the sums a kind of scope is told apart; users and teams are by their keys."""

NOT_SINCE: Mapping[Key, float] = MappingProxyType({})


class Counted(Protocol):
    """Whoever hands out the rows of the table of counters."""

    def row_of(self, name: str) -> int:
        """The row of a limit."""

    def placed(self, scopes: Sequence[Scope], *, are_new: bool = False, are_met: bool = False) -> list[Scope]:
        """`scopes` with a row for each of their budgets, which is counted from now on.

        Args:
            scopes: each with budgets.
            are_new: see `ferryman.control.authority.Authority.set_scopes`.
            are_met: see there.
        """

    def drop(self, scope_ids: Iterable[str]) -> None:
        """These scopes have no budgets any more."""

    def free(self, names: Iterable[str]) -> None:
        """The limits with these names are no more."""


class Rows:
    """Rows without a table, by their names, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Rows {len(self._numbers)}>"

    def row_of(self, name: str) -> int:
        """The number of the row `name`."""
        return self._numbers.setdefault(name, len(self._numbers))

    def placed(self, scopes: Sequence[Scope], *, are_new: bool = False, are_met: bool = False) -> list[Scope]:
        """See `Counted`."""
        return [
            _with_rows(one, [self.row_of(f"{one.id}|{b.window}|{b.model}") for b in one.budgets])
            for one in scopes
        ]

    def drop(self, scope_ids: Iterable[str]) -> None:
        """Nothing counts them."""

    def free(self, names: Iterable[str]) -> None:
        """They keep their numbers."""


class AuthorityRows:
    """The rows that an authority hands out."""

    def __init__(self, authority: Authority, store: Store) -> None:
        self._authority = authority
        self._store = store

    def __repr__(self) -> str:
        return f"<AuthorityRows of {self._authority!r}>"

    def row_of(self, name: str) -> int:
        """See `Authority.row_of`."""
        return self._authority.row_of(name)

    def placed(self, scopes: Sequence[Scope], *, are_new: bool = False, are_met: bool = False) -> list[Scope]:
        """See `Counted`."""
        wanted = {
            one.id: [Capped(b.window, b.anchor, b.model, b.cap_nanousd) for b in one.budgets]
            for one in scopes
        }
        handles = self._authority.set_scopes(wanted, are_new=are_new, are_met=are_met)
        since = self._store.spends.since(wanted)
        return [_with_rows(one, handles[one.id], since) for one in scopes]

    def drop(self, scope_ids: Iterable[str]) -> None:
        """See `Authority.drop_scopes`."""
        self._authority.drop_scopes(scope_ids)

    def free(self, names: Iterable[str]) -> None:
        """See `Counted`."""
        for name in names:
            self._authority.free_row(name)


def _with_rows(scope: Scope, rows: Sequence[int], since: Mapping[Key, float] = NOT_SINCE) -> Scope:
    budgets = [
        msgspec.structs.replace(
            budget, row=row, since_seconds=since.get((scope.id, budget.window, budget.model), 0.0)
        )
        for budget, row in zip(scope.budgets, rows, strict=True)
    ]
    return msgspec.structs.replace(scope, budgets=budgets)


class _Answer:
    """What was read for one answer.

    Attributes:
        keys: ids of the keys of users and teams, by the ids of their scopes.
        costs: by dimension and model; `None` where single names were asked for so far.
    """

    def __init__(self) -> None:
        self.keys: dict[str, list[str]] = {}
        self.costs: dict[tuple[Dimension, str], Mapping[str, int] | None] = {}


class LedgerSpends:
    """Sums of the ledger, whatever the window."""

    def __init__(self, store: Store, clock: Clock, time_zone: str) -> None:
        """Read from `store`; `time_zone` is an IANA name."""
        self._store = store
        self._clock = clock
        self._zone = ZoneInfo(time_zone)
        self._answer: _Answer | None = None

    def __repr__(self) -> str:
        return "<LedgerSpends>"

    def for_one_answer(self, *, only_counted: bool = False) -> Self:
        """See `ferryman.control.access.operation.Spends`. Here all is the ledger's."""
        one = copy(self)
        one._answer = _Answer()  # noqa: SLF001  # of the same class
        return one

    def expect(self, scope_ids: Sequence[str]) -> None:
        """See `ferryman.control.access.operation.Spends`."""
        if self._answer is not None:
            self._find_keys(scope_ids, self._answer)

    def spent(self, scope_id: str, window: str, model: str = "") -> int:  # of the protocol
        """Nano-dollars that a key, user, team, customer or tag has ever spent."""
        answer = self._answer or _Answer()
        kind, _, name = scope_id.partition(":")
        if kind in _SUMMED_BY:
            return self._sum(_SUMMED_BY[kind], [name], model, answer)
        if scope_id not in answer.keys:
            self._find_keys([scope_id], answer)
        return self._sum("principal", answer.keys[scope_id], model, answer)

    def _find_keys(self, scope_ids: Sequence[str], answer: _Answer) -> None:
        names: dict[str, list[str]] = {}
        for scope_id in scope_ids:
            kind, _, name = scope_id.partition(":")
            names.setdefault(kind, []).append(name)
        with self._store.access.look() as look:
            for kind, named in names.items():
                found = look.key_ids(f"{kind}_id", named)
                answer.keys |= {f"{kind}:{name}": found.get(name, []) for name in named}

    def _sum(self, by: Dimension, names: Sequence[str], model: str, answer: _Answer) -> int:
        """What these names have spent together.

        A question reads all days, whether for one key or for all, so that an answer asks once for all of
        them. End users and tags may be many more: only where an answer has several all are read.
        """
        if not names:
            return 0
        known = answer.costs.get((by, model))
        if known is None:
            is_first = (by, model) not in answer.costs and by != "principal"
            known = self._store.read.costs(by, names if is_first else None, model=model or None)
            answer.costs[by, model] = None if is_first else known
        return sum(known.get(name, 0) for name in names)

    def resets_at(self, window: str, anchor: str) -> float | None:
        """Unix time at which the window ends that runs now."""
        return span(window, anchor, self._zone, self._clock.now()).end

    def counts(self, scope_id: str, window: str, model: str = "") -> bool:
        """Nothing is counted beside the ledger."""
        return False

    def reset(self, scope_id: str, window: str, to_nanousd: int, model: str = "") -> None:
        """The ledger stays as it is."""

    def machines(self) -> list[Machine]:
        """Those that share the database."""
        return self._store.spends.machines()

    def forfeit(self, machine: str) -> int:
        """Take back what one has not spent."""
        return self._store.spends.forfeit(machine)


class Spends(LedgerSpends):
    """What budgets have counted, which is what calls are let through by; else the ledger's sums."""

    def __init__(self, authority: Authority, store: Store, clock: Clock, time_zone: str) -> None:
        """Read from both; `time_zone` is an IANA name."""
        super().__init__(store, clock, time_zone)
        self._authority = authority
        self._only_counted = False

    def __repr__(self) -> str:
        return f"<Spends of {self._authority!r}>"

    def for_one_answer(self, *, only_counted: bool = False) -> Self:
        """See `ferryman.control.access.operation.Spends`."""
        one = super().for_one_answer()
        one._only_counted = only_counted  # noqa: SLF001  # of the same class
        return one

    def expect(self, scope_ids: Sequence[str]) -> None:
        """See `ferryman.control.access.operation.Spends`."""
        if not self._only_counted:
            super().expect(scope_ids)

    def spent(self, scope_id: str, window: str, model: str = "") -> int:
        """Nano-dollars in the window that runs, if a budget counts it; else ever."""
        if self._authority.counts(scope_id, window, model):
            return self._authority.spent(scope_id, window, model)
        return 0 if self._only_counted else super().spent(scope_id, window, model)

    def counts(self, scope_id: str, window: str, model: str = "") -> bool:
        """Whether a budget counts it."""
        return self._authority.counts(scope_id, window, model)

    def reset(self, scope_id: str, window: str, to_nanousd: int, model: str = "") -> None:
        """See `Authority.reset`."""
        self._authority.reset(scope_id, window, model, to_nanousd)
