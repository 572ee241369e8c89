"""The rows of the table of counters, and what was spent: what budgets count, else what the ledger tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Protocol
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

NOT_SINCE: Mapping[Key, float] = MappingProxyType({})
_FIRST, _LAST = date(1970, 1, 1), date(9999, 12, 31)


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


class LedgerSpends:
    """Sums of the ledger, whatever the window."""

    def __init__(self, store: Store, clock: Clock, time_zone: str) -> None:
        """Read from `store`; `time_zone` is an IANA name."""
        self._store = store
        self._clock = clock
        self._zone = ZoneInfo(time_zone)

    def __repr__(self) -> str:
        return "<LedgerSpends>"

    def spent(self, scope_id: str, window: str, model: str = "") -> int:  # of the protocol
        """Nano-dollars that a key, user, team, customer or tag has ever spent."""
        kind, _, name = scope_id.partition(":")
        by: dict[str, Dimension] = {"key": "principal", "customer": "end_user", "tag": "tag"}
        more: dict[str, str] = {"model": model} if model else {}
        if kind in by:
            sums = self._store.read.sums(_FIRST, _LAST, by=(), equal={by[kind]: name, **more})
            return sum(one.cost_nanousd for one in sums)
        with self._store.access.look() as look:
            ids = set(look.key_ids(f"{kind}_id", name))
        if not ids:
            return 0
        sums = self._store.read.sums(_FIRST, _LAST, by=("principal",), equal=more)
        return sum(one.cost_nanousd for one in sums if one.principal in ids)

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

    def __repr__(self) -> str:
        return f"<Spends of {self._authority!r}>"

    def spent(self, scope_id: str, window: str, model: str = "") -> int:
        """Nano-dollars in the window that runs, if a budget counts it; else ever."""
        if self._authority.counts(scope_id, window, model):
            return self._authority.spent(scope_id, window, model)
        return super().spent(scope_id, window, model)

    def counts(self, scope_id: str, window: str, model: str = "") -> bool:
        """Whether a budget counts it."""
        return self._authority.counts(scope_id, window, model)

    def reset(self, scope_id: str, window: str, to_nanousd: int, model: str = "") -> None:
        """See `Authority.reset`."""
        self._authority.reset(scope_id, window, model, to_nanousd)
