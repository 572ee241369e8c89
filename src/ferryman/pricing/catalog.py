"""The prices that are known, and which of them is a model's.

`catalog.json` beside this module is written by `scripts/prices`. It is read when it is asked for, once in
a process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ferryman.pricing.names import MAX_NAME_CHARACTERS, family_of, folded
from ferryman.pricing.shapes import CatalogFile, Model, Price, Tier

CATALOG: Final = "catalog"
OVERRIDE: Final = "override"
FALLBACK: Final = "fallback"

FILE = Path(__file__).with_name("catalog.json")

MAX_FOUND = 256
"""Names whose price is remembered; people use some ten. Clients choose names: when it is full, it starts
anew, which costs each name that is still in use a lookup of some ten microseconds."""


class Found(NamedTuple):
    """A price's model.

    Attributes:
        source: `catalog`, `override` (the operator set it) or `fallback` (it is another model's).
    """

    model: Model
    source: str


class Catalog:
    """All prices in force. Never changes, but for what it remembers of lookups."""

    def __init__(
        self,
        file: CatalogFile,
        adjust: Callable[[str, Found], Found] | None = None,
        adjustment: str = "",
    ) -> None:
        """`adjust` makes of the price of a name what the operator wants; `adjustment` tells its revision."""
        self.revision = file.revision + adjustment
        self.web_search_picousd = file.web_search_picousd
        self.models = file.models
        self.file = file
        self._adjust = adjust
        self._found: dict[str, Found] = {}
        self._by_id = {name: model for model in file.models for name in (model.id, *model.aliases)}
        self._by_folded = {folded(name): model for name, model in self._by_id.items()}
        self._stand_ins = {
            family: stand_in(f"dearest {family}", members, family)
            for family in sorted({model.family for model in file.models if model.family})
            if (members := _still_served([model for model in file.models if model.family == family]))
        }
        self._dearest = stand_in("dearest of all", file.models, None)

    def find(self, name: str) -> Found:
        """The price of the model `name`: always one, and never for nothing unless the operator wants it so.

        In this order: the name as it stands; an alias; the name in another spelling, without date or
        vendor (see `ferryman.pricing.names.folded`); the dearest rates among the models of its family that
        are still served; the dearest of all. The last two are fallbacks.
        """
        found = self._found.get(name)
        if found is None:
            found = self._look_up(name)
            if len(name) <= MAX_NAME_CHARACTERS:
                if len(self._found) >= MAX_FOUND:
                    self._found.clear()
                self._found[name] = found
        return found

    def _look_up(self, name: str) -> Found:
        name = name[:MAX_NAME_CHARACTERS]
        model = self._by_id.get(name) or self._by_folded.get(folded(name))
        if model is not None:
            found = Found(model, CATALOG)
        else:
            found = Found(self._stand_ins.get(family_of(name) or "", self._dearest), FALLBACK)
        return found if self._adjust is None else self._adjust(name, found)


def load_catalog() -> Catalog:
    """The catalog that comes with Ferryman.

    Raises:
        OSError: the package is damaged.
        msgspec.DecodeError: the same.
    """
    return Catalog(read_catalog(FILE.read_bytes()))


def read_catalog(data: bytes) -> CatalogFile:
    """What `data`, the bytes of a `catalog.json`, say.

    Raises:
        msgspec.DecodeError: it is no catalog.
    """
    return msgspec.json.decode(data, type=CatalogFile)


def stand_in(name: str, members: Sequence[Model], family: str | None) -> Model:
    """A model that is never cheaper than any of `members` at their latest prices, class by class."""
    prices = [member.prices[-1] for member in members]
    tiers = [tier for price in prices for tier in price.tiers]
    rates = [max(column) for column in zip(*(tier.rates() for tier in tiers), strict=True)]
    newest = max(prices, key=lambda price: price.checked_on)
    price = Price(
        tiers=(Tier(0, *rates),),
        source=f"the highest of: {', '.join(sorted(member.id for member in members))}",
        checked_on=newest.checked_on,
        fast=_covering(prices, rates),
        us=max((price.us for price in prices), key=lambda us: us[0] * 1_000 // us[1]),
    )
    return Model(name, (price,), family)


def _covering(prices: Sequence[Price], rates: Sequence[int]) -> tuple[int, int]:
    """The least whole multiplier with which `rates` reach what each of `prices` costs in fast mode."""
    needed = [
        -(-rate * price.fast[0] // (price.fast[1] * highest))
        for price in prices
        for tier in price.tiers
        for rate, highest in zip(tier.rates(), rates, strict=True)
    ]
    return (max(needed), 1)


def _still_served(models: list[Model]) -> list[Model]:
    return [model for model in models if not model.retired] or models
