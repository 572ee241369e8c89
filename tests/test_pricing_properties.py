"""What holds for the cost of every usage."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given, strategies

from ferryman.model import CacheCreation, Cost, ServerToolUse, Usage
from ferryman.pricing.cost import MAX_COUNT, cost_of
from ferryman.pricing.terms import Terms
from ferryman.simulator.usage import split
from tests.support.costs import CATALOG, NOW, PLAIN, usage_of

MODELS = [model.id for model in CATALOG.models]
COUNT = strategies.integers(0, 300_000)
SOME_MODEL = strategies.sampled_from([*MODELS, "claude-opus-9", "gpt-4o"])


def counts() -> strategies.SearchStrategy[dict[str, Any]]:
    """A usage object as JSON, with a split that tells of all or of some of the cache writes."""

    def built(fresh: int, output: int, hour: int, minutes: int, rest: int, read: int) -> dict[str, Any]:
        return {
            "input_tokens": fresh,
            "output_tokens": output,
            "cache_creation_input_tokens": hour + minutes + rest,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
        }

    return strategies.builds(built, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)


USAGES = strategies.builds(
    lambda numbers, searches, speed, geo: (
        numbers
        | {"server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 5}}
        | {"speed": speed, "inference_geo": geo, "service_tier": "standard"}
    ),
    counts(),
    strategies.integers(0, 50),
    strategies.sampled_from(["standard", "fast", None]),
    strategies.sampled_from(["global", "us", "not_available", None]),
)


@given(numbers=USAGES, model=SOME_MODEL, batch=strategies.booleans())
def test_total_is_the_sum_of_the_parts_rounded_once(numbers: dict[str, Any], model: str, batch: bool) -> None:
    cost = cost_of(usage_of(**numbers), model, Terms(NOW, batch=batch), CATALOG)
    assert cost.nanousd == (sum(part.picousd for part in cost.parts) + 500) // 1_000
    for part in cost.parts:
        exact = Fraction(part.units * part.picousd_per_unit * part.numerator, part.denominator)
        assert part.picousd == exact
    assert msgspec.json.decode(msgspec.json.encode(cost), type=Cost) == cost


COUNT_NAMES = ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]


@given(
    numbers=USAGES,
    model=SOME_MODEL,
    name=strategies.sampled_from(COUNT_NAMES),
    more=strategies.integers(1, 10**6),
)
def test_more_tokens_never_cost_less(numbers: dict[str, Any], model: str, name: str, more: int) -> None:
    fewer = cost_of(usage_of(**numbers), model, PLAIN, CATALOG)
    higher = cost_of(usage_of(**numbers | {name: numbers[name] + more}), model, PLAIN, CATALOG)
    assert higher.nanousd > fewer.nanousd


@given(numbers=USAGES, model=SOME_MODEL)
def test_streamed_costs_what_unstreamed_costs_and_a_batch_half(numbers: dict[str, Any], model: str) -> None:
    whole = usage_of(**numbers)
    start, deltas = split(numbers, deltas=2)
    streamed = usage_of(**start)
    for delta in deltas:
        streamed = streamed.updated(usage_of(**delta))
    cost = cost_of(whole, model, PLAIN, CATALOG)
    assert cost_of(streamed, model, PLAIN, CATALOG) == cost
    halved = cost_of(whole, model, Terms(NOW, batch=True), CATALOG)
    assert [2 * part.picousd for part in halved.parts if part.what != "web_search"] == [
        part.picousd for part in cost.parts if part.what != "web_search"
    ]
    searches = sum(part.picousd for part in cost.parts if part.what == "web_search") // 1_000
    assert abs(2 * (halved.nanousd - searches) - (cost.nanousd - searches)) <= 1


@given(
    entries=strategies.lists(
        strategies.tuples(
            counts(), strategies.sampled_from(["message", "advisor_message", "compaction"]), SOME_MODEL
        ),
        min_size=1,
        max_size=6,
    ),
    model=SOME_MODEL,
)
def test_iterations_cost_the_sum_of_their_entries(
    entries: list[tuple[dict[str, Any], str, str]], model: str
) -> None:
    raw = [numbers | {"type": kind, "model": name} for numbers, kind, name in entries]
    served = [numbers for numbers, kind, _ in entries if kind == "message"]
    top: dict[str, Any] = {name: sum(numbers[name] for numbers in served) for name in COUNT_NAMES}
    if len(served) == 1:
        top["cache_creation"] = served[0]["cache_creation"]
    together = cost_of(usage_of(**top, iterations=raw), model, PLAIN, CATALOG)
    alone = [cost_of(usage_of(**numbers), name, PLAIN, CATALOG) for numbers, _, name in entries]
    expected = sorted(part for cost in alone for part in map(msgspec.to_builtins, cost.parts))
    assert sorted(map(msgspec.to_builtins, together.parts)) == expected


WILD = strategies.none() | strategies.integers(-(10**30), 10**30)
ANYTHING = strategies.builds(
    Usage,
    input_tokens=WILD,
    output_tokens=WILD,
    cache_creation_input_tokens=WILD,
    cache_read_input_tokens=WILD,
    cache_creation=strategies.none() | strategies.builds(CacheCreation, WILD, WILD),
    server_tool_use=strategies.none() | strategies.builds(ServerToolUse, WILD, WILD),
    inference_geo=strategies.none() | strategies.sampled_from(["us", "x"]),
    speed=strategies.none() | strategies.sampled_from(["fast", "x"]),
    iterations=strategies.none() | strategies.lists(strategies.binary().map(msgspec.Raw), max_size=3),
)


@given(usage=ANYTHING, model=strategies.text())
def test_any_usage_has_a_cost_that_fits_a_database(usage: Usage, model: str) -> None:
    cost = cost_of(usage, model, PLAIN, CATALOG)
    assert 0 <= cost.nanousd < 2**63
    assert all(0 < part.units <= MAX_COUNT for part in cost.parts)
