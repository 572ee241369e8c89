"""A Messages answer, or error, as OpenAI's clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from ferryman.errors import BudgetReached, InvalidRequest, RateLimited
from ferryman.translate.chat_answer import REFUSED, chat_completion
from ferryman.translate.chat_error import chat_error, chat_error_of
from ferryman.translate.terms import refused

ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 5},
}


def completion(**changes: Any) -> ChatCompletion:
    body = chat_completion(json.dumps({**ANSWER, **changes}).encode(), 1_800_000_000)
    assert body is not None
    return ChatCompletion.model_validate_json(body, strict=True)


def test_an_answer_becomes_a_completion() -> None:
    found = completion()
    assert (found.id, found.model, found.created) == ("msg_1", "claude-x", 1_800_000_000)
    (choice,) = found.choices
    assert (choice.message.content, choice.message.refusal, choice.message.tool_calls) == (
        "Hello",
        None,
        None,
    )
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize(
    ("stop_reason", "told"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("a_later_one", "stop"),
        (None, "stop"),
    ],
)
def test_the_reason_of_the_end_is_openais(stop_reason: str | None, told: str) -> None:
    assert completion(stop_reason=stop_reason).choices[0].finish_reason == told


def test_the_usage_counts_the_cache_into_the_prompt() -> None:
    usage = completion(
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 40,
            "cache_creation_input_tokens": 500,
            "output_tokens": 70,
            "output_tokens_details": {"thinking_tokens": 60},
        }
    ).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (543, 70, 613)
    details = usage.prompt_tokens_details
    assert (details.cached_tokens, details.cache_write_tokens) == (40, 500)
    assert usage.completion_tokens_details.reasoning_tokens == 60


def test_calls_keep_the_spelling_of_their_input() -> None:
    body = json.dumps({**ANSWER, "content": []}).replace(
        '"content": []',
        '"content": [{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"A"},'
        '{"type":"tool_use","id":"t1","name":"f","input": {"x" : 1.0, "y":"\\u00e9"} },'
        '{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"text","text":"B"},'
        '{"type":"tool_use","id":"t2","name":"g","input":{}}]',
    )
    made = chat_completion(body.encode(), 0)
    assert made is not None
    message = ChatCompletion.model_validate_json(made).choices[0].message
    assert message.content == "AB"
    assert getattr(message, "reasoning_content", None) == "hm"
    functions = [call for call in message.tool_calls or () if call.type == "function"]
    calls = [(call.id, call.function.name, call.function.arguments) for call in functions]
    assert calls == [("t1", "f", '{"x" : 1.0, "y":"\\u00e9"}'), ("t2", "g", "{}")]


def test_a_refusal_is_told_as_one() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "That is not for me."}
    message = completion(content=[], stop_reason="refusal", stop_details=details).choices[0].message
    assert (message.content, message.refusal) == (None, "That is not for me.")
    assert completion(content=[], stop_reason="refusal").choices[0].message.refusal == REFUSED


def test_an_answer_cut_within_a_character_is_still_one() -> None:
    body = json.dumps(ANSWER).replace("Hello", "Hell\\ud83d")
    made = chat_completion(body.encode(), 0)
    assert made is not None
    assert json.loads(made)["choices"][0]["message"]["content"] == "Hell�"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":1}', b'{"id":"a"}', b"[" * 10_000])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert chat_completion(body, 0) is None


def error(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


def test_an_error_of_ours_has_openais_shape() -> None:
    told = error(chat_error(InvalidRequest("Wrong.")))
    assert told == {"message": "Wrong.", "type": "invalid_request_error", "param": None, "code": None}
    assert error(chat_error(refused("seed", "cannot be served.")))["param"] == "seed"
    assert error(chat_error(RateLimited("Wait.")))["type"] == "rate_limit_error"


def test_a_name_of_the_clients_is_shown_short_and_without_keys() -> None:
    for name in ("x" * 10_000, "sk-ant-api03-secretsecretsecretsecret"):
        told = error(chat_error(refused(name, "is not known.")))
        assert len(told["message"]) < 300
        assert len(told["param"]) <= 200
        assert "secretsecret" not in json.dumps(told)


def test_a_spent_budget_has_the_code_that_clients_know() -> None:
    assert error(chat_error(BudgetReached("Spent.")))["code"] == "insufficient_quota"


def test_an_error_of_the_upstreams_is_told_in_its_words() -> None:
    given = {"type": "rate_limit_error", "message": "Slow down", "details": {"error_code": "x_limit"}}
    told = error(chat_error_of(json.dumps({"type": "error", "error": given}).encode(), 429))
    assert told == {"message": "Slow down", "type": "rate_limit_error", "param": None, "code": "x_limit"}


@pytest.mark.parametrize("body", [b"", b"<h1>Bad Gateway</h1>", b'{"error":"text"}', b"\xff" * 300])
def test_an_error_in_another_shape_is_told_with_its_status(body: bytes) -> None:
    told = error(chat_error_of(body, 502))
    assert told["message"].startswith("The upstream answered with status 502")
    assert len(told["message"]) < 300
