"""What a client is told of limits and budgets, in the words and headers that Claude Code understands.

Source of the headers: what Claude Code 2.1.330 shows of them. `representative-claim` and `overage-status`
stand with answers only: in a refusal the client would put its own words in the place of ours.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from ferryman.errors import BudgetReached, RateLimited
from ferryman.limits.spec import Budget, Limit, Scope
from ferryman.limits.verdict import Refused
from ferryman.limits.windows import period

WARNING_SHARES: Final = (95, 75)
"""Percent of a budget from which on Claude Code shows its notice; the first that is passed is told."""

KEPT_LINES = 1024
"""Of 100 percents for some windows each, 300 bytes."""

_PREFIX = b"anthropic-ratelimit-unified-"
_LIMIT = rb"\r\nanthropic-ratelimit-[^\r]*"
_UPSTREAM: Final = re.compile(_LIMIT + b"(?:" + _LIMIT + b")*+", re.IGNORECASE)
"""They stand together, so that one match takes them all."""

_NANOUSD = 1_000_000_000

_UNITS = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "input_tokens": "input tokens a minute",
    "output_tokens": "output tokens a minute",
    "count_tokens": "requests to count tokens a minute",
    "parallel": "requests at once",
}


def below_cap(used_nanousd: int, budget: Budget, end: int | None) -> bytes:
    """Header lines, each behind a CRLF, that tell a client how far its tightest budget is used.

    A soft budget is one more share that can be passed: the client shows its notice for any.

    Args:
        used_nanousd: of the budget: spent, or held by other calls.
        budget: which.
        end: of the window, Unix time in seconds; `None` for never.
    """
    cap, soft = budget.cap_nanousd or 1, budget.soft_nanousd
    percent = min(99, max(0, used_nanousd * 100 // cap))
    passed = next((share for share in WARNING_SHARES if percent >= share), None)
    if passed is None and soft is not None and used_nanousd > soft:
        passed = min(99, max(1, soft * 100 // cap))
    return _below(percent, passed, end)


@lru_cache(KEPT_LINES)
def _below(percent: int, passed: int | None, end: int | None) -> bytes:
    state = b"allowed" if passed is None else b"allowed_warning"
    lines = [
        (b"status", state),
        (b"overage-status", state),
        (b"representative-claim", b"overage"),
        (b"overage-utilization", b"%d.%02d" % divmod(percent, 100)),
    ]
    if passed is not None:
        lines.append((b"overage-surpassed-threshold", b"0.%02d" % passed))
    lines += _resets(end)
    return b"".join(b"\r\n%b%b: %b" % (_PREFIX, name, value) for name, value in lines)


def without_upstream_limits(kept: bytes) -> bytes:
    """Header lines without those that tell how far the server's own key is used."""
    return _UPSTREAM.sub(b"", kept)


def budget_reached(scope: Scope, budget: Budget, refused: Refused, now: float) -> BudgetReached:
    """The error for a call that a budget does not allow.

    Args:
        scope: whose budget it is.
        budget: which.
        refused: how far it is used, and what the call may cost.
        now: Unix time in seconds.
    """
    left = max(0, refused.amount - refused.used)
    of = f"the budget of {usd(refused.amount)}{_per(budget.window)}{_for(budget.model)} of {scope.shown}"
    if left == 0:
        said = f"Budget reached: {of} is used up."
    else:
        said = (
            f"Budget reached: {usd(left)} is left of {of}, beside what calls under way may cost, and this "
            f"call may cost {usd(refused.wanted)}; lower `max_tokens`, or wait."
        )
    end = refused.resets_at
    if end is not None:
        said += f" It begins anew at {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC."
    said += " Whoever runs the gateway can raise it."
    headers = [(b"status", b"rejected"), *_resets(end), (b"overage-utilization", b"1")]
    headers.append((b"overage-surpassed-threshold", b"1"))
    if budget.window:
        headers.append((b"overage-period", period(budget.window).encode()))
    headers.append((b"overage-disabled-reason", b"org_spend_cap_reached"))
    if not scope.id.startswith(("key:", "user:")):
        headers.append((b"overage-scope", b"group_pool"))
    seconds = None if end is None else max(1, math.ceil(end - now))
    return BudgetReached(said, seconds, tuple((_PREFIX + name, value) for name, value in headers))


def budget_unknown(waited_seconds: float) -> BudgetReached:
    """The error for a call with a budget of which nobody can tell what is left."""
    headers = ((_PREFIX + b"status", b"rejected"), (_PREFIX + b"overage-disabled-reason", b"fetch_error"))
    return BudgetReached(
        f"What is left of this key's budget could not be told within {waited_seconds:g} s, so the call "
        "was not made; try again in a moment, and if it stays so, tell whoever runs the gateway.",
        None,
        headers,
        error_code=None,
    )


def limit_reached(scope: Scope, limit: Limit, refused: Refused) -> RateLimited:
    """The error for a call that a limit does not allow now, or never."""
    of = f"the limit of {limit.amount} {_UNITS[limit.what]}{_for(limit.model)} of {scope.shown}"
    seconds = refused.retry_after_seconds
    if seconds is None:
        said = f"This call needs {refused.wanted} at once, and {of} never has room for that; make it smaller."
    else:
        said = f"{of[0].upper()}{of[1:]} is reached; try again in {seconds} s."
    return RateLimited(said, seconds)


def usd(nanousd: int) -> str:
    """An amount for people: cents, or what is smaller if it is."""
    dollars, rest = divmod(nanousd, _NANOUSD)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    if dollars or rest >= _NANOUSD // 100:
        digits = f"{rest // 10_000_000:02d}"
    return f"${dollars}.{digits}"


def _resets(end: int | None) -> list[tuple[bytes, bytes]]:
    if end is None:
        return []
    return [(b"reset", b"%d" % end), (b"overage-reset", b"%d" % end)]


def _for(model: str) -> str:
    return f" for {model}" if model else ""


def _per(window: str) -> str:
    return f" per {window}" if window else ""
