"""What an entry costs by the catalog, whether it has been priced before or not. Pure."""

from __future__ import annotations

from ferryman.model import SETTLEMENT, Cost, Entry
from ferryman.pricing.catalog import Catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms


def priced_anew(entry: Entry, catalog: Catalog) -> Cost | None:
    """The cost of `entry` at the prices of the time when it began, `None` if it has no usage.

    What was known when it was priced first still counts: whose answer it was, whether it was a batch's,
    and who declined. Usage that is not complete makes an estimate.
    """
    usage, cost = entry.usage, entry.cost
    if usage is None:
        return None
    if entry.method == SETTLEMENT:
        return cost  # its usage is the sum of many answers, each with a tier of its own
    if cost is None:
        terms = Terms(entry.started_at, estimated=not entry.usage_complete)
    else:
        terms = Terms(
            entry.started_at,
            batch=cost.batch,
            estimated=cost.estimated,
            refusal=cost.refusal,
            declined=cost.declined,
        )
    return cost_of(usage, (cost.model if cost is not None else "") or entry.model or "", terms, catalog)
