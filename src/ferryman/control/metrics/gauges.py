"""How all that runs fares now: processes, journals, budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ferryman import __version__
from ferryman.control.authority import Authority
from ferryman.control.ledger import Bookkeeper
from ferryman.control.processes import Processes
from ferryman.control.rows import Capped
from ferryman.control.sinks import Runner
from ferryman.errors import StoreUnavailable
from ferryman.process.messages import WorkerState
from ferryman.store.access import Access
from ferryman.store.counters import Key
from ferryman.telemetry import metrics
from ferryman.telemetry.exposition import Page

MAX_BUDGETS = 1_000
"""That are told, about 10 ms of work; the last of `KINDS` are left out first."""

_END_USER = "customer"

KINDS = ("gateway", "team", "user", "tag", "key", _END_USER)
"""Not sessions: they come and go, and nobody watches one. Clients spell end users as they like, so that these
come last."""

_NANO = 1_000_000_000


class Gauges:
    """Reads them from whoever knows.

    Attributes:
        runners: of the sinks.
    """

    def __init__(
        self,
        processes: Processes,
        bookkeeper: Bookkeeper,
        authority: Authority,
        access: Access,
        *,
        tells_end_users: bool = False,
    ) -> None:
        """Read from these; `tells_end_users` has the budgets of end users told too."""
        self.runners: Sequence[Runner] = ()
        self._processes = processes
        self._bookkeeper = bookkeeper
        self._authority = authority
        self._access = access
        self._kinds = KINDS if tells_end_users else tuple(kind for kind in KINDS if kind != _END_USER)

    def __repr__(self) -> str:
        return "<Gauges>"

    def put(self, page: Page, keys: Iterable[str]) -> None:
        """Put all of them on `page`; while the database is away, without the names of `keys`."""
        page.add(metrics.BUILD, 1, __version__)
        self._put_processes(page)
        self._put_journals(page)
        try:
            self._put_sinks(page)
            self._put_budgets(page)
            self._put_names(page, keys)
        except StoreUnavailable:
            return  # what is told of the database says so

    def _put_processes(self, page: Page) -> None:
        for row in self._processes.rows():
            name = f"{row['role']} {row['number'] or ''}".strip()
            page.add(metrics.RESTARTS, row["restarts"], name)
            if row["memory_bytes"] is not None:
                page.add(metrics.MEMORY, row["memory_bytes"], name)
            if row["role"] == "worker":
                number, state = str(row["number"]), self._processes.worker(row["number"])
                page.add(metrics.WORKER_READY, int(state is not None and state.ready), number)
                if state is not None:
                    _put_worker(page, number, state)

    def _put_journals(self, page: Page) -> None:
        keeper = self._bookkeeper
        page.add(metrics.JOURNAL_LAG, round(keeper.lag_seconds, 3))
        page.add(metrics.LOST, keeper.lost)
        page.add(metrics.DATABASE_UP, int(not keeper.database_away))
        for kind, number in keeper.problems.copy().items():
            page.add(metrics.JOURNAL_PROBLEMS, number, kind)

    def _put_sinks(self, page: Page) -> None:
        for runner in self.runners:
            name = runner.sink.name
            page.add(metrics.SINK_DELIVERED, runner.delivered, name)
            page.add(metrics.SINK_FAILURES, runner.failures, name)
            page.add(metrics.SINK_DROPPED, runner.dropped, name)
            page.add(metrics.SINK_BEHIND, round(runner.behind_seconds(), 3), name)

    def _put_budgets(self, page: Page) -> None:
        for (scope, window, model), budget in told(self._authority.capped, self._kinds):
            kind, _, name = scope.partition(":")
            found = self._authority.reached(scope, window, model)
            cap = budget.cap_nanousd or 0
            labels = (kind, name, window, model)
            page.add(metrics.BUDGET_LIMIT, cap / _NANO, *labels)
            page.add(metrics.BUDGET_LEFT, (cap - found.spent_nanousd) / _NANO, *labels)
            if found.end is not None:
                page.add(metrics.BUDGET_RESETS, found.end, *labels)

    def _put_names(self, page: Page, keys: Iterable[str]) -> None:
        with self._access.look() as look:
            found = look.keys_ever(set(keys))
        for key in found.values():
            page.add(metrics.KEY_INFO, 1, key.id, key.alias or "", key.team_id or "", key.user_id or "")


def told(budgets: list[tuple[Key, Capped]], kinds: tuple[str, ...]) -> list[tuple[Key, Capped]]:
    """Those of `budgets` that are told: all of one of `kinds` before those of the next."""
    found = [one for one in budgets if _kind(one) in kinds]
    found.sort(key=lambda one: (kinds.index(_kind(one)), one[0]))
    return found[:MAX_BUDGETS]


def _kind(budget: tuple[Key, Capped]) -> str:
    return budget[0][0].partition(":")[0]


def _put_worker(page: Page, number: str, state: WorkerState) -> None:
    page.add(metrics.LIVE, state.live, number)
    page.add(metrics.HELD, state.held_bytes, number)
    page.add(metrics.BODIES_DROPPED, state.bodies_dropped, number)
    page.add(metrics.JOURNAL_HEALTHY, int(state.journal_healthy), number)
    for pool in state.pools:
        page.add(metrics.CONNECTIONS, pool.idle, number, pool.upstream, "idle")
        page.add(metrics.CONNECTIONS, pool.open - pool.idle, number, pool.upstream, "busy")
        page.add(metrics.OPENED, pool.opened, number, pool.upstream)
