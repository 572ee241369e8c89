"""A gateway that holds its callers to keys, limits and budgets, as each test sets them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ferryman.clock import SystemClock
from ferryman.limits.admission import Admission
from ferryman.limits.heads import set_head
from ferryman.limits.rules import Demand, Taken
from ferryman.limits.spec import Budget, KeySpec, Limit, Scope
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar, Span
from ferryman.settings import Settings
from tests.support.gateway import Gateway
from tests.support.limits import counted

from .passage import SERVER_KEY

MASTER_KEY = "sk-master-3c1e"
KEY = "sk-virtual-9d2f"
USD = 1_000_000_000
WAIT_SECONDS = 0.2
"""How long a call waits for a budget that is not ready."""


class Barrier:
    """A worker on a thread of this process, with a table of counters that tests write as the control plane.

    Args:
        upstream_url: where it relays to.
        folder: for the table.
        settings: more of them.
    """

    def __init__(self, upstream_url: str, folder: Path, **settings: Any) -> None:
        self._table = CounterTable.create(folder / "counters", 1)
        column = self._table.claim("the-journal")
        assert column is not None
        self._counters = Admission(self._table, column, Calendar())
        self._rows_given = 0
        values: dict[str, Any] = {
            "port": 0,
            "upstream_url": upstream_url,
            "anthropic_api_key": SERVER_KEY,
            "master_key": MASTER_KEY,
            "slice_wait_seconds": WAIT_SECONDS,
        }
        self.gateway = Gateway(Settings(**values | settings), counters=self._counters)

    def __enter__(self) -> Self:
        self.gateway.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gateway.__exit__(kind, error, trace)
        self._table.close()

    def tell(self, *scopes: Scope, **fields: Any) -> None:
        """Let there be one key, `KEY`, in these scopes."""
        named = [scope.id for scope in scopes]
        spec = KeySpec(sha256(KEY.encode()).hexdigest(), "laptop", scopes=named, **fields)
        self.gateway.tell([spec], scopes)

    def forget(self) -> None:
        """Let there be no key."""
        self.gateway.tell()

    def limit(self, what: str, amount: int) -> Limit:
        """One that nothing has been counted in."""
        return Limit(what, amount, self._row())

    def budget(self, cap_nanousd: int, spent_nanousd: int = 0, **fields: Any) -> Budget:
        """One of which so much has been spent in the window that runs."""
        budget = Budget(cap_nanousd, self._row(), **fields)
        set_head(self._table, budget.row, self.span(budget).start, spent_nanousd, cap_nanousd)
        return budget

    def far_budget(self, cap_nanousd: int, spent_nanousd: int) -> Budget:
        """One whose window ends in a hundred days."""
        today = datetime.now(UTC).date().isoformat()
        return self.budget(cap_nanousd, spent_nanousd, window="100d", anchor=today)

    def unknown_budget(self) -> Budget:
        """One of which nobody has told what is spent."""
        return Budget(USD, self._row())

    def span(self, budget: Budget) -> Span:
        """The window that runs."""
        return Calendar().span(budget.window, budget.anchor, SystemClock().now())

    @contextmanager
    def taken(self, limit: Limit) -> Iterator[None]:
        """Have a call of somebody else's under way, which takes one of `limit`."""
        found = self.gateway.run(
            lambda: self._counters.admit(counted([limit], []), Demand(), SystemClock().now())
        )
        assert isinstance(found, Taken)
        yield
        self.gateway.run(lambda: self._counters.give_back(found))

    def _row(self) -> int:
        self._rows_given += 1
        return self._table.row_of(f"row {self._rows_given}")
