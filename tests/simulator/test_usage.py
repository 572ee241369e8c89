"""Token counting, and usage in both of its forms."""

import json
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.simulator.tokens import prompt_tokens
from ferryman.simulator.validate import VERSION_2023, read_message_request

from .conftest import Client, body
from .sse import of_type

FULL_USAGE = {
    "input_tokens": 11,
    "output_tokens": 222,
    "cache_creation_input_tokens": 33,
    "cache_read_input_tokens": 44,
    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 3},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "priority",
    "inference_geo": "us",
    "speed": "fast",
    "output_tokens_details": {"thinking_tokens": 5},
    "iterations": [{"type": "compaction", "input_tokens": 9, "output_tokens": 8}],
    "fallback_credit": {"status": {"type": "redeemed"}},
    "from_tomorrow": {"a": [1, 2]},
}
START_ONLY = {"cache_creation", "service_tier", "inference_geo", "speed"}
DELTA_ONLY = {"server_tool_use", "output_tokens_details", "iterations", "fallback_credit"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
MINUTES = {"type": "ephemeral"}


def text(words: str, cache_control: dict[str, str] | None = None) -> dict[str, Any]:
    return {"type": "text", "text": words} | ({"cache_control": cache_control} if cache_control else {})


def test_dictated_usage_is_reported_exactly(client: Client) -> None:
    answer = client.ask(control=f"usage={json.dumps(FULL_USAGE)}")
    assert answer.json()["usage"] == FULL_USAGE


def test_dictated_usage_is_split_over_a_stream_as_the_api_splits_it(client: Client) -> None:
    answer = client.ask(control=f"usage={json.dumps(FULL_USAGE)}; events=1", stream=True)
    start = of_type(answer.text, "message_start")[0]["message"]["usage"]
    delta = of_type(answer.text, "message_delta")[0]["usage"]
    assert start == {
        **{name: value for name, value in FULL_USAGE.items() if name not in DELTA_ONLY},
        "output_tokens": 1,
    }
    assert delta == {name: value for name, value in FULL_USAGE.items() if name not in START_ONLY}


def test_start_of_a_stream_may_differ_from_its_end(client: Client) -> None:
    control = 'start-usage={"input_tokens": 1}; usage={"input_tokens": 900, "output_tokens": 7}'
    answer = client.ask(control=control, stream=True).text
    assert of_type(answer, "message_start")[0]["message"]["usage"] == {"input_tokens": 1}
    assert of_type(answer, "message_delta")[0]["usage"] == {"input_tokens": 900, "output_tokens": 7}
    assert client.ask(control=control).json()["usage"] == {"input_tokens": 900, "output_tokens": 7}


def test_usage_of_several_deltas_grows_to_the_whole(client: Client) -> None:
    answer = client.ask(control=f"usage={json.dumps(FULL_USAGE)}; deltas=3", stream=True).text
    first, second, last = of_type(answer, "message_delta")
    assert [one["usage"]["output_tokens"] for one in (first, second, last)] == [74, 148, 222]
    assert [one["delta"]["stop_reason"] for one in (first, second, last)] == [None, None, "end_turn"]
    assert not DELTA_ONLY & first["usage"].keys()
    assert last["usage"] == {name: value for name, value in FULL_USAGE.items() if name not in START_ONLY}
    (only,) = of_type(client.ask(control="usage={}; deltas=2", stream=True).text, "message_delta")[1:]
    assert only["usage"] == {}


@pytest.mark.parametrize("deltas", [1, 4])
def test_sdk_adds_a_stream_up_to_what_a_message_says(sdk: anthropic.Anthropic, deltas: int) -> None:
    asked: Any = {**body(), "extra_headers": {"x-simulator": f"{PRICED}; deltas={deltas}"}}
    whole = sdk.beta.messages.create(**asked)
    with sdk.beta.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert streamed.usage == whole.usage
    assert whole.usage.iterations is not None
    assert [one.type for one in whole.usage.iterations] == ["message", "advisor_message", "compaction"]


PART = {
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
}
PRICED = "usage=" + json.dumps(
    {
        **PART,
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        "service_tier": "priority",
        "inference_geo": "us",
        "speed": "fast",
        "iterations": [
            {"type": "message", **PART},
            {"type": "advisor_message", "model": "claude-opus-5", **PART},
            {"type": "compaction", **PART},
        ],
    }
)


def test_message_may_come_from_another_model(sdk: anthropic.Anthropic) -> None:
    iterations = [
        {"type": "message", "model": "claude-opus-5-5", **PART},
        {"type": "fallback_message", "model": "claude-sonnet-5", **PART},
    ]
    wishes = f"served-by=claude-sonnet-5; usage={json.dumps({**PART, 'iterations': iterations})}"
    message = sdk.beta.messages.create(**body(), extra_headers={"x-simulator": wishes})
    assert message.model == "claude-sonnet-5"
    assert message.usage.iterations is not None
    assert message.usage.iterations[1].type == "fallback_message"


def test_refusal_comes_before_the_first_word(sdk: anthropic.Anthropic) -> None:
    asked: Any = body("use web_search", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    refused = sdk.messages.create(**asked, extra_headers={"x-simulator": "refusal; thinking"})
    assert (refused.stop_reason, refused.content, refused.usage.output_tokens) == ("refusal", [], 0)
    assert refused.usage.input_tokens > 0
    assert refused.usage.server_tool_use is None
    assert refused.stop_details is not None
    assert refused.stop_details.type == "refusal"
    with sdk.messages.stream(**asked, extra_headers={"x-simulator": "refusal"}) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.content, final.usage) == ("refusal", [], refused.usage)


def test_dictated_usage_may_lack_anything(client: Client) -> None:
    answer = client.ask(control="usage={}", stream=True)
    assert of_type(answer.text, "message_start")[0]["message"]["usage"] == {}
    assert of_type(answer.text, "message_delta")[0]["usage"] == {}


def test_dictated_usage_may_stand_in_the_model(client: Client) -> None:
    answer = client.ask(model='claude-opus-5-5:usage={"input_tokens":7,"note":"a;b"}; text-bytes=1')
    assert answer.json()["usage"] == {"input_tokens": 7, "note": "a;b"}


def test_usage_has_all_fields_of_today(client: Client) -> None:
    usage = client.ask("12345678", inference_geo="us", speed="fast").json()["usage"]
    assert usage["input_tokens"] == 4 + 2
    assert usage["output_tokens"] > 0
    assert {name: usage[name] for name in usage if name not in {"input_tokens", "output_tokens"}} == {
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens_details": {"thinking_tokens": 0},
        "service_tier": "standard",
        "inference_geo": "us",
        "speed": "fast",
    }


def test_iterations_are_reported_on_demand(client: Client) -> None:
    usage = client.ask(control="iterations").json()["usage"]
    (entry,) = usage["iterations"]
    assert entry["type"] == "message"
    assert entry["input_tokens"] == usage["input_tokens"]
    assert entry["output_tokens"] == usage["output_tokens"]
    assert "iterations" not in client.ask().json()["usage"]


def test_count_tokens_counts_what_the_message_is_billed(sdk: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": "claude-opus-5-5",
        "system": "You are a ferryman.",
        "messages": [{"role": "user", "content": "Grüß Gott"}],
        "tools": [{"name": "oar", "input_schema": {"type": "object"}}],
    }
    counted = sdk.messages.count_tokens(**asked)
    billed = sdk.messages.create(**asked, max_tokens=10)
    assert counted.input_tokens == billed.usage.input_tokens > 10


def test_first_turn_creates_the_cache_up_to_the_last_mark(client: Client) -> None:
    usage = client.ask(
        system=[text("a" * 400, HOUR), text("b" * 40)],
        messages=[
            {"role": "user", "content": [text("c" * 80, MINUTES), text("d" * 4)]},
        ],
    ).json()["usage"]
    assert usage["cache_creation"] == {
        "ephemeral_1h_input_tokens": 100,
        "ephemeral_5m_input_tokens": 10 + 4 + 20,
    }
    assert usage["cache_creation_input_tokens"] == 134
    assert usage["cache_read_input_tokens"] == 0
    assert usage["input_tokens"] == 1


def test_later_turn_reads_what_the_one_before_has_created(client: Client) -> None:
    usage = client.ask(
        system=[text("a" * 400, MINUTES)],
        messages=[
            {"role": "user", "content": "e" * 40},
            {"role": "assistant", "content": "f" * 8},
            {"role": "user", "content": [text("c" * 80, MINUTES)]},
        ],
    ).json()["usage"]
    assert usage["cache_read_input_tokens"] == 100 + 14
    assert usage["cache_creation_input_tokens"] == 6 + 24
    assert usage["input_tokens"] == 0


def test_automatic_caching_marks_the_last_block(client: Client) -> None:
    usage = client.ask("1234", cache_control=HOUR).json()["usage"]
    assert usage["cache_creation"]["ephemeral_1h_input_tokens"] == 5
    assert usage["input_tokens"] == 0


def test_deferred_tools_cost_nothing(client: Client) -> None:
    tool = {"name": "oar", "input_schema": {"type": "object"}}
    free = client.ask(tools=[tool | {"defer_loading": True}]).json()["usage"]["input_tokens"]
    assert free == client.ask().json()["usage"]["input_tokens"]
    assert client.ask(tools=[tool]).json()["usage"]["input_tokens"] > free


_marks = st.sampled_from([None, HOUR, MINUTES, {"type": "ephemeral", "ttl": "5m"}])
_blocks = st.lists(st.builds(text, st.text(max_size=30), _marks), max_size=3)
_turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": _blocks}),
    min_size=1,
)


@given(system=_blocks, turns=_turns, whole=_marks)
def test_marks_divide_the_prompt_and_never_change_its_size(
    system: list[dict[str, Any]], turns: list[dict[str, Any]], whole: dict[str, str] | None
) -> None:
    marked = body(system=system, messages=turns, cache_control=whole)
    bare = json.loads(json.dumps(marked), object_hook=_without_marks)
    divided, total = (
        prompt_tokens(read_message_request(one, VERSION_2023, has_beta=False)) for one in (marked, bare)
    )
    assert divided.total == total.total == total.input_tokens
    assert (
        min(divided.input_tokens, divided.created_5m_tokens, divided.created_1h_tokens, divided.read_tokens)
        >= 0
    )


def _without_marks(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "cache_control"}


@pytest.mark.parametrize("value", ["[]", "7", "{", '"x"', ""])
def test_usage_that_is_no_object_is_refused(client: Client, value: str) -> None:
    assert client.ask(control=f"usage={value}").status_code == 400
