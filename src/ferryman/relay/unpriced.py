"""Tells the operator, once for each, of models whose price is not known."""

from __future__ import annotations

import msgspec
import structlog

from ferryman.model import Cost, Usage
from ferryman.pricing.catalog import FALLBACK, Catalog
from ferryman.pricing.names import MAX_NAME_CHARACTERS
from ferryman.relay.shapes import Named
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import without_keys

log = structlog.get_logger("ferryman.relay")

MAX_TOLD = 100
"""Models that a worker tells of. An operator has some tens; a client that makes names up, as many as it
likes, must not fill the log."""

MAX_ENTRIES = 100
"""Of `iterations` whose models are looked at, with each answer that has no price."""


_decode = msgspec.json.Decoder(Named).decode


class Unpriced:
    """The models that this worker has told of."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Unpriced {len(self._told)} told>"

    def note(self, cost: Cost, usage: Usage, catalog: Catalog) -> None:
        """Warn of the models that made `cost` a fallback, unless that was told before.

        Args:
            cost: of an answer.
            usage: of the same.
            catalog: what it was priced by.
        """
        if cost.price_source != FALLBACK or len(self._told) >= MAX_TOLD:
            return
        for name in _models(cost, usage):
            found = catalog.find(name)
            if found.source != FALLBACK or name in self._told or len(self._told) >= MAX_TOLD:
                continue
            self._told.add(name)
            log.warning(
                "price not known",
                model=without_keys(name),
                priced_as=found.model.id,
                hint="set `prices` for it, or update Ferryman",
                last_told=len(self._told) == MAX_TOLD,
            )


def _models(cost: Cost, usage: Usage) -> list[str]:
    names = {cost.model: None}
    for raw in (usage.iterations or [])[:MAX_ENTRIES]:
        try:
            model = _decode(raw).model
        except UNREADABLE:
            continue
        if model is not None:
            names[model[:MAX_NAME_CHARACTERS]] = None
    return list(names)
