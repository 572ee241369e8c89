"""The second half of the document: its "Behavior", the table of differences, and the names of models."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from ferryman.simulator.server import Server
from tests.seeds.argo import ALIAS, MODEL, USER, Typed, received
from tests.support.edge import Upstream
from tests.support.fetching import PNG

HELLO: Any = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ANTHROPIC_TOOL: Any = {"name": "get_weather", "description": "The weather", "input_schema": SCHEMA}
OPENAI_TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather", "parameters": SCHEMA},
}
USE_IT: Any = [{"role": "user", "content": "Please use the get_weather tool."}]


@pytest.fixture
def ours(native: Typed) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client, in native mode."""
    with anthropic.Anthropic(base_url=native.url, api_key=USER, max_retries=0) as client:
        yield client


@pytest.fixture
def theirs(native: Typed) -> Iterator[openai.OpenAI]:
    """OpenAI's client, in standard mode."""
    with openai.OpenAI(base_url=f"{native.url}/v1", api_key=USER, max_retries=0) as client:
        yield client


def post(gateway: Typed, body: bytes, **headers: str) -> httpx.Response:
    """The answer to a request of a user's, byte for byte."""
    common = {"x-api-key": USER, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    return httpx.post(f"{gateway.url}/v1/messages", content=body, headers=common | headers, timeout=30)


def model_of(native: Typed, argo: Server, name: str) -> str:
    """The model that Argo is asked for where a client names `name`."""
    argo.recorder.clear()
    post(native, json.dumps({"model": name, "max_tokens": 9, "messages": HELLO}).encode())
    return str(received(argo).json()["model"])


# "Passthrough Mode"


def test_requests_and_responses_use_anthropics_native_format(native: Typed, argo: Server) -> None:
    """No format conversion: what needs no edit arrives byte for byte, and so does the answer."""
    body = (
        b'{ "model":"claude-sonnet-4-5",\t"max_tokens" : 9, "metadata":{"user_id":"your-anl-username"} ,\n'
        b'"messages":[{"role":"user","content":"H\\u00e9llo"}], "user":"your-anl-username"}'
    )
    answer = post(native, body, **{"anthropic-beta": "some-beta-2026-01-01"})
    recorded = received(argo)
    assert (answer.status_code, answer.headers["x-ferryman-mutations"]) == (200, "none")
    assert recorded.body == body
    assert answer.content == recorded.response_body
    assert recorded.header("anthropic-beta") == "some-beta-2026-01-01"  # Argo Proxy drops it


def test_model_aliases_are_resolved_to_their_upstream_ids_automatically(native: Typed, argo: Server) -> None:
    answer = post(native, json.dumps({"model": ALIAS, "max_tokens": 9, "messages": HELLO}).encode())
    assert received(argo).json()["model"] == MODEL
    assert answer.headers["x-ferryman-model"] == MODEL


def test_image_urls_in_messages_are_downloaded_and_converted_to_base64(
    ours: anthropic.Anthropic, argo: Server, pictures: Upstream
) -> None:
    source: Any = {"type": "url", "url": f"{pictures.url}/native.png"}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    ours.messages.create(model=ALIAS, max_tokens=9, messages=[{"role": "user", "content": content}])
    image, text = received(argo).json()["messages"][0]["content"]
    assert image["source"] == base64_source()
    assert text == content[1]


def base64_source() -> dict[str, str]:
    return {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}


def test_tools_are_handled_according_to_the_target_model_family(
    ours: anthropic.Anthropic, argo: Server
) -> None:
    """To a Claude model Anthropic's go as they are, and OpenAI's become Anthropic's."""
    cases: list[tuple[Any, Any]] = [(ANTHROPIC_TOOL, {"type": "any"}), (OPENAI_TOOL, "required")]
    for tool, choice in cases:
        argo.recorder.clear()
        answer = ours.messages.create(
            model=ALIAS, max_tokens=100, messages=USE_IT, tools=[tool], tool_choice=choice
        )
        (block,) = [block for block in answer.content if block.type == "tool_use"]
        assert (block.name, block.input) == ("get_weather", {"city": "simulated city"})
        body = received(argo).json()
        assert (body["tools"], body["tool_choice"]) == ([ANTHROPIC_TOOL], {"type": "any"})


@pytest.mark.parametrize("metadata", [{}, {"user_id": "session_1"}], ids=["none", "another"])
@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_your_username_is_passed_through_as_the_user_field_and_metadata_user_id(
    native: Typed, argo: Server, header: str, metadata: dict[str, str]
) -> None:
    body = {"model": MODEL, "max_tokens": 9, "messages": HELLO, "metadata": metadata}
    name = "jdoe"
    credential = name if header == "x-api-key" else f"Bearer {name}"
    headers = {header: credential, "anthropic-version": "2023-06-01"}
    answer = httpx.post(f"{native.url}/v1/messages", json=body, headers=headers, timeout=30)
    recorded = received(argo)
    assert answer.status_code == 200
    assert recorded.json()["user"] == name
    assert recorded.json()["metadata"] == {"user_id": name}
    assert recorded.header_values("x-api-key") == [name]
    assert recorded.header_values("authorization") == []


# "Differences from Standard Mode": a row each, in both modes


def test_request_and_response_format_are_openais_in_standard_mode(
    theirs: openai.OpenAI, argo: Server
) -> None:
    answer = theirs.chat.completions.create(model=ALIAS, messages=HELLO, max_tokens=50)
    assert (answer.object, answer.choices[0].message.role) == ("chat.completion", "assistant")
    assert "You began with “Hello”." in (answer.choices[0].message.content or "")
    assert received(argo).target == b"/v1/messages"


def test_request_and_response_format_are_anthropics_in_native_mode(
    ours: anthropic.Anthropic, argo: Server
) -> None:
    answer = ours.messages.create(model=ALIAS, messages=HELLO, max_tokens=50)
    assert (answer.type, answer.role) == ("message", "assistant")
    assert answer.to_dict(mode="json")["id"] == json.loads(received(argo).response_body)["id"]


def test_model_name_mapping_in_standard_mode(theirs: openai.OpenAI, argo: Server) -> None:
    answer = theirs.chat.completions.create(model=ALIAS, messages=HELLO)
    assert answer.model == received(argo).json()["model"] == MODEL


def test_model_name_mapping_in_native_mode(ours: anthropic.Anthropic, argo: Server) -> None:
    answer = ours.messages.create(model=ALIAS, messages=HELLO, max_tokens=9)
    assert answer.model == received(argo).json()["model"] == MODEL


def test_image_processing_in_standard_mode(theirs: openai.OpenAI, argo: Server, pictures: Upstream) -> None:
    content: Any = [{"type": "image_url", "image_url": {"url": f"{pictures.url}/standard.png"}}]
    theirs.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": content}])
    (image,) = received(argo).json()["messages"][0]["content"]
    assert image["source"] == base64_source()


def test_image_processing_in_native_mode(ours: anthropic.Anthropic, argo: Server, pictures: Upstream) -> None:
    """Also where Argo Proxy does not look: in the result of a tool."""
    source: Any = {"type": "url", "url": f"{pictures.url}/result.png"}
    result: Any = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": source}],
    }
    use: Any = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}
    messages: Any = [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    ours.messages.create(model=ALIAS, max_tokens=9, messages=messages, tools=[ANTHROPIC_TOOL])
    assert received(argo).json()["messages"][2]["content"][0]["content"][0]["source"] == base64_source()


def test_tool_call_processing_in_standard_mode(theirs: openai.OpenAI, argo: Server) -> None:
    answer = theirs.chat.completions.create(model=ALIAS, messages=USE_IT, tools=[OPENAI_TOOL])
    calls: Any = answer.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "simulated city"}]
    (tool,) = received(argo).json()["tools"]
    assert (tool["name"], tool["input_schema"]) == ("get_weather", SCHEMA)


def test_tool_call_processing_in_native_mode(ours: anthropic.Anthropic, argo: Server) -> None:
    answer = ours.messages.create(model=ALIAS, messages=USE_IT, max_tokens=100, tools=[ANTHROPIC_TOOL])
    assert answer.stop_reason == "tool_use"
    assert received(argo).json()["tools"] == [ANTHROPIC_TOOL]


def test_streaming_in_standard_mode(theirs: openai.OpenAI, argo: Server) -> None:
    chunks = list(theirs.chat.completions.create(model=ALIAS, messages=HELLO, stream=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "You began with “Hello”." in text
    assert len(chunks) > 3
    assert received(argo).json()["stream"] is True


def test_streaming_in_native_mode(ours: anthropic.Anthropic, argo: Server) -> None:
    with ours.messages.stream(model=ALIAS, messages=HELLO, max_tokens=100) as stream:
        pieces = list(stream.text_stream)
    assert "You began with “Hello”." in "".join(pieces)
    assert len(pieces) > 1
    assert received(argo).json()["stream"] is True


# "Model Name Mapping"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("argo:claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("argo:claude-4-opus", "claude-opus-4"),
        ("argo:claude-4.5-haiku", "claude-haiku-4-5"),
        ("argo:claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("argo/claude-4-opus", "claude-opus-4"),
        ("claude-4-opus", "claude-opus-4"),
    ],
)
def test_names_like_these_are_resolved_before_forwarding(
    native: Typed, argo: Server, name: str, model: str
) -> None:
    """The first two are the document's; Argo Proxy takes the others, too."""
    assert model_of(native, argo, name) == model


@pytest.mark.parametrize("name", ["claude-sonnet-4-20250514", "claude-opus-4-1", "claude-sonnet-4-5"])
def test_non_prefixed_model_names_are_passed_through_as_they_are(
    native: Typed, argo: Server, name: str
) -> None:
    assert model_of(native, argo, name) == name


def test_an_alias_that_argo_does_not_know_is_no_other_model(native: Typed, argo: Server) -> None:
    """Argo Proxy's standard mode asks GPT-4o then."""
    assert model_of(native, argo, "argo:claude-9-opus") == "argo:claude-9-opus"
    assert received(argo).status == 404
