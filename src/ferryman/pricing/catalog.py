"""The prices that are known, and which of them is a model's.

`catalog.json` beside this module is written by `scripts/prices`. It is read when it is asked for, once in
a process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from ferryman.pricing.names import MAX_NAME_CHARACTERS, family_of, folded

CATALOG = "catalog"
OVERRIDE = "override"
FALLBACK = "fallback"

CLASSES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""Of tokens, in the order of a tier's rates."""

FILE = Path(__file__).with_name("catalog.json")

MAX_FOUND = 256
"""Names whose price is remembered; people use some ten. Clients choose names: when it is full, it starts
anew, which costs each name that is still in use a lookup of some ten microseconds."""


class Tier(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Rates in pico-dollars per token, for prompts of more than `above_tokens`.

    A prompt is all input of one usage object: `input_tokens`, written to the cache, read from it. All of
    its tokens have the rates of its tier, the output's too. Source:
    https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing
    """

    above_tokens: int
    input: int
    output: int
    cache_write_5m: int
    cache_write_1h: int
    cache_read: int

    def rates(self) -> tuple[int, int, int, int, int]:
        """In the order of `CLASSES`."""
        return (self.input, self.output, self.cache_write_5m, self.cache_write_1h, self.cache_read)


class Price(msgspec.Struct, frozen=True, gc=False):
    """What a model costs from a day on.

    Attributes:
        tiers: by `above_tokens`, the first is 0.
        source: where it was read.
        checked_on: when it was compared with its source.
        effective_from: the first day (UTC), `None` for since there is the model.
        fast: multiplier with `speed: fast`, as numerator and denominator.
        us: multiplier with `inference_geo: us`, the same.
        factor: the operator's own multiplier, the same. It is for uses of tools too.
    """

    tiers: tuple[Tier, ...]
    source: str
    checked_on: date
    effective_from: date | None = None
    fast: tuple[int, int] = (1, 1)
    us: tuple[int, int] = (1, 1)
    factor: tuple[int, int] = (1, 1)

    def tier(self, prompt_tokens: int) -> Tier:
        """The tier of a prompt."""
        chosen = self.tiers[0]
        for tier in self.tiers:
            if prompt_tokens > tier.above_tokens:
                chosen = tier
        return chosen


class Model(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A model and its prices.

    Attributes:
        id: as Anthropic spells it, without a date; of a fallback, what stands in for the model.
        prices: by `effective_from`.
        family: `None` for those that have none.
        aliases: further names, which are not found by their spelling.
        retired: it is not served any more.
    """

    id: str
    prices: tuple[Price, ...]
    family: str | None = None
    aliases: tuple[str, ...] = ()
    retired: bool = False

    def price_at(self, moment: datetime) -> Price:
        """The price in force at `moment` (UTC); before the first, the first."""
        chosen = self.prices[0]
        if len(self.prices) > 1:
            day = moment.date()
            for price in self.prices:
                if price.effective_from is not None and price.effective_from <= day:
                    chosen = price
        return chosen


class CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in `catalog.json`.

    Attributes:
        revision: the day it was checked, and a digest of all prices.
        web_search_picousd: for each search.
        models: in the order of their ids.
    """

    revision: str
    web_search_picousd: int
    models: tuple[Model, ...]


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
