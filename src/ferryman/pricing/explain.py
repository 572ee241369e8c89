"""A cost and a price written out, for people. Pure; every figure is exact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from ferryman.model import Cost
from ferryman.pricing.catalog import Found
from ferryman.pricing.shapes import CLASSES

_NO_DECIMALS = 2


class CostLine(NamedTuple):
    """One part of a cost.

    Attributes:
        rate: dollars per million tokens, or per thousand uses of a tool.
        multiplier: all in one; `1` for none.
        dollars: the amount.
    """

    model: str
    what: str
    units: int
    rate: str
    multiplier: str
    dollars: str


class PriceLine(NamedTuple):
    """One class of tokens of a price.

    Attributes:
        model: as the catalog spells it.
        what: the class.
        above_tokens: of the prompt, 0 for every prompt.
        dollars_per_million: as it is in force, an operator's multiplier in it.
        effective_from: `None` for since there is the model.
        price_source: `catalog`, `override` or `fallback`.
        source: where it was read.
        checked_on: when it was compared with its source.
    """

    model: str
    what: str
    above_tokens: int
    dollars_per_million: str
    effective_from: date | None
    price_source: str
    source: str
    checked_on: date


def explain(cost: Cost) -> list[CostLine]:
    """How `cost` came to be, line by line."""
    lines = []
    for part in cost.parts:
        per = 1_000 if part.what == "web_search" else 1_000_000
        rate = dollars(part.picousd_per_unit * per)
        multiplier = decimal(part.numerator, part.denominator)
        amount = dollars(part.picousd)
        lines.append(CostLine(part.model, part.what, part.units, rate, multiplier, amount))
    return lines


def price_lines(found: Found, moment: datetime) -> Iterator[PriceLine]:
    """The price in force at `moment` (UTC), line by line."""
    price = found.model.price_at(moment)
    numerator, denominator = price.factor
    for tier in price.tiers:
        for what, rate in zip(CLASSES, tier.rates(), strict=True):
            yield PriceLine(
                found.model.id,
                what,
                tier.above_tokens,
                decimal(rate * numerator, denominator * 10**6, _NO_DECIMALS),
                price.effective_from,
                found.source,
                price.source,
                price.checked_on,
            )


def dollars(picousd: int) -> str:
    """`picousd` in dollars, with two decimals or as many as it takes."""
    return decimal(picousd, 10**12, _NO_DECIMALS)


def dollars_of_nano(nanousd: int) -> str:
    """`nanousd` in dollars, the same."""
    return decimal(nanousd, 10**9, _NO_DECIMALS)


def decimal(numerator: int, denominator: int, decimals: int = 0) -> str:
    """A fraction with at least so many `decimals`.

    Exact where the denominator has no factors but 2 and 5, as everywhere here; else cut after 18.
    """
    whole, rest = divmod(numerator, denominator)
    digits = ""
    while rest and len(digits) < 18:
        digit, rest = divmod(rest * 10, denominator)
        digits += str(digit)
    digits = digits.ljust(decimals, "0")
    return f"{whole}.{digits}" if digits else str(whole)
