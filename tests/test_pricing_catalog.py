"""The catalog that is shipped: what holds for every price, how a name finds one, and how it is made."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from ferryman.aliases import FAMILIES
from ferryman.pricing.catalog import CATALOG, FALLBACK, FILE, MAX_FOUND, load_catalog
from ferryman.pricing.names import MAX_NAME_CHARACTERS, family_of, folded
from ferryman.pricing.shapes import CLASSES, Model, Price

CATALOG_IN_FORCE = load_catalog()
MODELS = CATALOG_IN_FORCE.models
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCRIPT = Path(__file__).parent.parent / "scripts" / "prices.py"

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
each_price = pytest.mark.parametrize(
    ("model", "price"),
    [(model, price) for model in MODELS for price in model.prices],
    ids=[f"{model.id}-{price.effective_from or 'first'}" for model in MODELS for price in model.prices],
)

OWN_READS = {
    "claude-opus-5-5": Fraction(1, 20),
    "claude-sonnet-5-5": Fraction(1, 20),
    "claude-fable-5-1": Fraction(1, 40),
    "claude-mythos-5-1": Fraction(1, 40),
    "claude-fable-5-2": Fraction(1, 40),
    "claude-mythos-5-2": Fraction(1, 40),
    "claude-3-haiku": Fraction(3, 25),
}
"""Cache reads by input price where that isn't a tenth. Source: about-claude/pricing, footnotes."""

OWN_WRITES = {"claude-3-haiku": Fraction(6, 5)}
"""The same of 5-minute writes; $0.30 for $0.25 is what Haiku 3 cost."""


def test_shipped_catalog_is_what_the_script_makes() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_prices_load_nothing_that_workers_do_without() -> None:
    parts = "adjust, catalog, cost, estimate, explain"
    program = f"import sys; before = set(sys.modules); from ferryman.pricing import {parts}; "
    program += "catalog.load_catalog(); print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "msgspec" in loaded
    assert not loaded & {"genai_prices", "pydantic", "httpx2", "yaml", "json", "asyncio"}


def test_revision_has_the_newest_check_in_it() -> None:
    newest = max(price.checked_on for model in MODELS for price in model.prices)
    assert CATALOG_IN_FORCE.revision.startswith(f"{newest}-")


@each_price
def test_no_price_is_zero_or_out_of_order(model: Model, price: Price) -> None:
    for tier in price.tiers:
        assert min(tier.rates()) > 0
        assert tier.cache_read < tier.input < tier.cache_write_5m < tier.cache_write_1h < tier.output


@each_price
def test_classes_are_the_multiples_that_anthropic_publishes(model: Model, price: Price) -> None:
    """A typing error in one class stood for eleven months in another project's table."""
    for tier in price.tiers:
        assert Fraction(tier.cache_write_5m, tier.input) == OWN_WRITES.get(model.id, Fraction(5, 4))
        assert tier.cache_write_1h == 2 * tier.input
        assert Fraction(tier.cache_read, tier.input) == OWN_READS.get(model.id, Fraction(1, 10))
        assert tier.output in {3 * tier.input, 5 * tier.input, Fraction(15, 4) * tier.input}


@each_price
def test_tiers_rise(model: Model, price: Price) -> None:
    assert price.tiers[0].above_tokens == 0
    for lower, higher in zip(price.tiers, price.tiers[1:], strict=False):
        assert lower.above_tokens < higher.above_tokens
        assert all(low < high for low, high in zip(lower.rates(), higher.rates(), strict=True))


@each_model
def test_prices_are_sorted_by_day_and_the_first_has_none(model: Model) -> None:
    first, *later = [price.effective_from for price in model.prices]
    days = [day for day in later if day is not None]
    assert first is None
    assert len(days) == len(later)
    assert days == sorted(set(days))


@each_price
def test_every_price_has_source_and_check(model: Model, price: Price) -> None:
    assert "about-claude/pricing" in price.source or "LiteLLM" in price.source
    assert date(2026, 11, 1) <= price.checked_on


@each_price
def test_multipliers_leave_no_fraction_of_a_pico_dollar(model: Model, price: Price) -> None:
    """So that every part of a cost is whole, whatever multiplies it."""
    for rate in (rate for tier in price.tiers for rate in tier.rates()):
        for fast in ((1, 1), price.fast):
            for us in ((1, 1), price.us):
                for batch in (1, 2):
                    assert rate * fast[0] * us[0] % (fast[1] * us[1] * batch) == 0


@each_price
def test_multipliers_are_known_ones(model: Model, price: Price) -> None:
    assert price.fast in {(1, 1), (2, 1), (6, 1)}
    numbers = [int(word) for word in folded(model.id).split("-") if word.isdigit()] or [5]
    assert price.us == ((11, 10) if numbers >= [4, 6] else (1, 1))
    assert price.factor == (1, 1)


@each_model
def test_family_is_that_of_the_name(model: Model) -> None:
    assert model.family == family_of(model.id)
    assert (model.family in FAMILIES) is (model.id not in {"claude-2", "claude-v1"})


def test_no_two_models_have_one_name() -> None:
    names = [name for model in MODELS for name in (model.id, *model.aliases)]
    assert len(set(names)) == len(names)
    assert len({folded(model.id) for model in MODELS}) == len(MODELS)
    assert [model.id for model in MODELS] == sorted(model.id for model in MODELS)


SPELLINGS = [
    "{}",
    "{}-20250929",
    "{}-2025-09-29",
    "{}-latest",
    "{}[1m]",
    "{}-20250929[1m]",
    "anthropic/{}",
    "openrouter/anthropic/{}:thinking",
    "argo:{}",
    "bedrock/us.anthropic.{}-20250929-v1:0",
    "us.anthropic.{}-20250929-v1:0",
    "eu.anthropic.{}-v1:0",
    "anthropic.{}-v2:0:200k",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.{}-20250929-v1:0",
    "vertex_ai/{}@20250929",
    "{}@default",
    " {} ",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@each_model
def test_model_is_found_by_every_spelling(model: Model, spelling: str) -> None:
    for name in (model.id, model.id.upper()):
        assert CATALOG_IN_FORCE.find(spelling.format(name)) == (model, CATALOG)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-3.5-sonnet", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("claude-sonnet-3.7", "claude-3-7-sonnet"),
        ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
        ("claude-4.5-opus", "claude-opus-4-5"),
        ("claude-4-opus-20250514", "claude-opus-4-0"),
        ("claude-opus-4", "claude-opus-4-0"),
        ("claude-opus-5-0", "claude-opus-5"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4-0"),
        ("claudesonnet45", "claude-sonnet-4-5"),
        ("argo:claude-4.1-opus", "claude-opus-4-1"),
        ("claude-v2", "claude-2"),
        ("claude-2.1", "claude-2"),
        ("anthropic.claude-v2:1", "claude-2"),
        ("claude-mythos-preview", "claude-mythos-preview"),
    ],
)
def test_other_ways_to_write_a_version_find_the_model(name: str, expected: str) -> None:
    found = CATALOG_IN_FORCE.find(name)
    assert (found.model.id, found.source) == (expected, CATALOG)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "name", ["claude-{}-9", "claude-{}-5-5-1", "claude-{}-5-5-turbo", "{}", "my-own-{}", "claude-9-{}"]
)
def test_unknown_model_of_a_family_costs_the_highest_of_those_still_served(family: str, name: str) -> None:
    found = CATALOG_IN_FORCE.find(name.format(family))
    assert (found.model.id, found.source) == (f"dearest {family}", FALLBACK)
    price = found.model.price_at(NOW)
    for member in MODELS:
        if member.family == family and not member.retired:
            assert is_never_cheaper(price, member.price_at(NOW))


@pytest.mark.parametrize("name", ["", "gpt-4o", "my-model", "claude", "claude-9", "ü", "claude-instant-1.2"])
def test_unknown_family_costs_the_highest_of_all(name: str) -> None:
    found = CATALOG_IN_FORCE.find(name)
    assert found.source == FALLBACK
    assert all(is_never_cheaper(found.model.price_at(NOW), model.price_at(NOW)) for model in MODELS)


def is_never_cheaper(price: Price, other: Price) -> bool:
    """In every class and mode."""
    (tier,) = price.tiers
    return all(
        rate * price.fast[0] >= rate_of_other * other.fast[0]
        and rate >= rate_of_other
        and price.us[0] * other.us[1] >= other.us[0] * price.us[1]
        for each in other.tiers
        for rate, rate_of_other in zip(tier.rates(), each.rates(), strict=True)
    )


@given(name=strategies.text() | strategies.from_regex(r"[a-z.]{0,9}claude[-a-z0-9.@:\[\]]{0,30}"))
def test_every_name_has_a_price(name: str) -> None:
    found = CATALOG_IN_FORCE.find(name)
    assert found.source in {CATALOG, FALLBACK}
    assert all(rate > 0 for tier in found.model.price_at(NOW).tiers for rate in tier.rates())
    assert CATALOG_IN_FORCE.find(name) == found


@settings(max_examples=5)
@given(length=strategies.integers(MAX_NAME_CHARACTERS + 1, 10**6))
def test_endless_name_is_not_looked_at_to_its_end(length: int) -> None:
    catalog = load_catalog()
    assert catalog.find("claude-opus-5-5" + "x" * length).source == FALLBACK
    assert not catalog._found


def test_names_that_are_remembered_are_bounded() -> None:
    catalog = load_catalog()
    for number in range(2 * MAX_FOUND + 10):
        catalog.find(f"claude-{number}")
    assert len(catalog._found) <= MAX_FOUND


@pytest.mark.parametrize(
    ("model", "day", "input_picousd", "tiers"),
    [
        ("claude-opus-4-6", datetime(2026, 2, 10, tzinfo=UTC), 5_000_000, 2),
        ("claude-opus-4-6", datetime(2026, 3, 12, 23, 59, 59, 999_999, tzinfo=UTC), 5_000_000, 2),
        ("claude-opus-4-6", datetime(2026, 3, 13, tzinfo=UTC), 5_000_000, 1),
        ("claude-sonnet-4-5", datetime(2026, 4, 29, tzinfo=UTC), 3_000_000, 2),
        ("claude-sonnet-4-5", datetime(2026, 4, 30, tzinfo=UTC), 3_000_000, 1),
    ],
)
def test_price_is_that_of_the_day(model: str, day: datetime, input_picousd: int, tiers: int) -> None:
    price = CATALOG_IN_FORCE.find(model).model.price_at(day)
    assert (price.tiers[0].input, len(price.tiers)) == (input_picousd, tiers)


TABLE = """
claude-opus-5-5 4 20 5 8 0.20
claude-opus-5 5 25 6.25 10 0.50
claude-opus-4-8 5 25 6.25 10 0.50
claude-opus-4-7 5 25 6.25 10 0.50
claude-opus-4-6 5 25 6.25 10 0.50
claude-opus-4-5 5 25 6.25 10 0.50
claude-sonnet-5-5 2 10 2.5 4 0.10
claude-sonnet-5 2 10 2.5 4 0.20
claude-sonnet-4-6 3 15 3.75 6 0.30
claude-sonnet-4-5 3 15 3.75 6 0.30
claude-haiku-5-5 0.10 0.50 0.125 0.20 0.01
claude-haiku-4-5 1 5 1.25 2 0.10
claude-fable-5-2 8 40 10 16 0.20
claude-mythos-5-2 8 40 10 16 0.20
claude-fable-5-1 10 50 12.5 20 0.25
claude-mythos-5-1 10 50 12.5 20 0.25
claude-fable-5 10 50 12.5 20 1.00
claude-mythos-5 10 50 12.5 20 1.00
claude-mythos-preview 10 50 12.5 20 1.00
claude-opus-4-1 15 75 18.75 30 1.50
claude-opus-4-0 15 75 18.75 30 1.50
claude-3-opus 15 75 18.75 30 1.50
claude-sonnet-4-0 3 15 3.75 6 0.30
claude-3-7-sonnet 3 15 3.75 6 0.30
claude-3-5-sonnet 3 15 3.75 6 0.30
claude-3-sonnet 3 15 3.75 6 0.30
claude-3-5-haiku 0.80 4 1 1.6 0.08
claude-3-haiku 0.25 1.25 0.30 0.50 0.03
"""
"""Dollars per million tokens, in the order of `CLASSES`: Anthropic's page on 2026-11-21, typed by hand."""


@pytest.mark.parametrize("line", TABLE.strip().splitlines(), ids=lambda line: line.split()[0])
def test_rates_are_those_of_the_pricing_page(line: str) -> None:
    name, *dollars = line.split()
    tier = CATALOG_IN_FORCE.find(name).model.price_at(NOW).tiers[0]
    assert [*tier.rates()] == [Fraction(each) * 10**6 for each in dollars]
    assert len(dollars) == len(CLASSES)


def test_table_has_all_models_with_a_family() -> None:
    assert {line.split()[0] for line in TABLE.strip().splitlines()} == {
        model.id for model in MODELS if model.family
    }
    assert FILE.stat().st_size < 1 << 16
