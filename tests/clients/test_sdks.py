"""Anthropic's SDKs, each through the root of the gateway and through `/anthropic`."""

import json
from typing import Any, NamedTuple

import pytest

from ferryman.simulator.settings import MODELS

from .passage import SERVER_KEY, Crossing, Passage, tokens_of
from .program import Program

CLIENT_KEY = "sk-client-5f0c"
MODEL = "claude-sonnet-5-5"
HELLO = {"model": MODEL, "max_tokens": 300, "messages": [{"role": "user", "content": "Grüße aus 東京 🛶"}]}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {
    "model": MODEL,
    "max_tokens": 300,
    "tools": [WEATHER],
    "messages": [{"role": "user", "content": "Please use the get_weather tool."}],
}
LONG, SHORT = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
# Every class of tokens: read from the cache, written for an hour, for five minutes, and neither.
CACHED = {
    "model": MODEL,
    "max_tokens": 2_000,
    "thinking": {"type": "adaptive"},
    "system": [{"type": "text", "text": "You run a ferry.", "cache_control": LONG}],
    "messages": [
        {"role": "user", "content": "Hello, ferryman."},
        {"role": "assistant", "content": "Hello, traveller."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What does it cost?", "cache_control": LONG},
                {"type": "text", "text": "For two.", "cache_control": SHORT},
                {"type": "text", "text": "And a dog."},
            ],
        },
    ],
}


class Refusal(NamedTuple):
    """A change that makes `HELLO` a bad request, and what the SDK raises."""

    change: dict[str, Any]
    error: str
    status: int
    kind: str
    message: str


REFUSALS = (
    Refusal({"model": "gpt-4"}, "NotFoundError", 404, "not_found_error", "model: gpt-4"),
    Refusal(
        {"messages": []},
        "BadRequestError",
        400,
        "invalid_request_error",
        "messages: at least one message is required",
    ),
)

both_roots = pytest.mark.parametrize("root", ["", "/anthropic"], ids=["root", "below-anthropic"])


def ask(sdk: Program, passage: Passage, root: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call as somebody who has a key that only the gateway knows."""
    return sdk.ask(action, body, base_url=passage.url + root, api_key=CLIENT_KEY)


def check_sent(crossing: Crossing, sdk: Program, root: str) -> None:
    """Assert that the SDK did what sets its generation apart; what becomes of it `Passage` asserts."""
    assert crossing.sent.target.startswith(f"{root}/v1/")
    assert crossing.sent.values("anthropic-version") == [sdk.sdk.version]
    assert crossing.recorded.header("anthropic-version") == sdk.sdk.version
    assert crossing.entry["credential"] == sdk.sdk.credential
    assert any(CLIENT_KEY in value for _, value in crossing.sent.headers)
    assert crossing.recorded.header("x-api-key") == SERVER_KEY
    assert crossing.recorded.header("authorization") is None


@both_roots
def test_message_arrives_with_every_class_of_tokens(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "create", CACHED)
    crossing = passage.crossing()
    check_sent(crossing, sdk, root)
    assert "And a dog." in answer["text"]
    assert answer["stop_reason"] == "end_turn"
    assert tokens_of(answer["usage"]) == crossing.tokens == tokens_of(crossing.entry["usage"])
    assert all(crossing.tokens.values())
    assert all(crossing.tokens["cache_creation"].values())
    assert crossing.usage["output_tokens_details"]["thinking_tokens"] > 0
    assert answer["request_id"] == crossing.entry["upstream_request_id"]
    assert crossing.received.values("x-ferryman-model") == [MODEL]
    assert crossing.recorded.json() == CACHED


@both_roots
def test_helper_assembles_the_streamed_message(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "stream", CACHED)
    crossing = passage.crossing()
    check_sent(crossing, sdk, root)
    assert "And a dog." in answer["text"]
    assert tokens_of(answer["usage"]) == crossing.tokens == tokens_of(crossing.entry["usage"])
    assert all(crossing.tokens.values())
    assert answer["request_id"] == crossing.entry["upstream_request_id"]
    assert crossing.entry["stream"] is True
    assert crossing.recorded.json() == {**CACHED, "stream": True}


@both_roots
def test_raw_stream_has_every_event_in_its_order(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "stream_raw", HELLO)
    crossing = passage.crossing()
    check_sent(crossing, sdk, root)
    sent = [
        line for line in crossing.recorded.response_body.decode().splitlines() if line.startswith("data: ")
    ]
    types = [json.loads(line.removeprefix("data: "))["type"] for line in sent]
    assert "ping" in types
    assert answer["types"] == [name for name in types if name != "ping"]  # which the SDKs keep to themselves
    assert answer["types"][-1] == "message_stop"
    assert crossing.recorded.json() == {**HELLO, "stream": True}


@both_roots
def test_tool_is_used_and_its_result_taken(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "tool", TOOL)
    first, second = passage.crossings(2)
    assert answer["tool"]["name"] == "get_weather"
    assert answer["tool"]["input"] == {"city": "simulated city"}
    assert answer["first"]["stop_reason"] == "tool_use"
    assert answer["stop_reason"] == "end_turn"
    assert "21 degrees and sunny" in answer["text"]
    for crossing, shown in ((first, answer["first"]), (second, answer)):
        check_sent(crossing, sdk, root)
        assert tokens_of(shown["usage"]) == crossing.tokens == tokens_of(crossing.entry["usage"])
    roles = [message["role"] for message in second.recorded.json()["messages"]]
    assert roles == ["user", "assistant", "user"]


@both_roots
def test_tokens_are_counted_at_no_cost(sdk: Program, passage: Passage, root: str) -> None:
    counted = {name: CACHED[name] for name in ("model", "system", "messages")}
    answer = ask(sdk, passage, root, "count_tokens", counted)
    crossing = passage.crossing()
    check_sent(crossing, sdk, root)
    assert answer == json.loads(crossing.received.body)
    assert answer["input_tokens"] > 0
    assert "usage" not in crossing.entry


@both_roots
def test_models_are_listed_over_three_pages(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "models", {"limit": 10})
    crossings = passage.crossings(3)
    assert answer["ids"] == list(MODELS)
    assert f"after_id={MODELS[9]}" in crossings[1].sent.target
    for crossing in crossings:
        check_sent(crossing, sdk, root)


@both_roots
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.error)
def test_error_of_the_upstream_is_raised_in_its_own_words(
    sdk: Program, passage: Passage, root: str, refusal: Refusal
) -> None:
    answer = ask(sdk, passage, root, "create", HELLO | refusal.change)
    crossing = passage.crossing()
    check_sent(crossing, sdk, root)
    assert (answer["error"], answer["status"], answer["type"]) == (
        refusal.error,
        refusal.status,
        refusal.kind,
    )
    assert answer["message"] == refusal.message
    assert refusal.message in answer["shown"]
    assert answer["request_id"] == crossing.entry["upstream_request_id"]


@both_roots
def test_error_within_a_stream_is_raised(sdk: Program, passage: Passage, root: str) -> None:
    answer = ask(sdk, passage, root, "stream", HELLO | {"model": f"{MODEL}:error-event=4"})
    (entry,) = passage.entries(1)
    assert answer["type"] == "overloaded_error"
    assert answer["message"] == "Overloaded"
    assert (entry["status"], entry["ended"]) == (200, "upstream_error")
    assert entry["usage_complete"] is False
    assert entry["usage"]["input_tokens"] > 0  # what had been said before it broke


def test_error_of_the_gateway_is_raised_with_the_id_in_its_log(
    sdk: Program, stranded_passage: Passage
) -> None:
    answer = sdk.ask("create", HELLO, base_url=stranded_passage.url, api_key=CLIENT_KEY, max_retries=0)
    (entry,) = stranded_passage.entries(1)
    assert answer["error"] == "InternalServerError"
    assert answer["status"] == entry["status"] == 502
    assert answer["type"] == "api_error"
    assert answer["message"] == entry["error"]
    assert answer["request_id"] == entry["id"]
    assert entry["ended"] == "upstream_error"


def test_retries_of_the_sdk_end_when_the_upstream_stays_away(sdk: Program, stranded_passage: Passage) -> None:
    answer = sdk.ask("create", HELLO, base_url=stranded_passage.url, api_key=CLIENT_KEY, max_retries=1)
    first, second = stranded_passage.entries(2)
    assert first["id"] != second["id"] == answer["request_id"]


def test_own_key_goes_upstream_as_it_came(sdk: Program, own_key_passage: Passage) -> None:
    answer = sdk.ask("stream", CACHED, base_url=own_key_passage.url, api_key=SERVER_KEY)
    crossing = own_key_passage.crossing()
    assert tokens_of(answer["usage"]) == crossing.tokens
    assert crossing.entry["principal"] == "passthrough"
    assert crossing.entry["credential"] == sdk.sdk.credential


def test_own_key_that_is_wrong_is_refused_by_the_upstream(sdk: Program, own_key_passage: Passage) -> None:
    answer = sdk.ask("create", HELLO, base_url=own_key_passage.url, api_key=CLIENT_KEY)
    (request,) = own_key_passage.recorded(1)
    (entry,) = own_key_passage.entries(1)
    assert CLIENT_KEY in f"{request.header('x-api-key')} {request.header('authorization')}"
    assert answer["error"] == "AuthenticationError"
    assert "invalid" in answer["message"].lower()
    assert answer["request_id"] == entry["upstream_request_id"]
    assert (entry["status"], entry["ended"]) == (401, "done")


def test_auth_token_goes_as_bearer(sdk: Program, passage: Passage) -> None:
    sdk.ask("create", HELLO, base_url=passage.url, auth_token=CLIENT_KEY)
    assert passage.crossing().entry["credential"] == "bearer"
