"""Usage → cost: one pure function for JSON answers, streams, batches and pricing anew.

Sources of the rules, read in November 2026, below https://platform.claude.com/docs/en/:

- about-claude/pricing: a batch costs half of every class of tokens, also of the cache's; web searches cost
  $10 per 1,000, in batches too, and errored ones are not counted; web fetches are free; `inference_geo: us`
  is 1.1 times all tokens from the models 4.6 on; fast mode multiplies all classes. Code execution is billed
  by the container's hours, beyond 1,550 free ones of the organization: no answer tells them, so that they
  are in no cost here.
- build-with-claude/prompt-caching: the 5-minute and the 1-hour part are a breakdown of the tokens that were
  written to the cache. What is in neither counts as 5 minutes, the default.
- api/messages: `output_tokens` has the thinking tokens in it. The counts of `message_delta` are cumulative:
  `Usage.updated` has put them in the place of those of `message_start`.
- build-with-claude/compaction, agents-and-tools/tool-use/advisor-tool and
  build-with-claude/refusals-and-fallback#billing-and-rate-limits: `usage.iterations` is the record of what
  is billed, each entry at the price of its model. The top level leaves out compaction, advisors and
  attempts that were declined; with an advisor its `input_tokens` are those of the first entry alone.
- build-with-claude/refusals-and-fallback#how-refusals-are-billed: see `is_refusal_billed`.

Of Priority Tier (`service_tier: priority`) the list price is taken: what was paid for it beforehand is in
no answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import gcd
from typing import Final

import msgspec

from ferryman.model import CacheCreation, Cost, CostPart, Usage
from ferryman.pricing.catalog import CATALOG, FALLBACK, OVERRIDE, Catalog
from ferryman.pricing.shapes import Iteration, Price, Tier
from ferryman.pricing.terms import Terms

MAX_COUNT: Final = 10**9
"""A count beyond it is cut. No call has a thousandth of it; sums stay within 64 bits, as in databases."""

MAX_ITERATIONS = 1_000
"""Entries of `iterations` that are read; server-side loops stop after some tens. With more of them the top
level alone is priced, and the cost is an estimate."""

REFUSALS_FREE_FROM = datetime(2026, 6, 2, tzinfo=UTC)
REFUSALS_BILLED_FROM = datetime(2026, 9, 24, tzinfo=UTC)
BILLED_CATEGORIES = frozenset({"bio", "frontier_llm", "reasoning_extraction"})

_ADVISOR = "advisor_message"
_BESIDE_THE_TOP_LEVEL = frozenset({_ADVISOR, "compaction"})
_SURENESS = (CATALOG, OVERRIDE, FALLBACK)


_Attempt = tuple[str, Usage | Iteration, bool, bool]
"""One usage object that is billed by itself: its model, its counts, in fast mode, for nothing."""

_decode_iteration = msgspec.json.Decoder(Iteration).decode


def cost_of(usage: Usage, model: str, terms: Terms, catalog: Catalog) -> Cost:
    """What `usage` cost.

    Args:
        usage: as the answer told it, or with an estimate in it.
        model: that answered, else that was asked for.
        terms: what else counts.
        catalog: the prices in force.
    """
    estimated = terms.estimated
    if usage.iterations:
        attempts, sure = _attempts(usage, model, terms)
        estimated = estimated or not sure
    else:
        free = terms.refusal is not None and not is_refusal_billed(terms.refusal.category, terms.at)
        attempts = [(model, usage, usage.speed == "fast", free)]
    us, at, batch = usage.inference_geo == "us", terms.at, terms.batch
    parts: list[CostPart] = []
    picousd = 0
    source = CATALOG
    for name, counts, fast, free in attempts:
        priced, found_in = catalog.find(name)
        if found_in is not source and _SURENESS.index(found_in) > _SURENESS.index(source):
            source = found_in
        price = priced.prices[0] if len(priced.prices) == 1 else priced.price_at(at)
        multiplier = price.factor
        if free:
            multiplier = (0, 1)
        elif fast or us or batch:
            multiplier = multiplier_of(price, batch=batch, fast=fast, us=us)
        picousd += _add_tokens(parts, priced.id, counts, price, multiplier)
    tools = usage.server_tool_use
    if tools is not None and tools.web_search_requests:
        found = catalog.find(model)
        factor = found.model.price_at(at).factor
        searches = min(tools.web_search_requests, MAX_COUNT)
        if searches > 0:
            part = CostPart(found.model.id, "web_search", searches, catalog.web_search_picousd, *factor)
            parts.append(part)
            picousd += part.picousd
    return Cost(
        (picousd + 500) // 1_000, source, catalog.revision, parts, estimated,
        model, batch, terms.refusal, terms.declined or None,
    )  # fmt: skip


def is_refusal_billed(category: str | None, at: datetime) -> bool:
    """Whether a refusal before any output was billed at that time (UTC).

    By Anthropic's release notes none was from 2026-06-02 on, and since 2026-09-24 those of some categories
    are; see also refusals-and-fallback#how-refusals-are-billed.
    """
    if at >= REFUSALS_BILLED_FROM:
        return category in BILLED_CATEGORIES
    return at < REFUSALS_FREE_FROM


def multiplier_of(price: Price, *, batch: bool, fast: bool, us: bool) -> tuple[int, int]:
    """By how much all of a call's rates are multiplied, as numerator and denominator."""
    numerator, denominator = price.factor
    if batch:
        denominator *= 2
    if fast:
        numerator *= price.fast[0]
        denominator *= price.fast[1]
    if us:
        numerator *= price.us[0]
        denominator *= price.us[1]
    common = gcd(numerator, denominator)
    return numerator // common, denominator // common


def _add_tokens(
    parts: list[CostPart], model: str, usage: Usage | Iteration, price: Price, multiplier: tuple[int, int]
) -> int:
    """Add the parts of a usage object, in the order of `CLASSES`; their sum in pico-dollars."""
    fresh, output = usage.input_tokens or 0, usage.output_tokens or 0
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    hour = 0
    if (split := usage.cache_creation) is not None:
        hour = max(split.ephemeral_1h_input_tokens or 0, 0)
        written = max(written, hour + (split.ephemeral_5m_input_tokens or 0))
    tiers = price.tiers
    tier = tiers[0] if len(tiers) == 1 else price.tier(fresh + written + read)
    numerator, denominator = multiplier
    begun, sum_picousd = len(parts), 0  # at the list price
    if fresh > 0:
        units = min(MAX_COUNT, fresh)
        rate = tier.input
        parts.append(CostPart(model, "input", units, rate, numerator, denominator))
        sum_picousd += units * rate
    if output > 0:
        units = min(MAX_COUNT, output)
        rate = tier.output
        parts.append(CostPart(model, "output", units, rate, numerator, denominator))
        sum_picousd += units * rate
    if written > hour:
        units = min(written - hour, MAX_COUNT)
        rate = tier.cache_write_5m
        parts.append(CostPart(model, "cache_write_5m", units, rate, numerator, denominator))
        sum_picousd += units * rate
    if hour > 0:
        units = min(hour, MAX_COUNT)
        rate = tier.cache_write_1h
        parts.append(CostPart(model, "cache_write_1h", units, rate, numerator, denominator))
        sum_picousd += units * rate
    if read > 0:
        units = min(MAX_COUNT, read)
        rate = tier.cache_read
        parts.append(CostPart(model, "cache_read", units, rate, numerator, denominator))
        sum_picousd += units * rate
    if denominator == 1 or not _grain_picousd(tier) * numerator % denominator:
        return sum_picousd * numerator // denominator
    return sum([part.picousd for part in parts[begun:]])


def _grain_picousd(tier: Tier) -> int:
    """What divides every rate: with it each part is known to be whole, without a look at each."""
    return gcd(tier.input, tier.output, tier.cache_write_5m, tier.cache_write_1h, tier.cache_read)


def _attempts(usage: Usage, model: str, terms: Terms) -> tuple[list[_Attempt], bool]:
    """What is billed by itself, and whether all of it could be read."""
    entries, sure = _readable(usage.iterations or [])
    served: list[Iteration] = []
    beside: list[Iteration] = []
    for entry in entries:
        (beside if entry.type in _BESIDE_THE_TOP_LEVEL else served).append(entry)
    fast = usage.speed == "fast"
    free = terms.refusal is not None and not is_refusal_billed(terms.refusal.category, terms.at)
    attempts: list[_Attempt] = []
    if len(served) > 1 and _covers(served, usage):
        _share_hours(served, usage.cache_creation)
        for number, entry in enumerate(served):
            name = entry.model or model
            last = number == len(served) - 1
            unheard = free and last
            if not last and not entry.output_tokens and name != (served[-1].model or model):
                if terms.declined is None or name not in terms.declined:
                    sure = False  # it may have been free
                else:
                    unheard = not is_refusal_billed(terms.declined[name], terms.at)
            attempts.append((name, entry, fast, unheard))
    else:
        # One entry says what the top level says, which knows the lifetimes in the cache as well.
        only = served[0].model if len(served) == 1 else None
        attempts.append((only or model, usage, fast, free))
    # The request's speed is not the advisor's. Source: Claude Code 2.1.330 prices it so.
    attempts += [(entry.model or model, entry, fast and entry.type != _ADVISOR, False) for entry in beside]
    return attempts, sure


def _readable(raw: list[msgspec.Raw]) -> tuple[list[Iteration], bool]:
    if len(raw) > MAX_ITERATIONS:
        return [], False
    entries = []
    for item in raw:
        try:
            entries.append(_decode_iteration(item))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return entries, len(entries) == len(raw)


def _covers(served: list[Iteration], usage: Usage) -> bool:
    """Whether the entries tell at least as much as the top level, as they should, in every class."""
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return all(sum(getattr(e, name) or 0 for e in served) >= (getattr(usage, name) or 0) for name in names)


def _share_hours(served: list[Iteration], split: CacheCreation | None) -> None:
    """Give entries that do not tell the lifetime of what they wrote their share of the top level's hour."""
    left = (split.ephemeral_1h_input_tokens or 0) if split is not None else 0
    for entry in served:
        if entry.cache_creation is not None:
            left -= entry.cache_creation.ephemeral_1h_input_tokens or 0
    for entry in served:
        if entry.cache_creation is None and left > 0:
            hour = min(left, entry.cache_creation_input_tokens or 0)
            entry.cache_creation = CacheCreation(ephemeral_1h_input_tokens=hour)
            left -= hour
