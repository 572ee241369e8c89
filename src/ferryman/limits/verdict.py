"""Why limits and budgets let a call not through."""

from __future__ import annotations

from math import ceil, inf

import msgspec

from ferryman.limits.cells import MINUTE_MS, rate_of
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.windows import Span


class Refused(msgspec.Struct, frozen=True):
    """Why an exchange is not let through; it has taken nothing.

    Attributes:
        rule: the limit or budget that is reached; of several that which stays so for longest.
        used: of it, without this exchange; of a budget what others hold included.
        wanted: by this exchange.
        amount: of the rule.
        retry_after_seconds: whole seconds until there is room if nobody else comes, at least 1; `None` if
            there never is, since the exchange wants more than the rule allows at all, or the window has no
            end.
        resets_at: Unix seconds, when nothing is used any more; `None` for never or nobody knows.
    """

    rule: Limit | Budget
    used: int
    wanted: int
    amount: int
    retry_after_seconds: int | None
    resets_at: int | None


class Need(msgspec.Struct, frozen=True):
    """What the control plane has to do before an exchange can be let through.

    Attributes:
        row: the budget's.
        start: of the window that the row has to be in.
        granted_nanousd: the allowance that the machine needs in it, at least.
    """

    row: int
    start: int
    granted_nanousd: int


class NotReady(msgspec.Struct, frozen=True):
    """An exchange cannot be let through yet; it has taken nothing."""

    needs: list[Need]


def refused_limit(limit: Limit, used: int, before: int, wanted: int, now_seconds: float) -> Refused:
    """The refusal of a limit of which others use `used` in this minute or at once, and `before` the last."""
    room = limit.amount - wanted
    if limit.what == "parallel":
        return Refused(limit, used, wanted, limit.amount, 1 if room >= 0 else None, None)
    wait: int | None = None
    if room >= 0:
        if used <= room:  # as the last minute moves out of sight
            at_ms = MINUTE_MS - (room - used) * MINUTE_MS // max(before, 1)
        else:  # not before this minute is the last one, and moves out of sight in turn
            at_ms = 2 * MINUTE_MS - room * MINUTE_MS // used
        wait = max(1, -((int(now_seconds * 1_000) % MINUTE_MS - at_ms) // 1_000))
    resets_at = int(now_seconds // 60 + (2 if used else 1)) * 60
    return Refused(limit, rate_of(used, before, now_seconds), wanted, limit.amount, wait, resets_at)


def refused_budget(budget: Budget, span: Span, committed: int, hold: int, now_seconds: float) -> Refused:
    """The refusal of a budget of which others have committed so much, in nano-dollars."""
    cap = budget.cap_nanousd or 0
    wait = None
    if span.end is not None and hold <= cap:
        wait = max(1, ceil(span.end - now_seconds))
    return Refused(budget, committed, hold, cap, wait, span.end)


def how_long(refused: Refused) -> float:
    """The seconds until there is room; what never has is last."""
    return inf if refused.retry_after_seconds is None else refused.retry_after_seconds
