"""The rates behind what Claude Code's meter was recorded to say, and the rules by which it applies them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.claude_code_costs import Row, recorded

Rates = tuple[str, str, str, str, str]

# In USD per million tokens: input, output, cache write for 5 minutes and for 1 hour, cache read.
OPUS_5_5: Rates = ("4", "20", "5", "8", "0.20")
SONNET_4: Rates = ("3", "15", "3.75", "6", "0.30")
OPUS_5: Rates = ("5", "25", "6.25", "10", "0.50")
FABLE_5: Rates = ("10", "50", "12.50", "20", "1")
FABLE_5_1: Rates = ("10", "50", "12.50", "20", "0.25")
FABLE_5_2: Rates = ("8", "40", "10", "16", "0.20")
RATES: dict[str, Rates] = {
    "claude-3-5-haiku": ("0.80", "4", "1", "1.60", "0.08"),
    "claude-3-5-sonnet": SONNET_4,
    "claude-3-7-sonnet": SONNET_4,
    "claude-sonnet-4-0": SONNET_4,
    "claude-sonnet-4-5": SONNET_4,
    "claude-sonnet-4-5-20250929": SONNET_4,
    "claude-sonnet-4-6": SONNET_4,
    "claude-sonnet-5": ("2", "10", "2.50", "4", "0.20"),
    "claude-sonnet-5-5": ("2", "10", "2.50", "4", "0.10"),
    "claude-haiku-4-5": ("1", "5", "1.25", "2", "0.10"),
    "claude-haiku-4-5-20251001": ("1", "5", "1.25", "2", "0.10"),
    "claude-haiku-5-5": ("0.10", "0.50", "0.125", "0.20", "0.01"),
    "claude-opus-4-5": OPUS_5,
    "claude-opus-4-5-20251101": OPUS_5,
    "claude-opus-4-6": OPUS_5,
    "claude-opus-4-7": OPUS_5,
    "claude-opus-4-8": OPUS_5,
    "claude-opus-5": OPUS_5,
    "claude-opus-5-5": OPUS_5_5,
    "claude-fable-5": FABLE_5,
    "claude-mythos-5": FABLE_5,
    "claude-fable-5-1": FABLE_5_1,
    "claude-mythos-5-1": FABLE_5_1,
    "claude-fable-5-2": FABLE_5_2,
    "claude-mythos-5-2": FABLE_5_2,
}
# What it takes for one of these: a name with any date or word behind it.
RATES |= {
    "claude-sonnet-4-20250514": SONNET_4,
    "claude-sonnet-4-5@20250929": SONNET_4,
    "claude-sonnet-4-6-20260101": SONNET_4,
    "claude-sonnet-5-20270101": RATES["claude-sonnet-5"],
    "claude-3-5-haiku-latest": RATES["claude-3-5-haiku"],
    "claude-haiku-5-5-preview": RATES["claude-haiku-5-5"],
}
UNKNOWN = OPUS_5_5  # also claude-mythos-preview, every Claude 3 and names that are not built yet
HAIKU_5_5_OVER_100K: Rates = ("0.50", "2.50", "0.625", "1", "0.05")
# Every other model costs the same when it is fast. Opus 4.6 and 4.7 are no longer offered so.
FAST: dict[str, Rates] = {
    "claude-opus-4-6": ("30", "150", "37.50", "60", "3"),
    "claude-opus-4-7": ("30", "150", "37.50", "60", "3"),
    "claude-opus-4-8": ("10", "50", "12.50", "20", "1"),
    "claude-opus-5": ("10", "50", "12.50", "20", "1"),
    "claude-opus-5-5": ("8", "40", "10", "16", "0.40"),
    "claude-fable-5-2": ("16", "80", "20", "32", "0.40"),
    "claude-mythos-5-2": ("16", "80", "20", "32", "0.40"),
}
US = Decimal("1.1")  # of every model, also of those that refuse `inference_geo`
SEARCH_USD = Decimal("0.01")  # without the above
# Of seventeen digits that binary floating point has, a sum of a few terms keeps fifteen.
EXACTNESS = Decimal("1e-15")


def metered_usd(model: str, usage: dict[str, Any]) -> Decimal:
    """What Claude Code makes of one answer.

    What it leaves out: compaction, the models that declined before a fallback (and the fallback's own
    price), the batch and the priority tier. The refusal before output is charged its input.
    """
    multiplier = US if usage.get("inference_geo") == "us" else Decimal(1)
    is_fast = usage.get("speed") == "fast"
    total = sum((_tokens_usd(model, part, is_fast=is_fast) for part in _turns(model, usage)), Decimal())
    for part in usage.get("iterations", []):
        if part["type"] == "advisor_message":  # never fast, but in the same place
            total += _tokens_usd(part["model"], part, is_fast=False)
    searches: int = usage.get("server_tool_use", {}).get("web_search_requests", 0)
    return total * multiplier + searches * SEARCH_USD


def _turns(model: str, usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a prompt's size decides, each turn of a server-tool loop is a prompt, if they add up."""
    turns = [part for part in usage.get("iterations", []) if part["type"] == "message"]
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    adds_up = all(sum(turn[name] for turn in turns) == usage.get(name) for name in names)
    return turns if model == "claude-haiku-5-5" and turns and adds_up else [usage]


def _tokens_usd(model: str, usage: dict[str, Any], *, is_fast: bool) -> Decimal:
    written = usage.get("cache_creation_input_tokens", 0)
    read = usage.get("cache_read_input_tokens", 0)
    # What the split doesn't name was written for 5 minutes, and no more for an hour than was written.
    hour = min(written, usage.get("cache_creation", {}).get("ephemeral_1h_input_tokens", 0))
    counts = (usage["input_tokens"], usage["output_tokens"], written - hour, hour, read)
    rates = FAST.get(model) if is_fast else None
    rates = rates or RATES.get(model, UNKNOWN)
    if model == "claude-haiku-5-5" and usage["input_tokens"] + written + read > 100_000:
        rates = HAIKU_5_5_OVER_100K
    total = sum((count * Decimal(rate) for count, rate in zip(counts, rates, strict=True)), Decimal())
    return total / 1_000_000


@pytest.mark.parametrize("row", recorded(), ids=lambda row: f"{row.asked}-{row.cell}")
def test_recorded_cost_follows_from_rates_and_rules(row: Row) -> None:
    expected = row.requests * metered_usd(row.model, row.usage)
    if row.cell == "start-that-differs":  # only message_start tells the split, and this one told none
        expected = metered_usd(row.model, {**row.usage, "cache_creation": {}})
    assert abs(row.cost_usd - expected) <= EXACTNESS


def test_aliases_and_retired_opus_are_asked_for_by_another_name() -> None:
    assert {row.asked: row.model for row in recorded() if row.asked != row.model} == {
        "opus": "claude-opus-5-5",
        "sonnet": "claude-sonnet-5-5",
        "haiku": "claude-haiku-5-5",
        "claude-opus-5-5[1m]": "claude-opus-5-5",
        "claude-opus-4-0": "claude-opus-5-5",
        "claude-opus-4-1": "claude-opus-5-5",
    }
