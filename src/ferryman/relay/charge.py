"""What an exchange cost, by what the meter has seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ferryman.model import Cost, Usage
from ferryman.pricing.cost import cost_of
from ferryman.pricing.estimate import estimated_usage
from ferryman.pricing.names import MAX_NAME_CHARACTERS
from ferryman.pricing.terms import Terms
from ferryman.relay.values import Reading

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

log = structlog.get_logger("ferryman.relay")


def charge(exchange: Exchange, reading: Reading) -> tuple[Usage | None, Cost | None]:
    """The usage that is billed, and its cost; `None` where nothing is known to have been used.

    The prices of the time count at which the exchange began, and where the answer told no model, the one that
    was asked for.

    Args:
        exchange: that has ended.
        reading: what its meter has seen.
    """
    line, call = exchange.line, exchange.call
    usage = reading.usage
    if usage is None:
        return None, None
    if reading.uncounted is not None:
        usage = estimated_usage(usage, *reading.uncounted, call.max_tokens)
    terms = Terms(
        line.moments.second(exchange.started_at),
        estimated=reading.uncounted is not None,
        refusal=reading.refusal,
        declined=reading.declined if usage.iterations else None,  # else it decides nothing
    )
    model = (reading.model or call.model or "")[:MAX_NAME_CHARACTERS]  # it is kept with each record
    try:
        cost = cost_of(usage, model, terms, line.catalog)
    except Exception:
        log.exception(
            "exchange not priced", model=model
        )  # its record tells the usage, and can be priced anew
        return usage, None
    line.unpriced.note(cost, usage, line.catalog)
    return usage, cost
