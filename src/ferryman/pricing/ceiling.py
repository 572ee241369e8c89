"""The most that a call can cost, before it is made. Pure.

For a call of text it is never less than the cost, since

- a token has at least one byte of the body in it: text is in UTF-8, escapes of JSON only make it longer, and
  what separates messages and names roles is shorter in tokens than in JSON;
- what Anthropic adds by itself, the system prompt that comes with tools, is bounded: `ADDED_TOKENS`;
- no class of input costs more than what is written to the cache for an hour;
- output, thinking included, never passes `max_tokens`.

Not bounded, and so to be settled beyond the hold if it comes to that: images and documents, whose tokens are
not in their bytes or not in the body at all (`file_id`, URLs); what tools at Anthropic read, and each turn of
theirs, which bills the conversation anew; compaction; an advisor that is asked more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ferryman.pricing.catalog import MAX_FOUND, Catalog
from ferryman.pricing.cost import MAX_COUNT, multiplier_of
from ferryman.pricing.names import MAX_NAME_CHARACTERS

ADDED_TOKENS: Final = 1_000
"""That Anthropic adds to a prompt with tools: up to 530 for Claude 3, and less than a thousand for all models
since. Source: agents-and-tools/tool-use/overview#pricing."""

MAX_OUTPUT_TOKENS = 128_000
"""Of one call, if it doesn't say: the most of any model. Source: about-claude/models/overview, read in
November 2026; 300,000 are there in batches only."""

DAY_SECONDS: Final = 86_400


class Extras(NamedTuple):
    """What makes a call dearer; what is not known is taken for asked.

    Attributes:
        cached: it may write to the cache.
        fast: it may ask for `speed: fast`.
        us: it may ask for `inference_geo: us`.
        searches: how often it may search the web, by the `max_uses` of its tool.
    """

    cached: bool = True
    fast: bool = True
    us: bool = True
    searches: int = 0


DEAREST = Extras()

_Steps = list[tuple[int, int, int]]
"""The tiers of a price: above how many tokens, and the rates of input and output, pico-dollars per token."""


class Ceilings:
    """The most that calls can cost at the prices of one catalog. Remembers rates while a day lasts.

    Attributes:
        catalog: the prices.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._day = 0
        self._steps: dict[tuple[str, Extras], _Steps] = {}

    def nanousd(  # one a part of the body
        self,
        models: Sequence[str],
        body_bytes: int,
        max_tokens: int | None,
        now_seconds: float,
        extras: Extras = DEAREST,
    ) -> int:
        """The most that a call can cost.

        Args:
            models: all that may answer it and be billed: the one asked for, fallbacks, an advisor.
            body_bytes: of the body, decoded.
            max_tokens: that it asks for, `None` if it doesn't say.
            now_seconds: the Unix time: the price in force then counts.
            extras: what makes it dearer.
        """
        input_tokens = min(max(body_bytes, 0) + ADDED_TOKENS, MAX_COUNT)
        output_tokens = MAX_OUTPUT_TOKENS if max_tokens is None else min(max(max_tokens, 0), MAX_COUNT)
        day = int(now_seconds // DAY_SECONDS)
        if day != self._day:
            self._day = day
            self._steps.clear()
        picousd = 0
        for model in models:
            steps = self._steps.get((model, extras))
            if steps is None:
                steps = self._look_up(model, extras, now_seconds)
            input_rate = output_rate = 0
            for above_tokens, input_step, output_step in steps:
                if input_tokens > above_tokens:
                    input_rate, output_rate = max(input_rate, input_step), max(output_rate, output_step)
            picousd += input_tokens * input_rate + output_tokens * output_rate
        if extras.searches > 0:
            picousd += extras.searches * self._search_picousd(models[0], now_seconds)
        return -(-picousd // 1_000)

    def _look_up(self, model: str, extras: Extras, now_seconds: float) -> _Steps:
        price = self.catalog.find(model).model.price_at(datetime.fromtimestamp(now_seconds, UTC))
        plain = multiplier_of(price, batch=False, fast=False, us=extras.us)
        fast = multiplier_of(price, batch=False, fast=True, us=extras.us)
        numerator, denominator = plain
        if extras.fast and fast[0] * denominator > numerator * fast[1]:
            numerator, denominator = fast
        steps = []
        for tier in price.tiers:
            rate = max(tier.rates()[0], *tier.rates()[2:]) if extras.cached else tier.input
            input_rate = -(-rate * numerator // denominator)
            steps.append((tier.above_tokens, input_rate, -(-tier.output * numerator // denominator)))
        if len(model) <= MAX_NAME_CHARACTERS:
            if len(self._steps) >= MAX_FOUND:
                self._steps.clear()
            self._steps[model, extras] = steps
        return steps

    def _search_picousd(self, model: str, now_seconds: float) -> int:
        price = self.catalog.find(model).model.price_at(datetime.fromtimestamp(now_seconds, UTC))
        return -(-self.catalog.web_search_picousd * price.factor[0] // price.factor[1])
