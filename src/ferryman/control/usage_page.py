"""`GET /api/oauth/usage`: what Claude Code shows of the caps of a key, in the shape that it reads.

Source of the shape: what the gateway within Claude Code 2.1.330 answers, and its protocol text. Here and not
in the workers, who know nothing of what a key without a cap has spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.clock import Clock
from ferryman.control.access.compile import budgets_of, in_force, scope_id
from ferryman.control.access.finding import budget_of
from ferryman.control.access.operation import Spends
from ferryman.control.access.shown import anchor_of, spent_of, window_of
from ferryman.control.asking import Asking
from ferryman.control.callers import OPERATOR, USAGE_PATH
from ferryman.errors import NotFound
from ferryman.limits.windows import period
from ferryman.store.access_look import KEYS, TAGS, TEAMS, USERS, Look
from ferryman.store.access_rows import Key, Record
from ferryman.store.store import Store

CENT_NANOUSD = 10_000_000
WARNING_PERCENT, CRITICAL_PERCENT = 75, 95


class Cap(NamedTuple):
    """A cap that a key has to keep to.

    Attributes:
        nanousd: the cap.
        spent_nanousd: in the window that runs.
        window: a duration as LiteLLM spells it, empty for without end.
        ends_at: Unix time at which it ends, `None` for never.
    """

    nanousd: int
    spent_nanousd: int
    window: str
    ends_at: float | None

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left."""
        return self.spent_nanousd >= self.nanousd

    @property
    def percent(self) -> int:
        """Whole, as in the headers of answers: below 100 as long as something is left."""
        return self.spent_nanousd * 100 // self.nanousd if self.nanousd else 100


class Usage:
    """Answers from the store, for the key of whoever asks."""

    def __init__(self, store: Store, spends: Spends, clock: Clock) -> None:
        self._store = store
        self._spends = spends
        self._clock = clock
        self._asking = Asking("looks at usage", "the database")

    def __repr__(self) -> str:
        return f"<Usage {self._asking!r}>"

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route(USAGE_PATH, self._get, methods=["GET"])]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self._asking.close()

    async def _get(self, request: Request) -> Response:
        """Tell how far the caps of the request's key are used, in cents."""
        key_id = getattr(request.state, "caller", OPERATOR).key_id
        if key_id is None:
            # Not 401: the client would think that it has to sign in anew.
            raise NotFound(f"`{USAGE_PATH}` tells of a virtual key, and the request came without one.")
        return await self._asking.answered(lambda: msgspec.json.encode(self._told(key_id)))

    def _told(self, key_id: str) -> dict[str, Any]:
        with self._store.access.look() as look:
            key = look.get(KEYS, key_id)
            if key is None:
                raise NotFound("This key has been deleted.")
            capped = [(record, budget_of(look, record)) for record in _scopes(look, key)]
        caps: list[Cap] = []
        for record, lent in capped:
            scope = scope_id(record)
            for budget in budgets_of(in_force(record, lent), anchor_of(record), ""):
                if budget.cap_nanousd is None or budget.model:
                    continue
                if budget.window == window_of(record, lent):
                    spent = spent_of(scope.partition(":")[0], record, self._spends, lent)
                else:
                    spent = self._spends.spent(scope, budget.window)
                ends_at = self._spends.resets_at(budget.window, budget.anchor) if budget.window else None
                caps.append(Cap(budget.cap_nanousd, spent, budget.window, ends_at))
        return with_caps(caps) if caps else without_caps(*self._spent(key_id))

    def _spent(self, key_id: str) -> tuple[int, int, int]:
        """Nano-dollars of a key in the month, the week and the day that run, in UTC."""
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        month, week = today.replace(day=1), today - timedelta(days=today.weekday())
        sums = self._store.read.sums(min(month, week), today, by=("day",), equal={"principal": key_id})
        days = [(one.day, one.cost_nanousd) for one in sums if one.day is not None]
        monthly, weekly, daily = (
            sum(nanousd for day, nanousd in days if day >= first) for first in (month, week, today)
        )
        return monthly, weekly, daily


def with_caps(caps: list[Cap]) -> dict[str, Any]:
    """The answer for a key with caps: the tightest in dollars, and each of them in percent."""
    tightest = max(caps, key=_tightness)
    return {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": _cents(tightest.nanousd),
            "used_credits": tightest.spent_nanousd // CENT_NANOUSD,
            "utilization": tightest.percent,
            "currency": "USD",
        },
        "limits": [
            {
                "kind": "spend",
                "group": period(cap.window),
                "percent": cap.percent,
                "resets_at": _time(cap.ends_at),
                "severity": _severity(cap),
                "is_active": cap is tightest,
            }
            for cap in caps
        ],
    }


def without_caps(monthly_nanousd: int, weekly_nanousd: int, daily_nanousd: int) -> dict[str, Any]:
    """The answer for a key without a cap: what it has spent."""
    daily, weekly = (
        {"limit": None, "used_credits": nanousd // CENT_NANOUSD, "utilization": None}
        for nanousd in (daily_nanousd, weekly_nanousd)
    )
    return {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": None,
            "used_credits": monthly_nanousd // CENT_NANOUSD,
            "utilization": None,
            "currency": "USD",
            "daily": daily,
            "weekly": weekly,
        },
        "limits": [],
    }


def _scopes(look: Look, key: Key) -> Iterable[Record]:
    """What a key's calls are counted in, whatever they say."""
    yield key
    user = None if key.user_id is None else look.get(USERS, key.user_id)
    team = None if key.team_id is None else look.get(TEAMS, key.team_id)
    tags = [*key.tags, *(team.tags if team is not None else ())]
    yield from (one for one in (user, team) if one is not None)
    yield from look.many(TAGS, tags).values()


def _tightness(cap: Cap) -> tuple[bool, float]:
    """Larger for the fuller one, and of those that are reached for the one that stays so for longer."""
    if cap.is_reached:
        return True, inf if cap.ends_at is None else cap.ends_at
    return False, cap.spent_nanousd / cap.nanousd


def _severity(cap: Cap) -> str:
    if cap.percent >= CRITICAL_PERCENT:
        return "critical"
    return "warning" if cap.percent >= WARNING_PERCENT else "normal"


def _cents(nanousd: int) -> int | float:
    """A cap in cents, whole where it is."""
    cents, rest = divmod(nanousd, CENT_NANOUSD)
    return nanousd / CENT_NANOUSD if rest else cents


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%S}.000Z"
