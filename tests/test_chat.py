"""OpenAI's own client, through the gateway, against the simulator."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from ferryman.model import Ended, Entry
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.conftest import KEY, Bench
from tests.support.chat import CHAT, MESSAGES, MODEL, client_of
from tests.support.edge import Connection
from tests.support.gateway import Gateway
from tests.support.raw import RawClient, post

PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A simulator that takes the server's key and no other."""
    with Server(SimulatorSettings(api_keys=(KEY,))) as running:
        yield running


@pytest.fixture
def simulator(server: Server) -> Server:
    """A simulator that has recorded nothing."""
    server.recorder.clear()
    return server


@pytest.fixture
def gateway(line: Bench, simulator: Server) -> Gateway:
    """A gateway in front of the simulator."""
    return line.gateway(simulator.url)


@pytest.fixture
def client(line: Bench, gateway: Gateway) -> openai.OpenAI:
    """OpenAI's client of that gateway."""
    return client_of(line, gateway)


def wish(control: str) -> dict[str, str]:
    return {"x-simulator": control}


def received(simulator: Server) -> dict[str, Any]:
    """The body of the one request that the simulator got."""
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.target == b"/v1/messages"
    body: dict[str, Any] = json.loads(recorded.body)
    return body


def usage_of(entry: Entry) -> tuple[int | None, int | None]:
    assert entry.usage is not None
    return entry.usage.input_tokens, entry.usage.output_tokens


def test_a_completion_is_answered_metered_and_recorded(
    client: openai.OpenAI, gateway: Gateway, simulator: Server
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "system", "content": "Be brief."}, *MESSAGES], user="u1"
    )
    answer, entry = raw.parse(), gateway.entry()
    (choice,) = answer.choices
    assert "You began with “Carry me across, é 😀”" in (choice.message.content or "")
    assert (choice.finish_reason, answer.model) == ("stop", MODEL)
    assert answer.usage is not None
    assert usage_of(entry) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (entry.path, entry.model, entry.end_user, entry.ended) == (CHAT, MODEL, "u1", Ended.DONE)
    assert entry.cost is not None
    assert entry.cost.nanousd > 0
    assert raw.headers["x-ferryman-mutations"] == "anthropic-version, openai"
    assert raw.headers["x-ferryman-model"] == MODEL
    assert raw.headers["x-request-id"] == raw.headers["x-ferryman-request-id"] == entry.id
    assert float(raw.headers["x-ferryman-cost-usd"]) == entry.cost.nanousd / 1e9
    body = received(simulator)
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize(
    "control", ["", "comments; unknown-events", "crlf", "events=200", "gzip", "thinking"]
)
def test_a_stream_has_the_same_text_and_ends_with_the_usage(
    client: openai.OpenAI, gateway: Gateway, control: str
) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_headers=wish(control))
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=wish(control),
        )
    )
    *told, last = chunks
    text = "".join(choice.delta.content or "" for chunk in told for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert told[0].choices[0].delta.role == "assistant"
    assert told[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    entry = gateway.entry(2)
    assert usage_of(entry) == (last.usage.prompt_tokens, last.usage.completion_tokens)
    assert (entry.ended, entry.stream) == (Ended.DONE, True)
    thought = "".join(getattr(c.delta, "reasoning_content", "") for chunk in told for c in chunk.choices)
    assert bool(thought) is (control == "thinking")
    assert getattr(whole.choices[0].message, "reasoning_content", "") == thought


def test_a_stream_tells_no_usage_unless_asked(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_taken(
    client: openai.OpenAI, simulator: Server, stream: bool
) -> None:
    asked: Any = [{"role": "user", "content": "Please use the get_weather tool."}]
    if stream:
        with client.chat.completions.stream(model=MODEL, messages=asked, tools=[TOOL]) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model=MODEL, messages=asked, tools=[TOOL]).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    simulator.recorder.clear()
    said = choice.message.model_dump(exclude={"parsed"})
    results: Any = [*asked, said, {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}]
    answer = client.chat.completions.create(model=MODEL, messages=results, tools=[TOOL])
    assert "the tool has answered: “Sunny”" in (answer.choices[0].message.content or "")
    *_, use, result = received(simulator)["messages"]
    assert use["content"][-1]["id"] == result["content"][0]["tool_use_id"] == call.id


PARALLEL = [
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1.0}},
    {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
]
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": PARALLEL,
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "output_tokens": 5},
}


def test_parallel_calls_come_together(line: Bench) -> None:
    def script(connection: Connection) -> None:
        request = connection.request()
        sent = json.loads(request.body)
        assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
        connection.answer(json.dumps(ANSWER).encode())

    gateway, _ = line.pair(script)
    answer = client_of(line, gateway).chat.completions.create(
        model=MODEL, messages=MESSAGES, tools=[TOOL], tool_choice="required", parallel_tool_calls=False
    )
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.id, call.function.arguments) for call in calls] == [("t1", '{"x": 1.0}'), ("t2", "{}")]


class Weather(BaseModel):
    """What an answer shall look like."""

    city: str
    celsius: int


def test_an_answer_keeps_to_a_schema(client: openai.OpenAI, simulator: Server) -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="simulated city", celsius=1)
    wanted = received(simulator)["output_config"]["format"]
    assert wanted["type"] == "json_schema"
    assert wanted["schema"]["additionalProperties"] is False


def test_images_and_effort_go_along(client: openai.OpenAI, simulator: Server) -> None:
    content: Any = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PNG}}]
    client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content}],
        reasoning_effort="low",
        max_completion_tokens=100,
    )
    body = received(simulator)
    assert body["messages"][0]["content"][1]["source"]["media_type"] == "image/png"
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})
    assert body["max_tokens"] == 100


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("control", "asked", "reason"),
    [
        ("", {"max_tokens": 3}, "length"),
        ("", {"stop": "Ferryman"}, "stop"),
        ("refusal", {}, "content_filter"),
    ],
)
def test_the_end_has_its_reason(
    client: openai.OpenAI, control: str, asked: dict[str, Any], reason: str, stream: bool
) -> None:
    found: Any = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=stream, extra_headers=wish(control), **asked
    )
    last = list(found)[-1] if stream else found
    assert last.choices[0].finish_reason == reason
    if reason == "content_filter":
        told = last.choices[0].delta if stream else last.choices[0].message
        assert told.refusal == "The simulator was asked to refuse."


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, openai.BadRequestError, "invalid_request_error"),
        (404, openai.NotFoundError, "not_found_error"),
        (429, openai.RateLimitError, "rate_limit_error"),
        (529, openai.InternalServerError, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_upstreams_is_raised_as_its_kind(
    client: openai.OpenAI,
    gateway: Gateway,
    status: int,
    error: type[openai.APIStatusError],
    kind: str,
    stream: bool,
) -> None:
    with pytest.raises(error) as raised:
        client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            stream=stream,
            extra_headers=wish(f"status={status}; retry-after=7"),
        )
    assert raised.value.type == kind
    assert raised.value.request_id == gateway.entry().id
    assert raised.value.response.headers["retry-after"] == "7"
    assert gateway.entry().status == status


def test_what_cannot_be_served_is_refused_before_the_upstream_hears_of_it(
    client: openai.OpenAI, gateway: Gateway, simulator: Server
) -> None:
    with pytest.raises(openai.BadRequestError, match="`seed` cannot be served") as raised:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, seed=7)
    assert (raised.value.param, raised.value.type) == ("seed", "invalid_request_error")
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert gateway.entry().ended is Ended.REFUSED
    assert not simulator.recorder.requests


def test_an_error_in_a_stream_is_raised(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.APIError, match="Overloaded"):
        list(
            client.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, extra_headers=wish("error-event=4")
            )
        )
    assert gateway.entry().ended is Ended.UPSTREAM_ERROR


def test_a_stream_that_breaks_off_is_an_error(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.APIError, match="closed the connection before the end"):
        list(
            client.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, extra_headers=wish("cut=5")
            )
        )
    assert gateway.entry().ended is Ended.UPSTREAM_ERROR


def test_a_large_or_compressed_body_is_translated_too(gateway: Gateway, simulator: Server) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "é" * 100_000}]}).encode()
    packed = gzip.compress(json.dumps({"model": MODEL, "messages": MESSAGES}).encode())
    with RawClient(gateway.port) as client:
        large = client.ask(post(body, path=CHAT.encode()))
        small = client.ask(post(packed, path=CHAT.encode(), headers=b"content-encoding: gzip\r\n"))
    assert (large.status, small.status) == (200, 200)
    assert json.loads(small.body)["object"] == "chat.completion"
    first, second = simulator.recorder.wait_ended(2)
    assert len(first.body) > 200_000
    assert second.header("content-encoding") is None


def test_our_own_field_is_kept_for_the_record_and_does_not_go_upstream(
    client: openai.OpenAI, gateway: Gateway, simulator: Server
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=MESSAGES,
        metadata={"project": "x"},
        extra_body={"litellm_metadata": {"tags": ["t"]}},
    )
    assert raw.headers["x-ferryman-mutations"] == "anthropic-version, openai, litellm_metadata"
    assert gateway.entry().tags == ["t"]
    notes = gateway.entry().spend_logs_metadata
    assert notes is not None
    assert {name: bytes(value) for name, value in notes.items()} == {"project": b'"x"'}
    assert "litellm_metadata" not in received(simulator)


def test_only_the_path_below_v1_is_a_chat(gateway: Gateway, simulator: Server) -> None:
    body = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()
    with RawClient(gateway.port) as client:
        assert client.ask(post(body, path=b"/anthropic/v1/chat/completions")).status == 404
        assert client.ask(post(body, path=b"/v1/chat/completions?api-version=1")).status == 200
    assert [one.target for one in simulator.recorder.wait_ended(2)] == [
        b"/v1/chat/completions",
        b"/v1/messages",
    ]
