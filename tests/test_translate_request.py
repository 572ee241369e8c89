"""A chat completion as a Messages request: every parameter is served, or refused by its name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from ferryman.errors import InvalidRequest
from ferryman.translate.chat_request import (
    DEFAULT_MAX_TOKENS,
    IGNORED,
    KEPT,
    NO_OPS,
    SERVED,
    messages_call,
)
from ferryman.translate.terms import Refused

USER = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.0}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
EPHEMERAL = {"type": "ephemeral"}


def told(**fields: Any) -> dict[str, Any]:
    """The Messages request for a chat with these parameters."""
    body = {"model": "claude-x", "messages": [USER], **fields}
    found: dict[str, Any] = json.loads(messages_call(json.dumps(body).encode()).body)
    return found


def turns(*messages: object) -> Any:
    """The turns, and the system prompt before them if there is one."""
    found = told(messages=messages)
    return [*([found["system"]] if "system" in found else []), *found["messages"]]


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def test_a_plain_chat_is_a_plain_message() -> None:
    assert told() == {
        "model": "claude-x",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [text("hi")]}],
    }


def test_every_parameter_of_openais_client_is_known() -> None:
    known = SERVED | NO_OPS.keys() | IGNORED | KEPT
    assert CompletionCreateParamsBase.__annotations__.keys() - known == set()
    assert len(known) == sum(map(len, (SERVED, NO_OPS, IGNORED, KEPT))), "one is in two tables"


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 7, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": []}, {}),
        ({"temperature": 1, "top_p": 0.5}, {"temperature": 1, "top_p": 0.5}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"safety_identifier": "s", "user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"metadata": {"user_id": "m"}}, {"metadata": {"user_id": "m"}}),
        ({"metadata": {"a": "b"}}, {"litellm_metadata": {"spend_logs_metadata": {"a": "b"}}}),
        (
            {"metadata": {"tags": ["t"], "a": "b"}, "litellm_metadata": {"tags": ["ours"]}},
            {"litellm_metadata": {"tags": ["ours"], "spend_logs_metadata": {"a": "b"}}},
        ),
        ({"litellm_metadata": {"tags": ["ours"]}}, {"litellm_metadata": {"tags": ["ours"]}}),
        ({"stream": False}, {"stream": False}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"response_format": {"type": "text"}}, {}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            {"reasoning_effort": "max", "thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "max"}},
        ),
        ({"top_k": 5, "speed": "fast"}, {"top_k": 5, "speed": "fast"}),
        ({"prompt_cache_key": "k"}, {}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, {}),
        ({name: None for name in SERVED | NO_OPS.keys() if name not in {"model", "messages"}}, {}),
        ({name: value for name, values in NO_OPS.items() for value in values[:1]}, {}),
    ],
)
def test_a_parameter_becomes_anthropics(given: dict[str, Any], becomes: dict[str, Any]) -> None:
    assert told(**given) == {**told(), **becomes}


def test_the_schema_of_the_answer_goes_along_as_it_was_spelled() -> None:
    schema = '{ "type":"object","properties":{"x":{"minimum":1.0}} }'
    body = (
        '{"model":"m","messages":[{"role":"user","content":"hi"}],"reasoning_effort":"high","temperature":0.70,'
        f'"response_format":{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}}}'
    )
    made = messages_call(body.encode()).body.decode()
    assert f'"output_config":{{"effort":"high","format":{{"type":"json_schema","schema":{schema}}}}}' in made
    assert '"temperature":0.70' in made


def test_tools_and_the_choice_go_together() -> None:
    native = {"type": "web_search_20250305", "name": "web_search"}
    found = told(tools=[TOOL, native], tool_choice="required", parallel_tool_calls=False)
    assert found["tools"] == [{"name": "f", "input_schema": {"type": "object"}}, native]
    assert found["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_a_stream_tells_usage_only_where_it_was_asked_for() -> None:
    def call(**fields: Any) -> tuple[bool, bool]:
        made = messages_call(json.dumps({"model": "m", "messages": [USER], **fields}).encode())
        return made.stream, made.tells_usage

    assert call() == call(stream=False) == (False, False)
    assert call(stream=True) == call(stream=True, stream_options={}) == (True, False)
    assert call(stream=True, stream_options={"include_usage": True, "include_obfuscation": False}) == (
        True,
        True,
    )


def test_system_and_developer_messages_go_to_the_front() -> None:
    assert turns(
        {"role": "system", "content": "one"},
        USER,
        {"role": "developer", "content": [{**text("two"), "cache_control": EPHEMERAL}], "name": "boss"},
        {"role": "assistant", "content": "yes"},
    ) == [
        [text("one"), {**text("two"), "cache_control": EPHEMERAL}],
        {"role": "user", "content": [text("hi")]},
        {"role": "assistant", "content": [text("yes")]},
    ]


def test_results_of_parallel_calls_are_one_turn_before_what_the_user_says() -> None:
    other = {**CALL, "id": "b", "function": {"name": "g", "arguments": ""}}
    found = turns(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL, other], "refusal": None},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "user", "content": "go on"},
        {"role": "tool", "tool_call_id": "b", "content": [text("two")]},
        {"role": "user", "content": "please"},
    )
    assert found[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.0}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b", "content": [text("two")]},
                text("go on"),
                text("please"),
            ],
        },
    ]


def test_the_arguments_of_a_call_keep_their_spelling() -> None:
    body = json.dumps({"model": "m", "messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]})
    assert b'"input":{"x": 1.0}' in messages_call(body.encode()).body


def test_messages_of_one_role_become_one_turn_and_empty_texts_are_left_out() -> None:
    said = {"role": "assistant", "content": "", "reasoning_content": "hm", "annotations": []}
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert turns(USER, said, {"role": "user", "content": [text(""), text("again")]}, refusal, refusal) == [
        {"role": "user", "content": [text("hi"), text("again")]},
        {"role": "assistant", "content": [text("no"), text("no")]},
    ]


def test_images_and_documents_become_blocks() -> None:
    pdf = "data:application/pdf;base64,JVBERi0="
    plain = "data:text/plain;charset=utf-8;base64," + base64.b64encode("é".encode()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": PNG}, "cache_control": EPHEMERAL},
        {"type": "image_url", "image_url": {"url": PNG.replace("png", "JPG")}},
        {"type": "file", "file": {"file_data": pdf, "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "JVBERi0="}, "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "file", "file": {"file_data": plain}},
        {"type": "file", "file": {"file_id": "file_1"}},
    ]
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    document = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    (turn,) = turns({"role": "user", "content": parts})
    assert turn["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": source, "cache_control": EPHEMERAL},
        {"type": "image", "source": {**source, "media_type": "image/jpeg"}},
        {"type": "document", "source": document, "title": "a.pdf"},
        {"type": "document", "source": document, "cache_control": EPHEMERAL},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"odd": 1}, "odd"),
        ({"model": 3}, "model"),
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"functions": [{}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": "1"}, "top_p"),
        ({"stop": "\n"}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"user": 1}, "user"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "b"}, "litellm_metadata": 1}, "litellm_metadata"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": 1}, "stream_options"),
        ({"stream": True, "stream_options": {"odd": 1}}, "stream_options.odd"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"tools": {}}, "tools"),
        ({"tools": [3]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": {}}, "messages"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[1].tool_calls[0]",
        ),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "s"}]}, "messages"),
        ({"messages": [USER, 3]}, "messages[1]"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{**USER, "odd": 1}]}, "messages[0].odd"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{**text("a"), "odd": 1}]}]},
            "messages[0].content[0].odd",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": 1}]}, "messages[0].tool_calls"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(given: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as error:
        told(**given)
    assert error.value.param == param
    assert error.value.message.startswith(f"`{param}`")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"image_url": {"url": "ftp://x"}}, "has to begin"),
        ({"image_url": {}}, "has to be a URL"),
        ({"image_url": {"url": "data:image/png,abc"}}, "without `;base64,`"),
        ({"image_url": {"url": "data:image/tiff;base64,abc"}}, "is `image/tiff`"),
        ({"file": {}}, "has neither"),
        ({"file": {"file_data": "data:application/zip;base64,abc"}}, "is `application/zip`"),
        ({"file": {"file_data": "data:text/plain;base64,%%"}}, "is no base64"),
    ],
)
def test_a_part_that_claude_cannot_see_is_refused(part: dict[str, Any], says: str) -> None:
    (kind,) = part
    with pytest.raises(Refused, match=says):
        told(messages=[{"role": "user", "content": [{"type": kind, **part}]}])


@pytest.mark.parametrize("arguments", ["{", "[]", "1", 3])
def test_arguments_that_are_no_object_are_refused(arguments: object) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(Refused, match=r"function\.arguments"):
        told(messages=[USER, {"role": "assistant", "tool_calls": [call]}])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model":"a","messages":[],"mode\\u006c":"b"}',
        b"[" * 5_000,
        b'{"a":1e999}',
        b'{"model":"\\ud83d"}',
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        messages_call(body)
