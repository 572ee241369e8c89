"""Tools, server tools and thinking."""

from typing import Any

import anthropic
import pytest

from .conftest import Client, body
from .sse import of_type

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a place",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
CLOCK: dict[str, Any] = {"name": "clock", "input_schema": {"type": "object"}, "defer_loading": True}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}


def used(answer: dict[str, Any]) -> list[str]:
    return [block["name"] for block in answer["content"] if block["type"] == "tool_use"]


@pytest.mark.parametrize(
    ("prompt", "choice", "control", "expected"),
    [
        pytest.param("What is the weather?", None, "", [], id="a prompt that does not ask"),
        pytest.param("Use the get_weather tool", None, "", ["get_weather"], id="a prompt that asks"),
        pytest.param("please call `clock`", None, "", ["clock"], id="a prompt that asks for a deferred tool"),
        pytest.param("call clock", {"type": "none"}, "", [], id="tool_choice none"),
        pytest.param("Hello", {"type": "auto"}, "", [], id="tool_choice auto"),
        pytest.param(
            "Hello", {"type": "any"}, "", ["get_weather"], id="tool_choice any takes the first loaded"
        ),
        pytest.param("Hello", {"type": "tool", "name": "clock"}, "", ["clock"], id="tool_choice names one"),
        pytest.param("Hello", None, "tool", ["get_weather"], id="control"),
        pytest.param("Hello", None, "tool=clock", ["clock"], id="control names one"),
        pytest.param("Hello", None, "tool=nothing", [], id="control names none that is offered"),
    ],
)
def test_tool_is_used_when_asked_for(
    client: Client, prompt: str, choice: dict[str, Any] | None, control: str, expected: list[str]
) -> None:
    answer = client.ask(prompt, tools=[CLOCK, WEATHER], tool_choice=choice, control=control).json()
    assert used(answer) == expected
    assert answer["stop_reason"] == ("tool_use" if expected else "end_turn")


def test_streamed_tool_input_adds_up(sdk: anthropic.Anthropic) -> None:
    with sdk.messages.stream(
        model="claude-opus-5-5",
        max_tokens=1_000,
        messages=[{"role": "user", "content": "use get_weather"}],
        tools=[WEATHER],
    ) as stream:
        message = stream.get_final_message()
    block = message.content[-1]
    assert block.type == "tool_use"
    assert block.input == {"city": "simulated city"}
    assert block.id.startswith("toolu_01")


def test_tool_input_is_streamed_in_pieces_after_an_empty_one(client: Client) -> None:
    answer = client.ask("use get_weather", tools=[WEATHER], stream=True)
    deltas = [event["delta"] for event in of_type(answer.text, "content_block_delta")]
    pieces = [delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta"]
    assert pieces[0] == ""
    assert len(pieces) > 2
    assert of_type(answer.text, "content_block_start")[-1]["content_block"]["input"] == {}


def test_tool_result_is_answered_by_text(client: Client) -> None:
    asked = client.ask("use get_weather", tools=[WEATHER]).json()
    result = {"type": "tool_result", "tool_use_id": asked["content"][-1]["id"], "content": "Rain all day"}
    turns = [
        {"role": "user", "content": "use get_weather"},
        {"role": "assistant", "content": asked["content"]},
        {"role": "user", "content": [result]},
    ]
    answer = client.ask(messages=turns, tools=[WEATHER]).json()
    assert answer["stop_reason"] == "end_turn"
    assert "Rain all day" in answer["content"][0]["text"]
    result["content"] = [{"type": "text", "text": "Sun"}]
    turns.append({"role": "system", "content": "keep it short"})
    assert "Sun" in client.ask(messages=turns, tools=[WEATHER]).json()["content"][0]["text"]


def test_tool_is_left_out_when_max_tokens_do_not_suffice(client: Client) -> None:
    answer = client.ask("use get_weather", tools=[WEATHER], max_tokens=30).json()
    assert (used(answer), answer["stop_reason"]) == ([], "max_tokens")


def test_typed_tool_without_schema_gets_an_empty_input(client: Client) -> None:
    tools = [{"type": "bash_20250124", "name": "bash"}]
    assert client.ask(tools=tools, tool_choice={"type": "any"}).json()["content"][-1]["input"] == {}


@pytest.mark.parametrize(("tool", "name"), [(SEARCH, "web_search"), (FETCH, "web_fetch")])
def test_server_tool_is_reported_in_usage(sdk: anthropic.Anthropic, tool: Any, name: str) -> None:
    with sdk.messages.stream(
        model="claude-opus-5-5",
        max_tokens=1_000,
        messages=[{"role": "user", "content": f"use {name}"}],
        tools=[tool],
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["server_tool_use", f"{name}_tool_result", "text"]
    assert message.usage.server_tool_use is not None
    assert message.usage.server_tool_use.web_search_requests == (name == "web_search")
    assert message.usage.server_tool_use.web_fetch_requests == (name == "web_fetch")
    assert message.stop_reason == "end_turn"


def test_server_tool_that_nobody_asks_for_is_not_used(client: Client) -> None:
    answer = client.ask("Hello", tools=[SEARCH], tool_choice={"type": "any"}).json()
    assert [block["type"] for block in answer["content"]] == ["text"]
    assert "server_tool_use" not in answer["usage"]


def test_thinking_comes_first_and_is_signed(sdk: anthropic.Anthropic) -> None:
    with sdk.messages.stream(
        model="claude-opus-5-5",
        max_tokens=2_000,
        messages=[{"role": "user", "content": "Hello"}],
        thinking={"type": "enabled", "budget_tokens": 1_024},
    ) as stream:
        message = stream.get_final_message()
    thought = message.content[0]
    assert thought.type == "thinking"
    assert "Hello" in thought.thinking
    assert len(thought.signature) > 100
    assert message.usage.output_tokens_details is not None
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens


def test_omitted_thinking_shows_a_signature_only_and_costs_the_same(client: Client) -> None:
    shown = client.ask(thinking={"type": "adaptive"}).json()
    omitted = client.ask(thinking={"type": "adaptive", "display": "omitted"}, stream=True)
    deltas = [event["delta"]["type"] for event in of_type(omitted.text, "content_block_delta")]
    assert deltas[0] == "signature_delta"
    assert "thinking_delta" not in deltas
    usage = of_type(omitted.text, "message_delta")[0]["usage"]
    assert usage["output_tokens_details"] == shown["usage"]["output_tokens_details"]


@pytest.mark.parametrize("kind", ["disabled", "between_tools"])
def test_no_thinking_unless_asked(client: Client, kind: str) -> None:
    assert client.ask(thinking={"type": kind}).json()["content"][0]["type"] == "text"
    assert client.ask(thinking={"type": kind}, control="thinking").json()["content"][0]["type"] == "thinking"


def test_context_management_is_acknowledged(client: Client) -> None:
    beta = {"anthropic-beta": "context-management-2025-06-27"}
    fields: Any = {"context_management": {"edits": []}}
    assert client.ask(**fields, headers=beta).json()["context_management"] == {"applied_edits": []}
    streamed = client.request("POST", "/v1/messages", headers=beta, json=body(stream=True, **fields))
    assert of_type(streamed.text, "message_delta")[0]["context_management"] == {"applied_edits": []}
    assert "context_management" not in of_type(streamed.text, "message_start")[0]["message"]
