"""Write `src/ferryman/pricing/catalog.json`: `python scripts/prices.py [--check]`.

Made of the package genai-prices, at the version that constraints.txt pins, and of what `scripts/prices.yaml`
adds to it. The same two give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from ferryman.pricing.catalog import FILE
from ferryman.pricing.names import family_of, folded
from ferryman.pricing.shapes import CLASSES

SUPPLEMENT = Path(__file__).with_suffix(".yaml")
FIELDS = ("input_mtok", "output_mtok", "cache_write_mtok", "cache_write_1h_mtok", "cache_read_mtok")
"""Of genai-prices, in the order of `CLASSES`; its `cache_write_mtok` is that of 5 minutes."""

USUAL = (Decimal(1), Decimal(0), Decimal("1.25"), Decimal(2), Decimal("0.1"))
"""Multiples of the input price, in the order of `CLASSES`: about-claude/pricing#prompt-caching."""

Json = dict[str, Any]


def supplement() -> Json:
    """What stands in `prices.yaml`, each scalar as text."""
    content: Json = yaml.load(SUPPLEMENT.read_text("utf-8"), yaml.BaseLoader)  # text only
    return content


def catalog(added: Json) -> bytes:
    """The bytes of the catalog."""
    models = {model["id"]: model for model in (*_known(added), *_added(added))}
    lines = [json.dumps(models[name], separators=(",", ":")) for name in sorted(models)]
    body = ",\n".join(lines)
    search = picousd(Decimal(added["web_search"]["dollars_per_thousand"]) / 1_000)
    digest = hashlib.sha256(f"{search}\n{body}".encode()).hexdigest()[:8]
    head = f'"revision":"{added["checked_on"]}-{digest}",\n"web_search_picousd":{search},\n"models":'
    return f"{{\n{head}[\n{body}\n]\n}}\n".encode()


def picousd(dollars: Decimal) -> int:
    """`dollars` in pico-dollars.

    Raises:
        ValueError: there is a fraction of one.
    """
    amount = dollars * 10**12
    if amount != int(amount):
        raise ValueError(f"{dollars} dollars are no whole number of pico-dollars")
    return int(amount)


def _known(added: Json) -> Iterator[Json]:
    """The models of genai-prices."""
    (anthropic,) = (provider for provider in providers if provider.id == "anthropic")
    release = f"genai-prices {metadata.version('genai-prices')}"
    source = f"{added['pricing_page']}, by {release}"
    for info in anthropic.models:
        name = added["ids"].get(info.id, info.id)
        if name not in added["models"]:
            yield _model(name, [*_prices(info, name, source, added)], added)


def _added(added: Json) -> Iterator[Json]:
    """The models of the supplement."""
    for name, prices in added["models"].items():
        rows = []
        for price in prices:
            tiers = [_tier(0, price["rates"])]
            tiers += [_tier(int(start), rates) for start, rates in price.get("above", {}).items()]
            rows.append(_price(name, tiers, price["source"], price.get("effective_from"), 1, added))
        yield _model(name, rows, added)


def _model(name: str, prices: list[Json], added: Json) -> Json:
    model: Json = {"id": name, "prices": prices}
    if family := family_of(name):
        model["family"] = family
    if name in added["aliases"]:
        model["aliases"] = added["aliases"][name]
    if name in added["retired"]:
        model["retired"] = True
    return model


def _prices(info: ModelInfo, name: str, source: str, added: Json) -> Iterator[Json]:
    """The prices of one model of genai-prices, the first without a day."""
    rows = info.prices if isinstance(info.prices, list) else [None]
    for row in rows:
        price = info.prices if row is None else row.prices
        assert isinstance(price, ModelPrice)
        constraint = None if row is None else row.constraint
        assert constraint is None or isinstance(constraint, StartDateConstraint)
        day = None if constraint is None else constraint.start_date.isoformat()
        tiers = [
            _tier(start, _rates(price, start, without_cache=name in added["without_cache"]))
            for start in _starts(price)
        ]
        yield _price(name, tiers, source, day, _fast(info, price), added)
    _check_batches(info)


def _price(  # a row of a table has many columns
    name: str, tiers: list[list[int]], source: str, day: str | None, fast: int, added: Json
) -> Json:
    price: Json = {"tiers": tiers, "source": source, "checked_on": added["checked_on"]}
    if day is not None:
        price["effective_from"] = day
    fast = int(added["fast"].get(name, fast))
    if fast != 1:
        price["fast"] = [fast, 1]
    us = added["us"]
    if _version(name) >= [int(part) for part in us["not_before"]]:
        price["us"] = [int(us["numerator"]), int(us["denominator"])]
    return price


def _version(name: str) -> list[int]:
    """The numbers in `name`; what has none is newer than numbers were needed for."""
    return [int(number) for number in re.findall(r"\d+", folded(name))] or [5]


def _starts(price: ModelPrice) -> list[int]:
    rates = (getattr(price, field, None) for field in FIELDS)
    tiers = (tier.start for rate in rates if isinstance(rate, TieredPrices) for tier in rate.tiers)
    return sorted({0, *tiers})


def _rates(price: ModelPrice, start: int, *, without_cache: bool) -> dict[str, Decimal]:
    """Dollars per million tokens by class, of the tier that starts above `start`."""
    found = [_rate(getattr(price, field, None), start) for field in FIELDS]
    if without_cache and found[0] is not None:
        usual = [found[0] * multiple for multiple in USUAL]
        found = [rate if rate is not None else usual[number] for number, rate in enumerate(found)]
    return {name: rate for name, rate in zip(CLASSES, found, strict=True) if rate is not None}


def _rate(rate: object, start: int) -> Decimal | None:
    if isinstance(rate, TieredPrices):
        return next((tier.price for tier in reversed(rate.tiers) if tier.start <= start), rate.base)
    assert rate is None or isinstance(rate, Decimal)
    return rate


def _tier(start: int, rates: Mapping[str, Decimal | str]) -> list[int]:
    return [start, *(picousd(Decimal(rates[name]) / 10**6) for name in CLASSES)]


def _fast(info: ModelInfo, price: ModelPrice) -> int:
    """The multiplier of fast mode, which has to be the same for every class."""
    for variant in info.price_variants or []:
        if variant.when == {"speed": "fast"}:
            found = {
                getattr(variant.prices, field) / getattr(price, field)
                for field in FIELDS
                if getattr(price, field, None) is not None
            }
            (multiplier,) = found
            return int(multiplier)
    return 1


def _check_batches(info: ModelInfo) -> None:
    """Stop where a batch does not cost half: then there has to be a rule for it in `cost_of`."""
    newest = info.prices[-1].prices if isinstance(info.prices, list) else info.prices
    for variant in info.price_variants or []:
        if variant.when != {"processing": "batch"}:
            continue
        for field in FIELDS:
            for start in _starts(newest):
                whole = _rate(getattr(newest, field, None), start)
                half = _rate(getattr(variant.prices, field, None), start)
                if whole is not None and (half is None or half * 2 != whole):
                    raise SystemExit(f"{info.id}: a batch costs {half} of {whole} for {field}")


def main(arguments: list[str]) -> int:
    """Write the catalog; with `--check`, only say whether it is up to date."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    new = catalog(supplement())
    if FILE.exists() and FILE.read_bytes() == new:
        return 0
    if arguments:
        print(f"{FILE.name} is out of date; run scripts/prices")
        return 1
    FILE.write_bytes(new)
    print(f"{FILE.name} is written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
