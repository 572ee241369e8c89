"""What is decoded for prices: the catalog, and the entries of `iterations`.

Apart from who works with it, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from ferryman.model import CacheCreation

CLASSES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""Of tokens, in the order of a tier's rates."""


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


class Iteration(msgspec.Struct, gc=False):
    """An entry of `iterations`. Source: anthropic 2.12.0, types/beta/beta_iterations_usage.py."""

    type: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
