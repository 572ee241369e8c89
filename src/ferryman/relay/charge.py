"""What an exchange cost, by what the meter has seen of it."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from ferryman.model import Call, Cost, Usage
from ferryman.pricing.catalog import Catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.estimate import estimated_usage
from ferryman.pricing.names import MAX_NAME_CHARACTERS
from ferryman.pricing.terms import Terms
from ferryman.relay.unpriced import Unpriced
from ferryman.relay.values import Reading

log = structlog.get_logger("ferryman.relay")


def charge(
    reading: Reading, call: Call, started_at: float, catalog: Catalog, unpriced: Unpriced
) -> tuple[Usage | None, Cost | None]:
    """The usage that is billed, and its cost; `None` where nothing is known to have been used.

    Args:
        reading: what the meter has seen.
        call: what was asked for; its model counts where the answer told none.
        started_at: Unix time in seconds; the prices of that time count.
        catalog: the prices in force.
        unpriced: hears of models that it does not know.
    """
    usage = reading.usage
    if usage is None:
        return None, None
    if reading.uncounted is not None:
        usage = estimated_usage(usage, *reading.uncounted, call.max_tokens)
    terms = Terms(
        datetime.fromtimestamp(started_at, UTC),
        estimated=reading.uncounted is not None,
        refusal=reading.refusal,
        declined=reading.declined if usage.iterations else None,  # else it decides nothing
    )
    model = (reading.model or call.model or "")[:MAX_NAME_CHARACTERS]  # it is kept with each record
    try:
        cost = cost_of(usage, model, terms, catalog)
    except Exception:
        log.exception(
            "exchange not priced", model=model
        )  # its record tells the usage, and can be priced anew
        return usage, None
    unpriced.note(cost, usage, catalog)
    return usage, cost
