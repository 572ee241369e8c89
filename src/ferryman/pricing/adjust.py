"""What the operator set, applied to the catalog. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ferryman.pricing.catalog import CATALOG, FALLBACK, OVERRIDE, Catalog, Found, load_catalog
from ferryman.pricing.shapes import CLASSES, Model, Price, Tier
from ferryman.settings import Settings
from ferryman.settings_prices import PriceMultiplier, PriceOverride, price_rules

USUAL_PERCENT = {"cache_write_5m": 125, "cache_write_1h": 200, "cache_read": 10}
"""Of the input price. Source: about-claude/pricing#prompt-caching."""


class _Rule(NamedTuple):
    """A pattern as an expression, and what it is for."""

    matches: re.Pattern[str]
    override: PriceOverride | None
    factor: tuple[int, int] | None


def catalog_of(settings: Settings) -> Catalog:
    """The catalog that comes with Ferryman, as `settings` want it.

    Raises:
        SettingsError: with a sentence for each price that cannot be used.
    """
    return adjusted(load_catalog(), *price_rules(settings))


def adjusted(
    catalog: Catalog, overrides: Sequence[PriceOverride], multipliers: Sequence[PriceMultiplier]
) -> Catalog:
    """`catalog` as the operator wants it.

    A pattern is compared with the name as it was sent, and with the catalog's name of the same model, case
    aside. Of several that fit the most exact counts: one without `*` first, else that with the most
    characters, else that which stands first. Classes that an override doesn't name keep the catalog's
    price; of a model that the catalog doesn't know, the cache's are the usual multiples of its input price.
    """
    if not overrides and not multipliers:
        return catalog
    priced = [_Rule(_expression(each.pattern), each, None) for each in sorted(overrides, key=_vagueness)]
    factors = [
        _Rule(_expression(each.pattern), None, (each.numerator, each.denominator))
        for each in sorted(multipliers, key=_vagueness)
    ]

    def adjust(name: str, found: Found) -> Found:
        names = (name.lower(), found.model.id.lower()) if found.source == CATALOG else (name.lower(),)
        for rule in priced:
            if rule.override is not None and any(rule.matches.fullmatch(each) for each in names):
                found = _overridden(name, found, rule.override)
                break
        for rule in factors:
            if rule.factor is not None and any(rule.matches.fullmatch(each) for each in names):
                found = _multiplied(found, rule.factor)
                break
        return found

    told = repr(([(each.pattern, dict(each.picousd_per_token)) for each in overrides], [*multipliers]))
    return Catalog(catalog.file, adjust, f"+{zlib.crc32(told.encode()):08x}")


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.lower().split("*")), re.DOTALL)


def _vagueness(rule: PriceOverride | PriceMultiplier) -> tuple[bool, int]:
    return "*" in rule.pattern, -len(rule.pattern)


def _overridden(name: str, found: Found, override: PriceOverride) -> Found:
    rates = dict(override.picousd_per_token)
    known = found.source == CATALOG
    if not known and "input" in rates:
        for what, percent in USUAL_PERCENT.items():
            rates.setdefault(what, (rates["input"] * percent + 50) // 100)
    prices = tuple(
        msgspec.structs.replace(
            price,
            tiers=_merged([_with_rates(tier, rates) for tier in price.tiers]),
            source=f"the setting `prices`: `{override.pattern}`",
        )
        for price in found.model.prices
    )
    told = known or {"input", "output"} <= rates.keys()
    model = Model(found.model.id if known else name, prices, found.model.family)
    return Found(model, OVERRIDE if told else FALLBACK)


def _with_rates(tier: Tier, rates: dict[str, int]) -> Tier:
    own = [rates.get(what, rate) for what, rate in zip(CLASSES, tier.rates(), strict=True)]
    return Tier(tier.above_tokens, *own)


def _merged(tiers: list[Tier]) -> tuple[Tier, ...]:
    """`tiers` without those that are like the one before."""
    kept = tiers[:1]
    for tier in tiers[1:]:
        if tier.rates() != kept[-1].rates():
            kept.append(tier)
    return tuple(kept)


def _multiplied(found: Found, factor: tuple[int, int]) -> Found:
    prices: list[Price] = [msgspec.structs.replace(price, factor=factor) for price in found.model.prices]
    return Found(msgspec.structs.replace(found.model, prices=tuple(prices)), found.source)
