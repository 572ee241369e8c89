"""What was spent, and the rows of the table of counters, until the authority of budgets has them.

Sums of the ledger by day: enough to show, not to enforce.
"""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

from ferryman.clock import Clock
from ferryman.limits.windows import span
from ferryman.store.read import Dimension
from ferryman.store.store import Store

_FIRST, _LAST = date(1970, 1, 1), date(9999, 12, 31)


class Rows:
    """Numbers of rows by their names, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Rows {len(self._numbers)}>"

    def __call__(self, name: str) -> int:
        """The number of the row `name`."""
        return self._numbers.setdefault(name, len(self._numbers))


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
