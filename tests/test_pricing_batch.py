"""What a batch costs: half of the same calls by themselves, added up in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ferryman.model import Usage
from ferryman.pricing.batch import Tally, held_nanousd, price_days
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.wire.batch import Asked

CATALOG = load_catalog()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
COUNTS = st.integers(0, 2_000_000)
USAGES = st.fixed_dictionaries(
    {"input_tokens": COUNTS, "output_tokens": COUNTS},
    optional={
        "cache_read_input_tokens": COUNTS,
        "cache_creation_input_tokens": COUNTS,
        "inference_geo": st.sampled_from(["us", "global"]),
    },
)
MODELS = st.sampled_from(["claude-opus-5-5", "claude-haiku-4-5", "claude-haiku-5-5", "claude-unheard-of-9"])


def line(model: str, usage: dict[str, Any], number: int = 0, **more: Any) -> bytes:
    message = {"model": model, "content": [{"type": "text", "text": "Hello"}], "usage": usage, **more}
    result = {"custom_id": f"r{number}", "result": {"type": "succeeded", "message": message}}
    return msgspec.json.encode(result) + b"\n"


@given(st.lists(st.tuples(MODELS, USAGES), max_size=8), st.integers(1, 400))
def test_batch_costs_half_of_the_same_calls(calls: list[tuple[str, dict[str, Any]]], size: int) -> None:
    tally = Tally("b", CATALOG, NOW)
    data = b"".join(line(model, usage) for model, usage in calls)
    for at in range(0, len(data), size):
        tally.feed(data[at : at + size])
    found = tally.results()
    assert found is not None
    assert found.lines == len(calls)
    for share in found.shares:
        alone = [msgspec.convert(usage, Usage) for model, usage in calls if model == share.model]
        costs = [cost_of(usage, share.model, Terms(NOW), CATALOG) for usage in alone]
        picousd = sum(part.picousd for cost in costs for part in cost.parts)
        assert share.costs[-1].nanousd == (picousd + 1_000) // 2_000  # half of it, rounded half up, once
        assert share.usage.output_tokens == sum(usage.output_tokens or 0 for usage in alone)
        assert share.requests == len(alone)


def test_errored_canceled_and_expired_results_are_free() -> None:
    tally = Tally("b", CATALOG, NOW)
    for kind in ("errored", "canceled", "expired"):
        tally.feed(b'{"custom_id":"a","result":{"type":"%b"}}\n' % kind.encode())
    found = tally.results()
    assert found is not None
    assert (found.lines, found.shares) == (3, [])


def test_what_is_no_result_makes_no_sum() -> None:
    tally = Tally("b", CATALOG, NOW)
    tally.feed(line("claude-opus-5-5", {"input_tokens": 1}) + b"<html>")
    assert tally.results() is None


def test_answer_without_usage_makes_the_cost_an_estimate() -> None:
    tally = Tally("b", CATALOG, NOW)
    tally.feed(line("claude-opus-5-5", {"input_tokens": 1}))
    tally.feed(b'{"result":{"type":"succeeded","message":{"model":"claude-opus-5-5"}}}\n')
    found = tally.results()
    assert found is not None
    assert found.shares[0].costs[-1].estimated


def test_refusal_before_any_output_is_free_in_a_batch_too() -> None:
    tally = Tally("b", CATALOG, NOW)
    usage = {"input_tokens": 1_000, "output_tokens": 1}
    tally.feed(line("claude-opus-5-5", usage, stop_reason="refusal", content=[]))
    found = tally.results()
    assert found is not None
    assert found.shares[0].costs[-1].nanousd == 0


def test_what_answers_have_made_is_told_with_the_results() -> None:
    tally = Tally("b", CATALOG, NOW)
    result = {"type": "bash_code_execution_result", "content": [{"file_id": "file_1"}]}
    written = {"type": "tool_use", "input": {"file_id": "file_2"}}
    content = [{"type": "bash_code_execution_tool_result", "content": result}, written]
    tally.feed(line("claude-opus-5-5", {"input_tokens": 1}, content=content, container={"id": "cont_1"}))
    found = tally.results()
    assert found is not None
    assert found.made == {"file_1": "files", "cont_1": "containers"}


def test_usage_is_added_up_with_its_parts() -> None:
    tally = Tally("b", CATALOG, NOW)
    split = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    whole = {"input_tokens": 1, "cache_creation_input_tokens": 7, "cache_creation": split}
    for _ in range(2):
        tally.feed(line("claude-opus-5-5", whole | {"server_tool_use": {"web_search_requests": 2}}))
    tally.feed(line("claude-opus-5-5", {"input_tokens": 5, "service_tier": "batch"}))
    found = tally.results()
    assert found is not None
    usage = found.shares[0].usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.service_tier) == (7, 14, None)
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_1h_input_tokens == 8
    assert usage.server_tool_use is not None
    assert usage.server_tool_use.web_search_requests == 4


def test_memory_does_not_grow_with_the_results() -> None:
    tally = Tally("b", CATALOG, NOW)
    piece = b"".join(line("claude-opus-5-5", {"input_tokens": 10, "output_tokens": 5}, n) for n in range(500))
    tally.feed(piece)
    tracemalloc.start()
    try:
        for _ in range(9):
            tally.feed(piece)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    found = tally.results()
    assert found is not None
    assert (found.lines, found.shares[0].usage.input_tokens) == (5_000, 50_000)


def test_days_are_those_on_which_a_price_began() -> None:
    days = price_days(CATALOG, NOW.date())
    assert days == sorted(set(days))
    begun = {price.effective_from for model in CATALOG.models for price in model.prices}
    assert set(days[1:]) <= begun


def test_hold_covers_all_that_the_requests_allow() -> None:
    models = {"claude-opus-5-5": 2, "claude-haiku-4-5": 1}
    asked = Asked(3, models, {"claude-opus-5-5": 200}, frozenset(models))
    assert held_nanousd(asked, 900, NOW, CATALOG) == 2 * (100 * 2_000 + 100 * 10_000) + 100 * 500
