"""A wide grid of usages, priced by genai-prices and by us: equal but for a written list of differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from genai_prices import extract_usage

from ferryman.model import Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.shapes import Model
from ferryman.pricing.terms import Terms

FILE = Path(__file__).parent.parent / "scripts" / "prices.yaml"
DIFFERENCES = yaml.load(FILE.read_text("utf-8"), yaml.BaseLoader)["differences"]
CATALOG = load_catalog()
BATCHES_BEGIN = datetime(2026, 10, 14, tzinfo=UTC)
LONG_CONTEXT_ENDED = datetime(2026, 4, 30, tzinfo=UTC)
DAYS = [
    datetime(2026, 3, 12, 23, 59, tzinfo=UTC),
    datetime(2026, 3, 13, tzinfo=UTC),
    LONG_CONTEXT_ENDED,
    BATCHES_BEGIN,
    datetime(2026, 11, 21, 12, 30, tzinfo=UTC),
]
PROMPTS = [0, 999, 100_000, 100_001, 200_000, 200_001, 900_001]
SHARES = [(0, 0, 0, 0), (30, 20, 0, 40), (10, 0, 80, 0), (0, 25, 25, 50)]
"""Percent of the prompt: written for 5 minutes without being told so, told so, for an hour, read."""

CONTEXTS: list[dict[str, str]] = [{}, {"processing": "batch"}, {"speed": "fast"}]

priced_by_both = [model for model in CATALOG.models if "mythos" not in model.id or model.id.endswith("5-2")]


class Case(NamedTuple):
    """A usage, and what else its price depends on."""

    model: Model
    usage: dict[str, Any]
    day: datetime
    context: dict[str, str]

    @property
    def prompt_tokens(self) -> int:
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return sum(self.usage[name] for name in names)


def usages() -> Iterator[dict[str, Any]]:
    for prompt, (unsaid, minutes, hour, read), output in itertools.product(PROMPTS, SHARES, (0, 12_345)):
        written = [prompt * percent // 100 for percent in (unsaid, minutes, hour)]
        cached = prompt * read // 100
        yield {
            "input_tokens": prompt - sum(written) - cached,
            "output_tokens": output,
            "cache_creation_input_tokens": sum(written),
            "cache_read_input_tokens": cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written[0] + written[1],
                "ephemeral_1h_input_tokens": written[2],
            }
            if hour
            else None,
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 7} if output else None,
        }


def cases(model: Model) -> Iterator[Case]:
    days = DAYS if len(model.prices) > 1 else DAYS[-3:]
    for usage, day, context in itertools.product(usages(), days, CONTEXTS):
        yield Case(model, usage, day, context)


def theirs(case: Case) -> Fraction:
    """Dollars."""
    usage = {name: value for name, value in case.usage.items() if value is not None}
    answer = {"model": case.model.id, "usage": usage}
    extracted = extract_usage(answer, provider_id="anthropic")
    price = extracted.calc_price(price_context=case.context, genai_request_timestamp=case.day)
    return Fraction(price.total_price)


def ours(case: Case, **more: str) -> Fraction:
    """Dollars, exactly; the rounding is checked on the way."""
    usage = msgspec.convert(case.usage | {"speed": case.context.get("speed")} | more, Usage)
    cost = cost_of(usage, case.model.id, Terms(case.day, batch="processing" in case.context), CATALOG)
    picousd = sum(part.picousd for part in cost.parts)
    assert cost.nanousd == (picousd + 500) // 1_000
    return Fraction(picousd, 10**12)


def differences(case: Case) -> set[str]:
    """The rows of the written list that are about a case."""
    model, usage, prompt = case.model, case.usage, case.prompt_tokens
    tokens = prompt + usage["output_tokens"] > 0
    cached = prompt > usage["input_tokens"]
    found = set()
    if "processing" in case.context and tokens:
        if model.retired:
            found.add("batch-retired")
        elif case.day < BATCHES_BEGIN and model.id not in {"claude-fable-5-2", "claude-mythos-5-2"}:
            found.add("batch-before")
    if model.id == "claude-sonnet-4-5" and prompt > 200_000 and case.day >= LONG_CONTEXT_ENDED:
        found.add("sonnet-4-5-tier")
    if model.id in {"claude-opus-4-6", "claude-opus-4-7"} and "speed" in case.context and tokens:
        found.add("opus-fast")
    if model.id in {"claude-2", "claude-v1"} and cached:
        found.add("cacheless")
    early = {"claude-2", "claude-v1", "claude-3-haiku", "claude-3-opus", "claude-3-sonnet"}
    if model.id in early and usage["server_tool_use"]:
        found.add("web-search-early")
    return found


@pytest.mark.parametrize("model", priced_by_both, ids=lambda model: model.id)
def test_grid_agrees_but_for_the_written_differences(model: Model) -> None:
    known: set[str] = set()
    for case in cases(model):
        known_here = differences(case)
        known |= known_here
        assert (ours(case) == theirs(case)) is not bool(known_here), (case, ours(case), theirs(case))
    assert known <= DIFFERENCES.keys()


@pytest.mark.parametrize("model", priced_by_both, ids=lambda model: model.id)
def test_us_is_ten_percent_more_from_4_6_on_and_not_on_searches(model: Model) -> None:
    case = Case(model, [*usages()][-1], DAYS[-1], {})
    searches = Fraction(3, 100)
    expected = (theirs(case) - searches) * Fraction(11, 10) + searches
    newer = model.prices[-1].us != (1, 1)
    assert (ours(case, inference_geo="us") == expected) is newer
    assert newer or ours(case, inference_geo="us") == ours(case)
    assert ours(case, inference_geo="global") == ours(case)


@pytest.mark.parametrize("model", ["claude-mythos-5", "claude-mythos-5-1", "claude-mythos-preview"])
def test_models_that_are_only_ours_are_still_missing_there(model: str) -> None:
    answer = {"model": model, "usage": {"input_tokens": 1, "output_tokens": 1}}
    with pytest.raises(LookupError):
        extract_usage(answer, provider_id="anthropic").calc_price()


def test_no_written_difference_is_out_of_date() -> None:
    """Each row of the list is one that the grid meets, or one of the two tests above."""
    met = {name for model in priced_by_both for case in cases(model) for name in differences(case)}
    assert met | {"us", "mythos"} == DIFFERENCES.keys()
    for row in DIFFERENCES.values():
        assert all(row[name] for name in ("models", "where", "reason"))
