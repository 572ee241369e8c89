"""What the settings say about prices: the operator's own, and multipliers.

`ferryman.settings_load` checks them with what is here; `ferryman.pricing.adjust` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import gcd
from typing import NamedTuple

from ferryman.errors import SettingsError
from ferryman.settings import Settings

PER_MILLION = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""Classes of tokens, in dollars per million."""

PER_TOKEN = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_read_input_token_cost": "cache_read",
}
"""LiteLLM's names, in dollars per token → ours."""

MAX_PICOUSD_PER_TOKEN = 10**10
"""$10,000 per million tokens, a hundred times the dearest known; beyond it a unit was mistaken."""

MAX_MULTIPLIER = 100
MULTIPLIER_DECIMALS = 6

_NUMBER = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?(?:[eE]([+-]?\d{1,2}))?", re.ASCII)


class PriceOverride(NamedTuple):
    """The operator's price for models.

    Attributes:
        pattern: a model's name; `*` stands for anything.
        picousd_per_token: by class; a class that is not in it keeps its price.
    """

    pattern: str
    picousd_per_token: Mapping[str, int]


class PriceMultiplier(NamedTuple):
    """The operator's discount or surcharge for models, as a fraction in lowest terms."""

    pattern: str
    numerator: int
    denominator: int


class PriceRules(NamedTuple):
    """All that the operator set about prices."""

    overrides: tuple[PriceOverride, ...]
    multipliers: tuple[PriceMultiplier, ...]


def price_rules(settings: Settings) -> PriceRules:
    """What `settings` say of prices.

    Raises:
        SettingsError: with a sentence for each that cannot be used.
    """
    return PriceRules(price_overrides(settings), price_multipliers(settings))


def price_overrides(settings: Settings) -> tuple[PriceOverride, ...]:
    """The prices that `settings` set, in their order.

    Raises:
        SettingsError: with a sentence for each that cannot be used.
    """
    problems = [f"prices: {problem}" for problem in _override_problems(settings)]
    if problems:
        raise SettingsError(problems)
    return tuple(
        PriceOverride(pattern, {PER_TOKEN.get(name, name): _rate(name, text) for name, text in rates.items()})
        for pattern, rates in (settings.prices or {}).items()
    )


def price_multipliers(settings: Settings) -> tuple[PriceMultiplier, ...]:
    """The multipliers that `settings` set, in their order.

    Raises:
        SettingsError: with a sentence for each that cannot be used.
    """
    problems = [f"price_multipliers: {problem}" for problem in _multiplier_problems(settings)]
    if problems:
        raise SettingsError(problems)
    return tuple(
        PriceMultiplier(pattern, *_multiplier(text))
        for pattern, text in (settings.price_multipliers or {}).items()
    )


def price_problems(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with the settings of prices: the setting each problem is about, and the problem."""
    for problem in _override_problems(settings):
        yield {"prices"}, problem
    for problem in _multiplier_problems(settings):
        yield {"price_multipliers"}, problem


def _override_problems(settings: Settings) -> Iterator[str]:
    for pattern, rates in (settings.prices or {}).items():
        model = _shown(pattern)
        for name, text in rates.items():
            if name not in PER_TOKEN and name not in PER_MILLION:
                known = ", ".join(f"`{each}`" for each in (*PER_MILLION, *PER_TOKEN))
                yield f"{model} has {_shown(name)}, which is no class of tokens; wanted {known}."
                continue
            try:
                _rate(name, text)
            except ValueError:
                unit = "token" if name in PER_TOKEN else "million tokens"
                bound = MAX_PICOUSD_PER_TOKEN // 10**6
                wanted = f"wanted dollars per {unit}, at most ${bound:,} per million and six decimals of that"
                yield f"{model} has {_shown(text)} as {_shown(name)}, which is no price; {wanted}."
        ours = [PER_TOKEN.get(name, name) for name in rates]
        for twice in sorted({name for name in ours if ours.count(name) > 1}):
            yield f"{model} has {_shown(twice)} twice, under two names; leave one out."
        if not rates:
            yield f"{model} has no price; leave it out."


def _multiplier_problems(settings: Settings) -> Iterator[str]:
    for pattern, text in (settings.price_multipliers or {}).items():
        try:
            _multiplier(text)
        except ValueError:
            wanted = f"wanted a number above 0, at most {MAX_MULTIPLIER}, with at most six decimals"
            yield f"{_shown(pattern)} has {_shown(text)}, which is no multiplier; {wanted}."


def _rate(name: str, text: str) -> int:
    """Pico-dollars per token; ValueError for what is no price."""
    rate = _scaled(text, 12 if name in PER_TOKEN else 6)
    if rate > MAX_PICOUSD_PER_TOKEN:
        raise ValueError(text)
    return rate


def _multiplier(text: str) -> tuple[int, int]:
    one = 10**MULTIPLIER_DECIMALS
    value = _scaled(text, MULTIPLIER_DECIMALS)
    if not 0 < value <= MAX_MULTIPLIER * one:
        raise ValueError(text)
    common = gcd(value, one)
    return value // common, one // common


def _scaled(text: str, power: int) -> int:
    """The decimal number `text` times 10 to the `power`, exactly: a float would make 0.1 another number.

    ValueError if that is no whole number.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    decimals = found[2] or ""
    digits, power = int(found[1] + decimals), power + int(found[3] or 0) - len(decimals)
    if power >= 0:
        return digits * int("1" + "0" * power)
    whole, rest = divmod(digits, int("1" + "0" * -power))
    if rest:
        raise ValueError(text)
    return whole


def _shown(text: str) -> str:
    short = text if len(text) <= 100 else f"{text[:100]}…"
    return f"`{short.encode('unicode_escape').decode() if not short.isprintable() else short}`"
