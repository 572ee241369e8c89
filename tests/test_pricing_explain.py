"""Costs and prices written out, and the estimate for a stream that broke off."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from fractions import Fraction

import pytest
from hypothesis import given, strategies

from ferryman.model import CacheCreation, ServerToolUse, Usage
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.estimate import (
    BYTES_PER_TOKEN,
    ENVELOPE_BYTES,
    estimated_output_tokens,
    estimated_usage,
)
from ferryman.pricing.explain import CostLine, decimal, dollars, dollars_of_nano, explain, price_lines
from ferryman.pricing.terms import Terms
from ferryman.settings_prices import PriceMultiplier

CATALOG = load_catalog()
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_cost_is_written_out_line_by_line() -> None:
    usage = Usage(
        input_tokens=1_500,
        output_tokens=20,
        cache_creation_input_tokens=300,
        cache_creation=CacheCreation(100, 200),
        server_tool_use=ServerToolUse(2, 0),
        inference_geo="us",
    )
    cost = cost_of(usage, "claude-opus-5-5", Terms(NOW), CATALOG)
    lines = explain(cost)
    assert lines == [
        CostLine("claude-opus-5-5", "input", 1_500, "4.00", "1.1", "0.0066"),
        CostLine("claude-opus-5-5", "output", 20, "20.00", "1.1", "0.00044"),
        CostLine("claude-opus-5-5", "cache_write_5m", 100, "5.00", "1.1", "0.00055"),
        CostLine("claude-opus-5-5", "cache_write_1h", 200, "8.00", "1.1", "0.00176"),
        CostLine("claude-opus-5-5", "web_search", 2, "10.00", "1", "0.02"),
    ]
    assert sum(Fraction(line.dollars) for line in lines) == Fraction(dollars_of_nano(cost.nanousd))


def test_price_is_written_out_with_its_tiers_and_source() -> None:
    lines = [*price_lines(CATALOG.find("claude-haiku-5-5-20261007"), NOW)]
    assert [(line.what, line.above_tokens, line.dollars_per_million) for line in lines][:6] == [
        ("input", 0, "0.10"),
        ("output", 0, "0.50"),
        ("cache_write_5m", 0, "0.125"),
        ("cache_write_1h", 0, "0.20"),
        ("cache_read", 0, "0.01"),
        ("input", 100_000, "0.50"),
    ]
    assert {(line.model, line.price_source, line.checked_on) for line in lines} == {
        ("claude-haiku-5-5", "catalog", date(2026, 11, 21))
    }
    assert len(lines) == 10


def test_price_is_that_with_the_operators_multiplier() -> None:
    catalog = adjusted(CATALOG, (), [PriceMultiplier("*", 17, 20)])
    assert next(price_lines(catalog.find("claude-opus-5-5"), NOW)).dollars_per_million == "3.40"


@given(picousd=strategies.integers(0, 2**70))
def test_dollars_are_exact(picousd: int) -> None:
    assert Fraction(dollars(picousd)) == Fraction(picousd, 10**12)
    assert Fraction(dollars_of_nano(picousd)) == Fraction(picousd, 10**9)
    assert len(dollars(picousd).partition(".")[2]) >= 2


def test_fraction_without_end_is_cut() -> None:
    assert decimal(1, 3) == "0." + "3" * 18


def delta(text: str, kind: str = "text_delta", field: str = "text") -> bytes:
    """An event as Anthropic writes it."""
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}}
    body = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"event: content_block_delta\ndata: {body}\n\n".encode()


def test_envelope_is_that_of_the_shortest_event() -> None:
    assert len(delta("")) == ENVELOPE_BYTES
    assert len(delta("", "input_json_delta", "partial_json")) > ENVELOPE_BYTES


def estimate(*texts: str, reported: int | None = 1, max_tokens: int | None = None) -> int:
    events = [delta(text) for text in texts]
    return estimated_output_tokens(reported, sum(map(len, events)), len(events), max_tokens)


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        ((), 1),
        (("",), 1),
        (("Hel", "lo ", "wor", "ld."), 4),
        (("Hello, world, and all.",), 8),
        (("你好世界",), 4),
    ],
)
def test_estimate_is_a_third_of_the_bytes_and_at_least_an_event_each(
    texts: tuple[str, ...], tokens: int
) -> None:
    assert estimate(*texts) == tokens


def test_estimate_is_never_below_what_was_reported_nor_above_what_was_allowed() -> None:
    assert estimate("x" * 300, reported=400) == 400
    assert estimate("x" * 300, max_tokens=50) == 50
    assert estimate("x" * 300, reported=None) == 300 // BYTES_PER_TOKEN


@given(texts=strategies.lists(strategies.text(max_size=50), max_size=20), more=strategies.text(max_size=20))
def test_more_seen_is_never_estimated_less(texts: list[str], more: str) -> None:
    assert estimate(*texts, more) >= estimate(*texts)


def test_interrupted_stream_costs_its_input_and_the_estimate_and_is_marked() -> None:
    start = Usage(input_tokens=1_000, output_tokens=1, cache_read_input_tokens=500)
    usage = estimated_usage(start, ENVELOPE_BYTES + 300, 1)
    cost = cost_of(usage, "claude-opus-5-5", Terms(NOW, estimated=True), CATALOG)
    assert cost.estimated
    assert Fraction(cost.nanousd, 10**9) == Fraction(1_000 * 4 + 100 * 20, 10**6) + Fraction(500 * 2, 10**7)
