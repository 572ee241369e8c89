"""Usage → cost: Anthropic's rules one by one."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import msgspec
import pytest

from ferryman.model import CacheCreation, Cost, CostPart, Refusal, ServerToolUse, Usage
from ferryman.pricing.cost import BILLED_CATEGORIES, REFUSALS_BILLED_FROM, REFUSALS_FREE_FROM, cost_of
from ferryman.pricing.terms import Terms
from tests.support.costs import CATALOG, NOW, PLAIN, by_model, dollars, usage_of


def test_everything_at_once_is_what_claude_code_makes_of_it() -> None:
    """(0.005475 × 2 + 0.0055) × 1.1 + 0.02, measured with Claude Code 2.1.330: fast, US, cache, advisor."""
    advisor = {
        "type": "advisor_message",
        "model": "claude-opus-4-8",
        "input_tokens": 100,
        "output_tokens": 200,
    }
    usage = usage_of(
        input_tokens=100,
        output_tokens=100,
        cache_creation_input_tokens=200,
        cache_read_input_tokens=1_700,
        cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 100},
        server_tool_use={"web_search_requests": 2, "web_fetch_requests": 9},
        speed="fast",
        inference_geo="us",
        iterations=[{"type": "message", "input_tokens": 100, "output_tokens": 100}, advisor],
    )
    cost = cost_of(usage, "claude-opus-5", PLAIN, CATALOG)
    assert dollars(cost) == Fraction("0.038095")
    assert (cost.price_source, cost.price_revision, cost.estimated) == ("catalog", CATALOG.revision, False)
    assert by_model(cost)["claude-opus-4-8"] == Fraction("0.0055") * Fraction("1.1")


def test_breakdown_names_model_class_rate_and_multiplier() -> None:
    usage = usage_of(
        input_tokens=7, cache_creation_input_tokens=30, cache_creation={"ephemeral_1h_input_tokens": 20}
    )
    cost = cost_of(usage, "claude-haiku-5-5", Terms(NOW, batch=True), CATALOG)
    assert cost.parts == [
        CostPart("claude-haiku-5-5", "input", 7, 100_000, 1, 2),
        CostPart("claude-haiku-5-5", "cache_write_5m", 10, 125_000, 1, 2),
        CostPart("claude-haiku-5-5", "cache_write_1h", 20, 200_000, 1, 2),
    ]
    assert cost.nanousd == 2_975


def test_sum_is_rounded_once_and_half_up() -> None:
    """A batched cache read of Haiku 5.5 costs five nano-dollars; with 1.1 it is 5.5."""
    for tokens, nanousd in ((1, 6), (2, 11), (3, 17)):
        usage = Usage(cache_read_input_tokens=tokens, inference_geo="us")
        assert cost_of(usage, "claude-haiku-5-5", Terms(NOW, batch=True), CATALOG).nanousd == nanousd
    three = Usage(cache_read_input_tokens=1, input_tokens=1, output_tokens=1, inference_geo="us")
    assert cost_of(three, "claude-haiku-5-5", Terms(NOW, batch=True), CATALOG).nanousd == 336  # 335.5


def test_writes_without_lifetime_are_priced_as_five_minutes() -> None:
    told = Usage(cache_creation_input_tokens=900, cache_creation=CacheCreation(900, 0))
    for usage in (Usage(cache_creation_input_tokens=900), told):
        (part,) = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG).parts
        assert (part.what, part.units) == ("cache_write_5m", 900)


@pytest.mark.parametrize("total", [None, 0, 100, 300])
def test_lifetimes_are_a_breakdown_never_an_addition(total: int | None) -> None:
    usage = Usage(cache_creation_input_tokens=total, cache_creation=CacheCreation(100, 200))
    cost = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)
    assert [(part.what, part.units) for part in cost.parts] == [
        ("cache_write_5m", 100),
        ("cache_write_1h", 200),
    ]


def test_negative_count_is_none() -> None:
    usage = Usage(-9, -9, 10, -9, CacheCreation(0, -5), ServerToolUse(-3, 0))
    (part,) = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG).parts
    assert (part.what, part.units) == ("cache_write_5m", 10)


def test_thinking_is_in_the_output_already() -> None:
    thought = usage_of(output_tokens=500, output_tokens_details={"thinking_tokens": 400})
    bare = usage_of(output_tokens=500)
    assert cost_of(thought, "claude-opus-5-5", PLAIN, CATALOG) == cost_of(
        bare, "claude-opus-5-5", PLAIN, CATALOG
    )


@pytest.mark.parametrize(
    ("fresh", "written", "read", "input_picousd"),
    [
        (100_000, 0, 0, 100_000),
        (100_001, 0, 0, 500_000),
        (1, 50_000, 49_999, 100_000),
        (1, 50_000, 50_000, 500_000),
    ],
)
def test_whole_prompt_decides_the_tier_of_every_class(
    fresh: int, written: int, read: int, input_picousd: int
) -> None:
    usage = Usage(
        input_tokens=fresh, output_tokens=1, cache_creation_input_tokens=written, cache_read_input_tokens=read
    )
    rates = {
        part.what: part.picousd_per_unit for part in cost_of(usage, "claude-haiku-5-5", PLAIN, CATALOG).parts
    }
    assert rates["input"] == input_picousd
    assert rates["output"] == 5 * input_picousd


def test_speed_that_a_model_does_not_have_changes_nothing() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    fast = msgspec.structs.replace(usage, speed="fast")
    for model, factor in (("claude-sonnet-5", 1), ("claude-opus-5-5", 2), ("claude-opus-4-6", 6)):
        assert dollars(cost_of(fast, model, PLAIN, CATALOG)) == factor * dollars(
            cost_of(usage, model, PLAIN, CATALOG)
        )


@pytest.mark.parametrize("tier", ["standard", "priority", "batch", "tomorrow's"])
def test_service_tier_alone_changes_nothing(tier: str) -> None:
    usage = Usage(input_tokens=1_000, service_tier=tier)
    assert cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG).nanousd == 4_000_000


def test_searches_cost_a_cent_each_whatever_multiplies_the_tokens() -> None:
    usage = Usage(server_tool_use=ServerToolUse(5, 9), speed="fast", inference_geo="us")
    cost = cost_of(usage, "claude-opus-5-5", Terms(NOW, batch=True), CATALOG)
    assert dollars(cost) == Fraction("0.05")


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("at", "category", "billed"),
    [
        (REFUSALS_FREE_FROM - SECOND, None, True),
        (REFUSALS_FREE_FROM, "bio", False),
        (REFUSALS_BILLED_FROM - SECOND, "bio", False),
        *((REFUSALS_BILLED_FROM, category, True) for category in sorted(BILLED_CATEGORIES)),
        (NOW, "cyber", False),
        (NOW, "general_harms", False),
        (NOW, "of_tomorrow", False),
        (NOW, None, False),
    ],
)
def test_refusal_before_output_is_billed_by_day_and_category(
    at: datetime, category: str | None, *, billed: bool
) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=1, cache_read_input_tokens=1_000)
    cost = cost_of(usage, "claude-fable-5", Terms(at, refusal=Refusal(category)), CATALOG)
    whole = cost_of(usage, "claude-fable-5", Terms(at), CATALOG)
    assert cost.nanousd == (whole.nanousd if billed else 0)
    assert [part.units for part in cost.parts] == [1_000, 1, 1_000]


@pytest.mark.parametrize(
    ("model", "source"),
    [("claude-opus-5-5", "catalog"), ("claude-opus-9", "fallback"), ("my-model", "fallback")],
)
def test_source_of_the_price_is_told(model: str, source: str) -> None:
    cost = cost_of(Usage(input_tokens=1), model, PLAIN, CATALOG)
    assert (cost.price_source, cost.nanousd > 0) == (source, True)


def test_source_is_the_least_sure_of_all() -> None:
    advisor = msgspec.Raw(b'{"type": "advisor_message", "model": "claude-opus-9", "input_tokens": 1}')
    cost = cost_of(Usage(input_tokens=1, iterations=[advisor]), "claude-opus-5-5", PLAIN, CATALOG)
    assert cost.price_source == "fallback"


def test_empty_usage_costs_nothing() -> None:
    nothing = Cost(0, "catalog", CATALOG.revision, [], model="claude-opus-5-5")
    assert cost_of(Usage(), "claude-opus-5-5", PLAIN, CATALOG) == nothing
