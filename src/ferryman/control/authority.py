"""The control plane's side of the table of counters: what of each budget this machine may spend.

The head of a budget's row is right when

    base = what is stored of the window - what of it came from journals whose workers have a column

and each worker's cell has what that worker has spent and holds. So what a worker writes counts at once, and
what becomes of it in the database changes nothing, until its journal is no more: then its column is folded
into the base. Only what nobody's journal tells changes a base: a settled batch, another machine.

Whoever may spend how much is told in `ferryman.store.grants`. With SQLite there is one machine, and its
allowance has no bound but the cap.

Methods wait for the database: call them on threads. One lock orders all that writes heads.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from ferryman.clock import Clock
from ferryman.control.columns import dead_columns, is_unread
from ferryman.control.rows import Capped, Place, Reached, Row, amounts, name_of, show
from ferryman.control.shared_table import SharedTable
from ferryman.control.sharing import holds_in, imbalance, wishes
from ferryman.limits.heads import lower_granted, zero_gauges
from ferryman.limits.layout import EPOCH
from ferryman.limits.windows import Calendar
from ferryman.store.counters import Key
from ferryman.store.definitions import Definition
from ferryman.store.spends import Spends

log = structlog.get_logger("ferryman.budgets")

SWEEP_ROWS = 500
"""Rows that are compared with the database at once: some milliseconds."""

BALANCE_ROWS = 50
"""Of these, rows whose allowance is changed: each is a statement or two, and calls wait meanwhile."""

SETTLE_SECONDS = 0.001
"""Between the two steps of lowering a base; a worker reads a head in a microsecond."""

UNKNOWN_SECONDS = 0.9
"""By then every worker has heard of a budget; what begins earlier is counted by the ledger alone."""


class Authority:
    """Hands out rows, and keeps what stands in their heads.

    Attributes:
        next_window_at: Unix time at which one of the windows ends that run now, as of the last `tick`.
    """

    def __init__(
        self,
        table: SharedTable,
        spends: Spends,
        clock: Clock,
        place: Place,
        *,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """Write nothing yet.

        Args:
            table: of this machine.
            spends: what was spent, in the database.
            clock: the time.
            place: where it is.
            may_begin: whether this control plane stores the journals. Until then no row is made ready.
        """
        self._table = table
        self._spends = spends
        self._clock = clock
        self._journals, self._zone, self._machine = place
        self._calendar = Calendar(self._zone)
        self._may_begin = may_begin
        self._begun = False
        self.next_window_at = math.inf
        self._rows: dict[Key, Row] = {}
        self._by_handle: dict[int, Row] = {}
        self._spans: dict[tuple[str, str], int] = {}
        self._due: dict[Key, Row] = {}
        self._order: list[Key] = []
        self._dead: set[str] = set()
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Authority of {len(self._rows)} budgets{'' if self._begun else ', not begun'}>"

    # ── what there is ──

    def row_of(self, name: str) -> int:
        """The handle of the row with this name, such as that of a limit.

        Raises:
            TableFull, OSError: see `CounterTable.row_of`.
        """
        with self._lock:
            return self._table.row_of(name)

    def free_row(self, name: str) -> None:
        """Take back the row of a limit that is no more."""
        with self._lock:
            self._table.free_row(name)

    def set_scopes(
        self, scopes: Mapping[str, Sequence[Capped]], *, are_new: bool = False, are_met: bool = False
    ) -> dict[str, list[int]]:
        """These scopes have these budgets, and no others; the handles of their rows, in the same order.

        Args:
            scopes: by id.
            are_new: there is nothing of them in the ledger, and no worker has let anything through for them.
            are_met: no worker lets anything through for them until it knows of them.

        Raises:
            StoreUnavailable: the database is away; nothing is changed.
            TableFull, OSError: there is no room for their rows.
            ValueError: a duration or an anchor that is none.
        """
        now = self._clock.now()
        wanted = {
            (scope, one.duration, one.model): one for scope, budgets in scopes.items() for one in budgets
        }
        # Where there are no workers, none has let anything through without knowing of it.
        known_at = 0.0 if are_new or are_met or not self._table.columns() else now + UNKNOWN_SECONDS
        definitions = [
            Definition(*key, one.anchor, self._zone, known_at, are_new) for key, one in wanted.items()
        ]
        self._spends.define(definitions, now)
        with self._lock:
            gone = [key for key in self._rows if key[0] in scopes and key not in wanted]
        self._spends.undefine(gone)
        with self._lock:
            for key in gone:
                self._free(key)
            for key, one in wanted.items():
                self._set(key, one)
            self._refresh_due(wanted)
            return {
                scope: [self._rows[scope, one.duration, one.model].handle for one in budgets]
                for scope, budgets in scopes.items()
            }

    def drop_scopes(self, scopes: Iterable[str], *, forget: bool = False) -> None:
        """These scopes are no more.

        Args:
            scopes: ids.
            forget: what they have spent, too; otherwise it is there when they come again.

        Raises:
            StoreUnavailable: the database is away; nothing is changed.
        """
        dropped = set(scopes)
        with self._lock:
            gone = [key for key in self._rows if key[0] in dropped]
        if forget:
            self._spends.undefine(gone)
        with self._lock:
            for key in gone:
                self._free(key)

    def _set(self, key: Key, budget: Capped) -> None:
        row = self._rows.get(key)
        if row is None:
            row = Row(key, budget, self._table.row_of(name_of(key)))
            self._rows[key] = self._by_handle[row.handle] = row
        elif row.budget == budget:
            return
        row.budget = budget
        self._due[key] = row

    def _free(self, key: Key) -> None:
        row = self._rows.pop(key)
        self._by_handle.pop(row.handle, None)
        self._due.pop(key, None)
        self._table.free_row(name_of(key))

    # ── what is spent ──

    @property
    def capped(self) -> list[tuple[Key, Capped]]:
        """The budgets that have a cap."""
        rows = [(key, row.budget) for key, row in self._rows.copy().items()]
        return [one for one in rows if one[1].cap_nanousd is not None]

    def counts(self, scope_id: str, window: str = "", model: str = "") -> bool:
        """Whether there is such a budget."""
        return (scope_id, window, model) in self._rows

    def reached(self, scope_id: str, window: str = "", model: str = "", anchor: str = "") -> Reached:
        """What was spent in the window that runs: the same number that exchanges are admitted by.

        Of what is not counted here, as long as this has not begun, the database tells what is stored.

        Raises:
            StoreUnavailable: it is away.
        """
        key = (scope_id, window, model)
        row = self._rows.get(key)
        anchor = anchor if row is None else row.budget.anchor
        start, end = self._calendar.span(window, anchor, self._clock.now())
        if row is not None:
            found = amounts(self._table, row.handle, start)
            if found.is_ready:
                return Reached(start, end, found.spent_nanousd, found.held_nanousd)
        state = self._spends.states([key], []).get(key)
        spent = state.spent_nanousd if state is not None and state.epoch == start else 0
        return Reached(start, end, spent, 0)

    def spent(self, scope_id: str, window: str = "", model: str = "") -> int:
        """Nano-dollars spent in the window that runs; see `reached`."""
        return self.reached(scope_id, window, model).spent_nanousd

    def resets_at(self, window: str, anchor: str = "") -> float | None:
        """Unix time at which the window ends that runs now, `None` for never."""
        return self._calendar.span(window, anchor, self._clock.now()).end

    def reset(self, scope_id: str, window: str, model: str, to_nanousd: int) -> None:
        """Let a window count as having spent so much, what is on its way beside it.

        Raises:
            StoreUnavailable: the database is away; nothing is changed.
        """
        key = (scope_id, window, model)
        with self._lock:
            before = self.reached(*key).spent_nanousd
            state = self._spends.states([key], []).get(key)
            if state is not None:
                # What is not stored yet comes on top.
                self._spends.reset(key, to_nanousd - (before - state.spent_nanousd))
            self._refresh([key])

    # ── what changes with time ──

    @property
    def is_waiting(self) -> bool:
        """Whether `tick` has something to do that waits for the database, or for journals to be read."""
        return bool(self._due) or not self._begun

    def tick(self) -> None:
        """Look at the clock and at the workers: windows that begin, columns whose workers are dead.

        Raises:
            StoreUnavailable: the database is away; call it again.
            OSError: a journal cannot be looked at.
        """
        self._look_at_columns()
        with self._lock:
            if not self._begun:
                self._begun = self._may_begin() and not is_unread(self._table, self._journals)
                self._due |= self._rows
            self._begin_windows()
            self._refresh_due(list(self._due))

    def sweep(self) -> None:
        """Compare some rows with the database, and give back what this machine does not use.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._lock:
            if not self._begun:
                return
            if not self._order:
                self._order = list(self._rows)
            rows = {key: self._rows[key] for key in self._order[:SWEEP_ROWS] if key in self._rows}
            del self._order[:SWEEP_ROWS]
            self._refresh(rows)
            if self._machine:
                self._balance(rows)

    def answer(self, needs: Mapping[int, int]) -> None:
        """Let rows into their windows, and get allowance for them: nano-dollars by the handle of a row.

        Raises:
            StoreUnavailable: the database is away.
        """
        if not self._begun:
            self.tick()
        with self._lock:
            found = {handle: row for handle in needs if (row := self._by_handle.get(handle)) is not None}
            rows = {row.key: row for row in found.values()}
            wanted = {row.key: needs[handle] for handle, row in found.items()}
            starts = self._starts(rows)
            holds = holds_in(self._table, rows, wanted, starts)
            for row in rows.values():
                row.quiet_since = self._clock.monotonic()  # who asks is about to spend
            self._refresh(rows)
            if self._machine:
                asks = wishes(self._table, rows, holds, starts)
                if asks:
                    self._spends.grant(self._machine, asks)
                    self._refresh([ask.key for ask in asks])

    def fold(self, journal: str) -> None:
        """A dead worker's journal is stored whole: its column counts no more, and is free.

        Raises:
            StoreUnavailable: the database is away; nothing is changed.
        """
        with self._lock:
            column = next((one for one in self._table.columns() if one.journal == journal), None)
            if column is None:
                return
            touched = self._table.touched(column.number)
            keys = {row.key for handle in touched if (row := self._by_handle.get(handle)) is not None}
            keys |= {key for key in self._spends.keys_of_journal(journal) if key in self._rows}
            self._refresh(keys, without=journal)
            unknown = {handle for handle in touched if handle not in self._by_handle}
            if not self._begun:  # nothing is added to these now, so that they are not to be used until then
                unknown |= {self._rows[key].handle for key in keys}
            for handle in unknown:
                self._table.words[self._table.head(handle) + EPOCH] = 0
            self._table.release(column.number)
            self._dead.discard(journal)

    def _look_at_columns(self) -> None:
        unread, removed = dead_columns(self._table, self._journals)
        for column in unread:
            if column.journal not in self._dead:
                zero_gauges(self._table, column.number)
                self._dead.add(column.journal)
        for column in removed:
            self.fold(column.journal)

    # ── under the lock ──

    def _begin_windows(self) -> None:
        now = self._clock.now()
        begun = set()
        self.next_window_at = math.inf
        for window in {(row.budget.duration, row.budget.anchor) for row in self._rows.values()}:
            start, end = self._calendar.span(*window, now)
            if end is not None:
                self.next_window_at = min(self.next_window_at, end)
            if self._spans.get(window) != start:
                self._spans[window] = start
                begun.add(window)
        if begun:
            self._due |= {
                key: row
                for key, row in self._rows.items()
                if (row.budget.duration, row.budget.anchor) in begun
            }

    def _refresh_due(self, keys: Iterable[Key]) -> None:
        due = [key for key in keys if key in self._due]
        if due and self._begun:
            self._refresh(due)
            for key in due:
                self._due.pop(key, None)

    def _refresh(self, keys: Iterable[Key], *, without: str = "") -> None:
        """Put what the database knows into the heads of these rows.

        Args:
            keys: of rows.
            without: a journal whose worker's column counts no more from here on.
        """
        rows = {key: self._rows[key] for key in keys if key in self._rows}
        if not rows or not self._begun:
            return
        # The columns first: what a journal stores that comes meanwhile counts twice until the next look.
        journals = [one.journal for one in self._table.columns() if one.journal != without]
        states = self._spends.states(rows, journals, self._machine)
        starts = self._starts(rows)
        while rows:
            later = show(self._table, rows, states, starts, shares_caps=bool(self._machine))
            rows = {row.key: row for row in later}
            if rows:
                time.sleep(SETTLE_SECONDS)

    def _starts(self, rows: Mapping[Key, Row]) -> dict[Key, int]:
        now = self._clock.now()
        return {key: self._calendar.span(key[1], row.budget.anchor, now).start for key, row in rows.items()}

    def _balance(self, rows: Mapping[Key, Row]) -> None:
        """Give back what is idle, and account for what was spent beyond the allowance."""
        starts = self._starts(rows)
        over, idle = imbalance(self._table, rows, starts, self._clock.monotonic())
        over, idle = over[:BALANCE_ROWS], idle[:BALANCE_ROWS]
        if over:
            self._spends.grant(self._machine, over)
            self._refresh([ask.key for ask in over])
        given_back = []
        for row in idle:
            granted = lower_granted(self._table, row.handle, row.committed_nanousd)
            given_back.append((row.key, starts[row.key], granted - row.others_nanousd))
        if given_back:
            self._spends.lower(self._machine, given_back)
