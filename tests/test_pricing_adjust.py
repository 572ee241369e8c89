"""Prices and multipliers of the operator: read exactly from the settings, and applied to the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies

from ferryman.errors import SettingsError
from ferryman.model import Usage
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import Catalog, Found, load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.settings import Settings
from ferryman.settings_load import load
from ferryman.settings_prices import (
    MAX_MULTIPLIER,
    MAX_PICOUSD_PER_TOKEN,
    PER_TOKEN,
    PriceMultiplier,
    PriceOverride,
    price_multipliers,
    price_overrides,
)

CATALOG = load_catalog()
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MILLION = Usage(input_tokens=10**6, output_tokens=10**6)


def catalog_of(text: str, tmp_path: Path) -> Catalog:
    """The catalog with what a `ferryman.yaml` sets."""
    (tmp_path / "ferryman.yaml").write_text(text, "utf-8")
    settings = load({}, environ={}, directory=tmp_path).settings
    return adjusted(CATALOG, price_overrides(settings), price_multipliers(settings))


def problems_of(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        catalog_of(text, tmp_path)
    return [problem.replace(str(tmp_path / "ferryman.yaml"), "FILE") for problem in caught.value.problems]


def rates(found: Found) -> list[float]:
    """Dollars per million tokens, in the order of `CLASSES`."""
    return [rate / 10**6 for rate in found.model.price_at(NOW).tiers[0].rates()]


def dollars(catalog: Catalog, model: str, usage: Usage = MILLION) -> Fraction:
    return Fraction(cost_of(usage, model, Terms(NOW), catalog).nanousd, 10**9)


def test_without_settings_the_catalog_is_the_same_object() -> None:
    assert adjusted(CATALOG, (), ()) is CATALOG


def test_override_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    catalog = catalog_of("prices:\n  claude-opus-5-5: {input: 3.5, cache_read: '0.1'}\n", tmp_path)
    found = catalog.find("us.anthropic.claude-opus-5-5-20260922-v1:0")
    assert (rates(found), found.source, found.model.id) == (
        [3.5, 20, 5, 8, 0.1],
        "override",
        "claude-opus-5-5",
    )
    assert found.model.price_at(NOW).source == "the setting `prices`: `claude-opus-5-5`"
    assert catalog.find("claude-opus-5") == CATALOG.find("claude-opus-5")


def test_names_of_litellm_are_per_token(tmp_path: Path) -> None:
    text = """
prices:
  claude-opus-5-5:
    input_cost_per_token: 3e-06
    output_cost_per_token: 0.000015
    cache_creation_input_token_cost: 3.75E-6
    cache_creation_input_token_cost_above_1hr: 6e-06
    cache_read_input_token_cost: 3e-7
"""
    assert rates(catalog_of(text, tmp_path).find("claude-opus-5-5")) == [3, 15, 3.75, 6, 0.3]
    assert len(PER_TOKEN) == 5


def test_model_of_the_operators_own_gets_the_usual_multiples(tmp_path: Path) -> None:
    found = catalog_of("prices: {my-model: {input: 2, output: 7}}\n", tmp_path).find("my-model")
    assert (rates(found), found.source, found.model.id) == ([2, 7, 2.5, 4, 0.2], "override", "my-model")


def test_half_a_price_of_an_unknown_model_stays_a_fallback(tmp_path: Path) -> None:
    found = catalog_of("prices: {my-model: {output: 7}}\n", tmp_path).find("my-model")
    assert (rates(found), found.source) == ([15, 7, 18.75, 30, 1.5], "fallback")


def test_free_is_free_only_where_the_operator_says_so(tmp_path: Path) -> None:
    catalog = catalog_of("prices: {local-*: {input: 0, output: 0}}\n", tmp_path)
    assert dollars(catalog, "local-llama") == 0
    assert dollars(catalog, "my-model") == 90


def test_override_holds_for_every_tier_and_every_day(tmp_path: Path) -> None:
    catalog = catalog_of("prices: {claude-haiku-5-5: {input: 0.2}, claude-opus-4-6: {input: 1}}\n", tmp_path)
    low, high = catalog.find("claude-haiku-5-5").model.price_at(NOW).tiers
    assert (low.input, high.input, high.output) == (200_000, 200_000, 2_500_000)
    early = datetime(2026, 3, 1, tzinfo=UTC)
    assert {tier.input for tier in catalog.find("claude-opus-4-6").model.price_at(early).tiers} == {1_000_000}


def test_tiers_that_an_override_makes_equal_are_one(tmp_path: Path) -> None:
    rates = "{input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5}"
    text = f"prices: {{claude-haiku-5-5: {rates}}}"
    assert len(catalog_of(text, tmp_path).find("claude-haiku-5-5").model.prices[0].tiers) == 1


def test_multiplier_is_for_tokens_and_searches(tmp_path: Path) -> None:
    catalog = catalog_of("price_multipliers: {claude-opus-*: 0.85}\n", tmp_path)
    usage = Usage(input_tokens=10**6, inference_geo="us")
    assert dollars(catalog, "claude-opus-5-5", usage) == Fraction("4") * Fraction("0.85") * Fraction("1.1")
    assert catalog.find("claude-opus-5-5").source == "catalog"
    assert dollars(catalog, "claude-sonnet-5-5") == 12
    assert catalog.find("claude-opus-9").source == "fallback"


def test_multiplier_comes_on_top_of_an_override(tmp_path: Path) -> None:
    text = "prices: {claude-opus-5-5: {input: 3, output: 10}}\nprice_multipliers: {'*': 1.5}\n"
    catalog = catalog_of(text, tmp_path)
    assert dollars(catalog, "claude-opus-5-5") == Fraction("19.5")
    assert dollars(catalog, "claude-sonnet-5-5") == 18


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-opus-5-5", 1),
        ("anthropic/claude-opus-5-5-20260922", 1),
        ("claude-opus-5", 2),
        ("CLAUDE-OPUS-9", 2),
        ("claude-sonnet-5", 3),
        ("claude-4-sonnet", 3),
        ("gpt-4o", 4),
    ],
)
def test_most_exact_pattern_counts(name: str, expected: int, tmp_path: Path) -> None:
    text = """
prices:
  "*": {input: 4}
  claude-*: {input: 3}
  Claude-Opus-*: {input: 2}
  claude-opus-5-5: {input: 1}
"""
    assert rates(catalog_of(text, tmp_path).find(name))[0] == expected


def test_revision_tells_of_what_was_set(tmp_path: Path) -> None:
    one = catalog_of("price_multipliers: {'*': 0.5}\n", tmp_path)
    other = catalog_of("price_multipliers: {'*': 0.6}\n", tmp_path)
    again = catalog_of("price_multipliers: {'*': 0.50}\n", tmp_path)
    assert len({CATALOG.revision, one.revision, other.revision}) == 3
    assert one.revision == again.revision
    assert one.revision.startswith(f"{CATALOG.revision}+")
    assert cost_of(MILLION, "x", Terms(NOW), one).price_revision == one.revision


@given(
    numerator=strategies.integers(1, MAX_MULTIPLIER * 10**6),
    tokens=strategies.integers(0, 10**6),
    batch=strategies.booleans(),
)
def test_any_multiplier_is_exact_to_a_pico_dollar(numerator: int, tokens: int, *, batch: bool) -> None:
    whole, decimals = divmod(numerator, 10**6)
    settings = Settings(price_multipliers={"*": f"{whole}.{decimals:06d}"})
    catalog = adjusted(CATALOG, (), price_multipliers(settings))
    usage = Usage(cache_creation_input_tokens=tokens, output_tokens=1)
    cost = cost_of(usage, "claude-haiku-5-5", Terms(NOW, batch=batch), catalog)
    rate = Fraction(125_000 if tokens <= 100_000 else 625_000)
    exact = (rate * tokens + (500_000 if tokens <= 100_000 else 2_500_000)) * Fraction(numerator, 10**6)
    exact /= 2 if batch else 1
    assert abs(sum(part.picousd for part in cost.parts) - exact) <= 1
    assert abs(cost.nanousd - exact / 1_000) <= Fraction(501, 1_000)


def test_what_is_no_price_is_refused_with_model_and_value(tmp_path: Path) -> None:
    text = """
prices:
  m: {inptu: 1, output: -3, input: 0.1234567}
  n: {input: 10001, output: many}
  o: {input: 1, input_cost_per_token: 1e-6}
  p: {input_cost_per_token: 1e-13}
price_multipliers: {a: 0, b: 101, c: 0.1234567, d: "50%"}
"""
    wanted = "wanted dollars per million tokens, at most $10,000 per million and six decimals of that."
    names = "`input`, `output`, `cache_write_5m`, `cache_write_1h`, `cache_read`, `input_cost_per_token`"
    told = problems_of(text, tmp_path)
    assert told[0].startswith(
        f"prices, from FILE: `m` has `inptu`, which is no class of tokens; wanted {names}"
    )
    assert told[1:6] == [
        f"prices, from FILE: `m` has `-3` as `output`, which is no price; {wanted}",
        f"prices, from FILE: `m` has `0.1234567` as `input`, which is no price; {wanted}",
        f"prices, from FILE: `n` has `10001` as `input`, which is no price; {wanted}",
        f"prices, from FILE: `n` has `many` as `output`, which is no price; {wanted}",
        "prices, from FILE: `o` has `input` twice, under two names; leave one out.",
    ]
    assert "per token, at most" in told[6]
    assert [problem.split("which is")[0] for problem in told[7:]] == [
        f"price_multipliers, from FILE: `{name}` has `{value}`, "
        for name, value in (("a", "0"), ("b", "101"), ("c", "0.1234567"), ("d", "50%"))
    ]


def test_settings_that_were_not_checked_are_refused_when_they_are_used() -> None:
    with pytest.raises(SettingsError, match="prices: `m` has no price"):
        price_overrides(Settings(prices={"m": {}}))
    with pytest.raises(SettingsError, match="price_multipliers: `m` has `x`"):
        price_multipliers(Settings(price_multipliers={"m": "x"}))


def test_overrides_and_multipliers_can_go_over_a_socket() -> None:
    settings = Settings(prices={"m": {"input": "1"}}, price_multipliers={"*": "0.85"})
    for sent, kind in (
        (price_overrides(settings), tuple[PriceOverride, ...]),
        (price_multipliers(settings), tuple[PriceMultiplier, ...]),
    ):
        assert msgspec.json.decode(msgspec.json.encode(sent), type=kind) == sent
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


@given(digits=strategies.integers(0, MAX_PICOUSD_PER_TOKEN))
def test_every_whole_number_of_pico_dollars_is_read_exactly(digits: int) -> None:
    per_million = f"{digits // 10**6}.{digits % 10**6:06d}"
    names = {"input": per_million, "output_cost_per_token": f"{digits}e-12"}
    (override,) = price_overrides(Settings(prices={"m": names}))
    assert override.picousd_per_token == {"input": digits, "output": digits}


@given(text=strategies.text() | strategies.floats().map(str))
def test_any_text_is_a_price_or_a_problem(text: str) -> None:
    problems: list[str] = []
    rate = 0
    try:
        (override,) = price_overrides(Settings(prices={"m": {"input": text}}))
        rate = override.picousd_per_token["input"]
    except SettingsError as error:
        problems = error.problems
    assert all(problem.isprintable() for problem in problems)
    assert 0 <= rate <= MAX_PICOUSD_PER_TOKEN
