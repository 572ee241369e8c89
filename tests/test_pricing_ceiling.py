"""The most that a call can cost: never less than what any answer to it costs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.model import CacheCreation, ServerToolUse, Usage
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.ceiling import ADDED_TOKENS, MAX_OUTPUT_TOKENS, Ceilings, Extras
from ferryman.pricing.cost import Terms, cost_of
from ferryman.settings_prices import PriceMultiplier

CATALOG = load_catalog()
CEILINGS = Ceilings(CATALOG)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODELS = st.sampled_from([model.id for model in CATALOG.models] + ["claude-unheard-of-9", "gpt-x", ""])
PLAIN = Extras(cached=False, fast=False, us=False)


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, int, Usage, Extras]:
    """A body's length, its `max_tokens`, an answer to it, and what it asked for."""
    body = draw(st.integers(0, 2_000_000))
    most = draw(st.integers(0, 200_000))
    cached, fast, us = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    left = draw(st.integers(0, body + ADDED_TOKENS))
    fresh = draw(st.integers(0, left)) if cached else left
    written = draw(st.integers(0, left - fresh))
    hour = draw(st.integers(0, written))
    searches = draw(st.integers(0, 5))
    usage = Usage(
        input_tokens=fresh,
        cache_creation_input_tokens=written,
        cache_creation=CacheCreation(written - hour, hour),
        cache_read_input_tokens=left - fresh - written,
        output_tokens=draw(st.integers(0, most)),
        server_tool_use=ServerToolUse(searches),
        speed="fast" if fast else None,
        inference_geo="us" if us else None,
    )
    return body, most, usage, Extras(cached, fast, us, searches)


@given(answers(), MODELS, st.booleans())
def test_no_answer_costs_more(answer: tuple[int, int, Usage, Extras], model: str, known: bool) -> None:
    body, most, usage, extras = answer
    found = extras if known else Extras(searches=extras.searches)
    ceiling = CEILINGS.nanousd([model], body, most, NOW.timestamp(), found)
    assert cost_of(usage, model, Terms(NOW), CATALOG).nanousd <= ceiling


def test_full_call_costs_all_of_it() -> None:
    usage = Usage(input_tokens=5_000 + ADDED_TOKENS, output_tokens=32_000)
    cost = cost_of(usage, "claude-opus-5-5", Terms(NOW), CATALOG).nanousd
    assert CEILINGS.nanousd(["claude-opus-5-5"], 5_000, 32_000, NOW.timestamp(), PLAIN) == cost


def test_long_prompt_has_the_rates_of_its_tier() -> None:
    usage = Usage(input_tokens=200_000 + ADDED_TOKENS, output_tokens=1_000)
    cost = cost_of(usage, "claude-haiku-5-5", Terms(NOW), CATALOG).nanousd
    assert CEILINGS.nanousd(["claude-haiku-5-5"], 200_000, 1_000, NOW.timestamp(), PLAIN) == cost


def test_all_that_may_answer_are_added_up() -> None:
    models, now = ["claude-opus-5-5", "claude-haiku-4-5"], NOW.timestamp()
    each = [CEILINGS.nanousd([model], 10_000, 1_000, now) for model in models]
    assert CEILINGS.nanousd(models, 10_000, 1_000, now) == sum(each)
    assert CEILINGS.nanousd([], 10_000, 1_000, now) == 0


@pytest.mark.parametrize("asked", [None, MAX_OUTPUT_TOKENS])
def test_call_that_names_no_maximum_is_taken_for_the_longest(asked: int | None) -> None:
    ceiling = CEILINGS.nanousd(["claude-opus-5-5"], 0, asked, NOW.timestamp(), PLAIN)
    assert ceiling == MAX_OUTPUT_TOKENS * 20_000 + ADDED_TOKENS * 4_000


def test_price_is_that_of_the_day() -> None:
    before, after = datetime(2026, 3, 12, tzinfo=UTC), datetime(2026, 3, 13, tzinfo=UTC)
    found = [
        CEILINGS.nanousd(["claude-opus-4-6"], 300_000, 0, day.timestamp(), PLAIN) for day in (before, after)
    ]
    assert found[0] == 2 * found[1]


@given(answers(), st.integers(0, 300), st.integers(1, 300))
def test_operators_factor_is_in_it(
    answer: tuple[int, int, Usage, Extras], numerator: int, denominator: int
) -> None:
    catalog = adjusted(CATALOG, [], [PriceMultiplier("*", numerator, denominator)])
    body, most, usage, extras = answer
    cost = cost_of(usage, "claude-sonnet-5-5", Terms(NOW), catalog).nanousd
    ceiling = Ceilings(catalog).nanousd(["claude-sonnet-5-5"], body, most, NOW.timestamp(), extras)
    assert cost <= ceiling
    assert numerator or ceiling == 0


def test_names_that_clients_choose_fill_no_memory() -> None:
    ceilings = Ceilings(CATALOG)
    for number in range(1_000):
        ceilings.nanousd([f"model-{number}"], 1, 1, NOW.timestamp())
    ceilings.nanousd(["x" * 10_000], 1, 1, NOW.timestamp())
    assert len(ceilings._steps) <= 256
    assert all(len(model) <= 200 for model, _ in ceilings._steps)
