"""`usage.iterations`: compaction, advisors, and models that hand over to others."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest

from ferryman.model import Refusal, Usage
from ferryman.pricing.cost import MAX_ITERATIONS, cost_of
from ferryman.pricing.terms import Terms
from tests.support.costs import CATALOG, NOW, PLAIN, by_model, dollars, usage_of


def test_compaction_is_billed_beside_the_top_level() -> None:
    """The example of build-with-claude/compaction#understanding-usage."""
    usage = usage_of(
        input_tokens=23_000,
        output_tokens=1_000,
        iterations=[
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
            {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
        ],
    )
    cost = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)
    assert dollars(cost) == Fraction((180_000 + 23_000) * 4 + 4_500 * 20, 10**6)


def test_entries_are_billed_where_the_top_level_leaves_some_out() -> None:
    """The example of agents-and-tools/tool-use/advisor-tool#usage-and-billing."""
    usage = usage_of(
        input_tokens=412,
        cache_read_input_tokens=0,
        cache_creation_input_tokens=0,
        output_tokens=531,
        iterations=[
            {"type": "message", "input_tokens": 412, "output_tokens": 89},
            {
                "type": "advisor_message",
                "model": "claude-opus-4-7",
                "input_tokens": 823,
                "output_tokens": 1612,
            },
            {"type": "message", "input_tokens": 1348, "cache_read_input_tokens": 412, "output_tokens": 442},
        ],
    )
    cost = cost_of(usage, "claude-sonnet-5-5", PLAIN, CATALOG)
    assert by_model(cost) == {
        "claude-sonnet-5-5": Fraction(1_760 * 2, 10**6) + Fraction(412, 10**7) + Fraction(531 * 10, 10**6),
        "claude-opus-4-7": Fraction(823 * 5 + 1_612 * 25, 10**6),
    }


def fallen_back(output_tokens: int) -> Usage:
    """As in build-with-claude/refusals-and-fallback#what-the-response-contains."""
    return usage_of(
        input_tokens=412,
        output_tokens=264,
        iterations=[
            {
                "type": "message",
                "model": "claude-fable-5",
                "input_tokens": 535,
                "output_tokens": output_tokens,
            },
            {
                "type": "fallback_message",
                "model": "claude-opus-4-8",
                "input_tokens": 412,
                "output_tokens": 264,
            },
        ],
    )


OPUS = Fraction(412 * 5 + 264 * 25, 10**6)


def test_each_attempt_of_a_fallback_is_billed_at_its_own_model() -> None:
    cost = cost_of(
        fallen_back(80), "claude-opus-4-8", Terms(NOW, declined={"claude-fable-5": "cyber"}), CATALOG
    )
    assert by_model(cost) == {
        "claude-fable-5": Fraction(535 * 10 + 80 * 50, 10**6),
        "claude-opus-4-8": OPUS,
    }
    assert not cost.estimated


@pytest.mark.parametrize(
    "category", ["cyber", "general_harms", "bio", "frontier_llm", "reasoning_extraction", None]
)
def test_attempt_that_declined_before_output_is_billed_in_some_categories(category: str | None) -> None:
    terms = Terms(NOW, declined={"claude-fable-5": category})
    cost = cost_of(fallen_back(0), "claude-opus-4-8", terms, CATALOG)
    billed = category in {"bio", "frontier_llm", "reasoning_extraction"}
    assert dollars(cost) == OPUS + (Fraction(5_350, 10**6) if billed else 0)
    assert cost.parts[0].units == 535, "what was not billed stands in the breakdown all the same"
    assert not cost.estimated


def test_attempt_that_may_have_been_free_is_billed_and_the_cost_marked() -> None:
    cost = cost_of(fallen_back(0), "claude-opus-4-8", PLAIN, CATALOG)
    assert dollars(cost) == OPUS + Fraction(5_350, 10**6)
    assert cost.estimated


def test_last_refusal_of_a_chain_is_free_by_its_own_category() -> None:
    """The first model had begun to answer, which is billed; the last refused before it had."""
    terms = Terms(NOW, refusal=Refusal("cyber"), declined={"claude-fable-5": "cyber"})
    cost = cost_of(fallen_back(80), "claude-opus-4-8", terms, CATALOG)
    assert dollars(cost) == Fraction(535 * 10 + 80 * 50, 10**6)


def test_answer_of_a_fallback_alone_has_the_price_of_who_answered() -> None:
    """A sticky routing: no other attempt was made."""
    entry = {
        "type": "fallback_message",
        "model": "claude-opus-4-8",
        "input_tokens": 412,
        "output_tokens": 264,
    }
    usage = usage_of(input_tokens=412, output_tokens=264, iterations=[entry])
    assert by_model(cost_of(usage, "claude-fable-5", PLAIN, CATALOG)) == {"claude-opus-4-8": OPUS}


def test_entry_of_a_type_that_is_not_known_is_billed() -> None:
    entry = {"type": "of_tomorrow", "input_tokens": 10, "output_tokens": 1}
    first = {"type": "message", "input_tokens": 5, "output_tokens": 1}
    usage = usage_of(input_tokens=5, output_tokens=2, iterations=[first, entry])
    assert dollars(cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)) == Fraction(15 * 4 + 2 * 20, 10**6)


def test_entries_that_tell_less_than_the_top_level_are_not_believed() -> None:
    parts = [{"type": "message", "input_tokens": 5}, {"type": "message", "input_tokens": 5}]
    usage = usage_of(input_tokens=10, output_tokens=100, iterations=parts)
    assert dollars(cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)) == Fraction(10 * 4 + 100 * 20, 10**6)


def test_entries_without_lifetimes_share_those_of_the_top_level() -> None:
    usage = usage_of(
        cache_creation_input_tokens=300,
        cache_creation={"ephemeral_1h_input_tokens": 150, "ephemeral_5m_input_tokens": 150},
        iterations=[
            {"type": "message", "cache_creation_input_tokens": 100},
            {"type": "message", "cache_creation_input_tokens": 200},
        ],
    )
    cost = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)
    assert dollars(cost) == Fraction(150 * 5 + 150 * 8, 10**6)


@pytest.mark.parametrize("entry", ["2", '"text"', "null", '{"input_tokens": "many"}', "[" * 900 + "]" * 900])
def test_entry_that_cannot_be_read_marks_the_cost(entry: str) -> None:
    usage = Usage(input_tokens=10, iterations=[msgspec.Raw(entry.encode())])
    cost = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)
    assert (dollars(cost), cost.estimated) == (Fraction(40, 10**6), True)


def test_more_entries_than_a_call_can_have_are_not_read() -> None:
    raw = msgspec.Raw(b'{"type": "message", "input_tokens": 1}')
    usage = Usage(input_tokens=10, iterations=[raw] * (MAX_ITERATIONS + 1))
    cost = cost_of(usage, "claude-opus-5-5", PLAIN, CATALOG)
    assert (dollars(cost), cost.estimated) == (Fraction(40, 10**6), True)
