"""The whole line between real clients and the simulator, which keeps what it received and sent."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from ferryman.simulator.recorder import Recorded
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.conftest import KEY, Bench
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, RawResponse, get, post

MODEL = "claude-opus-5-5"
MESSAGES: Any = [{"role": "user", "content": "Carry me across, é 😀"}]
TOOLS: Any = [
    {
        "name": "get_weather",
        "description": "The weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
HOUR = 3_600


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


def ask(control: str = "", *, stream: bool = False, headers: bytes = b"", **fields: Any) -> bytes:
    """A call with odd spacing, which has to stay."""
    body = json.dumps(
        {"model": MODEL, "max_tokens": 1_000, "messages": MESSAGES, "stream": stream, **fields}, indent=1
    )
    wished = b"x-simulator: %b\r\n" % control.encode() if control else b""
    return post(body.encode(), headers=b"anthropic-version: 2023-06-01\r\n" + wished + headers)


def exchange(gateway: Gateway, simulator: Server, request: bytes) -> tuple[RawResponse, Recorded]:
    """Send `request`: the answer, and what the simulator knows of it."""
    with RawClient(gateway.port) as client:
        answer = client.ask(request)
    (recorded,) = simulator.recorder.wait_ended()
    return answer, recorded


def usage_of(gateway: Gateway) -> tuple[int | None, int | None]:
    usage = gateway.entry().usage
    assert usage is not None
    return usage.input_tokens, usage.output_tokens


@pytest.mark.parametrize(
    ("control", "fields"),
    [
        ("", {}),
        ("comments; unknown-events", {}),
        ("crlf", {}),
        ("crlf; comments; unknown-events; iterations; thinking", {}),
        ("no-pings; text-bytes=200000; events=500", {"max_tokens": 60_000}),
        ("text-bytes=0", {}),
        ("tool=get_weather", {"tools": TOOLS}),
        ('usage={"input_tokens": 7, "output_tokens": "many", "of_tomorrow": {"usage": 1}}', {}),
    ],
)
@pytest.mark.parametrize("coding", ["", "; gzip"])
@pytest.mark.parametrize("stream", [False, True])
def test_answer_comes_back_with_every_byte_and_is_metered(
    gateway: Gateway, simulator: Server, control: str, fields: dict[str, Any], coding: str, stream: bool
) -> None:
    request = ask(
        control + coding,
        stream=stream,
        headers=b"accept-encoding: gzip, br, zstd\r\n" if coding else b"",
        **fields,
    )
    answer, recorded = exchange(gateway, simulator, request)
    assert (answer.status, answer.body) == (200, recorded.response_body)
    assert recorded.body == request.partition(b"\r\n\r\n")[2]
    assert answer.values(b"content-encoding") == ([b"gzip"] if coding else [])
    entry = gateway.entry()
    assert (entry.ended, entry.usage_complete, entry.stream, entry.model) == ("done", True, stream, MODEL)
    assert entry.request_bytes == len(recorded.body)
    behind_stop = 100 if stream else 1  # a comment, or the end of a gzip member, behind `message_stop`
    assert 0 <= len(answer.body) - entry.response_bytes < behind_stop
    assert entry.upstream_request_id is not None
    assert answer.values(b"request-id") == [entry.upstream_request_id.encode()]
    plain = gzip.decompress(answer.body) if coding else answer.body
    told = json.loads(usage_text(plain, stream=stream))["usage"]
    usage = entry.usage
    assert usage is not None
    assert usage.input_tokens == told["input_tokens"]
    if isinstance(told["output_tokens"], int):
        assert usage.output_tokens == told["output_tokens"]
    if not control.startswith("usage"):
        assert (usage.service_tier, usage.speed, usage.inference_geo) == ("standard", "standard", "global")
        assert usage.cache_creation is not None


def usage_text(plain: bytes, *, stream: bool) -> bytes:
    """The JSON text that tells the final usage."""
    mark = b'data: {"type":"message_delta"'
    return mark[6:] + plain.partition(mark)[2].splitlines()[0] if stream else plain


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 429, 500, 503, 504, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_error_passes_byte_for_byte(gateway: Gateway, simulator: Server, status: int, stream: bool) -> None:
    control = f"status={status}; retry-after=7; should-retry=false"
    answer, recorded = exchange(gateway, simulator, ask(control, stream=stream))
    assert (answer.status, answer.body) == (status, recorded.response_body)
    assert (answer.values(b"retry-after"), answer.values(b"x-should-retry")) == ([b"7"], [b"false"])
    entry = gateway.entry()
    assert (entry.ended, entry.status, entry.usage, entry.error) == ("done", status, None, None)


def test_rejected_request_passes_with_the_simulators_own_words(gateway: Gateway, simulator: Server) -> None:
    answer, recorded = exchange(gateway, simulator, post(b"{ not json"))
    assert (answer.status, answer.body) == (400, recorded.response_body)
    assert recorded.body == b"{ not json"


def test_headers_arrive_as_sent_and_the_credential_is_the_servers(
    gateway: Gateway, simulator: Server
) -> None:
    request = ask(
        headers=b"X-Api-Key: client\r\nAuthorization: Bearer client\r\nAnthropic-Beta: one\r\nX-Odd: a b\r\n",
    )
    _, recorded = exchange(gateway, simulator, request)
    assert recorded.header_values("x-api-key") == [KEY]
    assert recorded.header_values("authorization") == []
    assert (b"Anthropic-Beta", b"one") in recorded.headers
    assert (b"X-Odd", b"a b") in recorded.headers
    assert b"client" not in b"".join(name + value for name, value in recorded.headers)


def test_echo_returns_any_body_on_any_path(gateway: Gateway, simulator: Server) -> None:
    body = bytes(range(256)) * 300
    request = post(body, path=b"/anthropic/v1/what/ever?x=%20y", headers=b"x-simulator: echo\r\n")
    answer, recorded = exchange(gateway, simulator, request)
    assert (answer.body, recorded.target) == (body, b"/v1/what/ever?x=%20y")
    assert gateway.entry().usage is None


def test_deeply_nested_body_goes_upstream_as_it_came(gateway: Gateway, simulator: Server) -> None:
    body = b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer, recorded = exchange(gateway, simulator, post(body, headers=b"x-simulator: echo\r\n"))
    assert (answer.status, answer.body, recorded.body) == (200, body, body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(json.dumps({"model": MODEL, "messages": MESSAGES}).encode(), path=b"/v1/messages/count_tokens"),
        get(b"/v1/models?limit=3"),
        get(b"/v1/models/" + MODEL.encode()),
        get(b"/anthropic/v1/models"),
    ],
    ids=["count_tokens", "models", "model", "with-prefix"],
)
def test_other_calls_pass_and_are_not_metered(
    gateway: Gateway, simulator: Server, request_bytes: bytes
) -> None:
    answer, recorded = exchange(gateway, simulator, request_bytes)
    assert (answer.status, answer.body) == (200, recorded.response_body)
    entry = gateway.entry()
    assert (entry.usage, entry.usage_complete, entry.ended) == (None, True, "done")
    assert 0 <= (entry.overhead_seconds or 0) <= entry.duration_seconds


# ── faults ──


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("fault", ["cut={}", "cut={}; reset"])
def test_stream_that_is_cut_ends_in_an_error_event(
    gateway: Gateway, simulator: Server, fault: str, count: int
) -> None:
    with RawClient(gateway.port) as client:
        client.send(ask(fault.format(count), stream=True))
        if count:
            data = client.read_to_end()
            body = data.partition(b"\r\n\r\n")[2]
            event = data[data.index(b"event: error\ndata: ") + 19 :].split(b"\n\n")[0]
            assert json.loads(event)["error"]["type"] == "api_error"
            assert body.count(b"event: ") == count + 1
            assert not data.endswith(b"0\r\n\r\n")
        else:  # whether the head came before the end decides how it can be told
            read_whatever_comes(client)
    entry = gateway.entry()
    assert (entry.ended, entry.attempts) == ("upstream_error", 1)
    assert entry.usage_complete is False or not count
    assert len(simulator.recorder.requests) == 1, "what may have been billed is not asked twice"


def read_whatever_comes(client: RawClient) -> None:
    try:
        client.read_to_end()
    except ConnectionResetError:
        return


@pytest.mark.parametrize("fault", ["cut=100", "cut=100; reset"])
def test_json_answer_that_is_cut_is_never_whole_for_the_client(
    gateway: Gateway, simulator: Server, fault: str
) -> None:
    with RawClient(gateway.port) as client:
        client.send(ask(fault))
        assert client.response().status == 502
    entry = gateway.entry()
    assert (entry.ended, entry.usage, entry.usage_complete) == ("upstream_error", None, False)
    assert len(simulator.recorder.requests) == 1


@pytest.mark.parametrize("fault", ["drop", "drop; reset"])
def test_connection_without_an_answer_is_502_and_asked_once(
    gateway: Gateway, simulator: Server, fault: str
) -> None:
    answer, _ = exchange(gateway, simulator, ask(fault))
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (502, "api_error")
    assert len(simulator.recorder.requests) == 1
    assert gateway.entry().ended == "upstream_error"


@pytest.mark.parametrize("count", [0, 3])
def test_error_event_passes_byte_for_byte_and_is_recorded(
    gateway: Gateway, simulator: Server, count: int
) -> None:
    answer, recorded = exchange(gateway, simulator, ask(f"error-event={count}", stream=True))
    assert answer.body == recorded.response_body
    assert b"overloaded_error" in answer.body
    entry = gateway.entry()
    assert (entry.ended, entry.error) == ("upstream_error", "the stream brought an error event")
    assert (entry.usage is not None) == (count > 0)


def test_stall_within_a_stream_runs_into_the_idle_time_out(
    line: Bench, simulator: Server, clock: HeldClock
) -> None:
    gateway = line.gateway(simulator.url, clock=clock, stream_idle_timeout_seconds=600.0)
    with RawClient(gateway.port) as client:
        client.send(ask(f"stall={HOUR}; events=2", stream=True))
        client.read_until(b"content_block_delta")
        gateway.pass_time(599)
        assert simulator.recorder.last.ended_seconds is None
        gateway.pass_time(2)
        assert b'"timeout_error"' in client.read_to_end()
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.client_disconnected
    assert (gateway.entry().ended, gateway.entry().usage_complete) == ("timeout", False)


def test_stall_within_a_json_answer_runs_into_the_idle_time_out(
    line: Bench, simulator: Server, clock: HeldClock
) -> None:
    gateway = line.gateway(simulator.url, clock=clock, stream_idle_timeout_seconds=600.0)
    with RawClient(gateway.port) as client:
        client.send(ask(f"stall={HOUR}"))
        gateway.until(lambda: [one for one in gateway.worker.line.live if one.response_head is not None])
        gateway.pass_time(601)
        answer = client.response()
        assert answer.status == 504
        assert b"600 s (`stream_idle_timeout_seconds`)" in answer.body
    assert simulator.recorder.wait_ended()[0].client_disconnected
    assert gateway.entry().ended == "timeout"


def test_slow_start_runs_into_the_first_byte_time_out(
    line: Bench, simulator: Server, clock: HeldClock
) -> None:
    gateway = line.gateway(simulator.url, clock=clock, first_byte_timeout_seconds=600.0)
    with RawClient(gateway.port) as client:
        client.send(ask(f"slow-start={HOUR}"))
        simulator.recorder.wait(lambda requests: requests and requests[0].body)
        gateway.pass_time(601)
        answer = client.response()
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (504, "timeout_error")
    assert simulator.recorder.wait_ended()[0].client_disconnected
    assert (gateway.entry().ended, gateway.entry().time_to_first_byte_seconds) == ("timeout", None)


def test_client_that_leaves_a_stream_ends_the_simulators_work(gateway: Gateway, simulator: Server) -> None:
    with RawClient(gateway.port) as client:
        client.send(ask(f"stall={HOUR}", stream=True))
        client.read_until(b"content_block_delta")
    (recorded,) = simulator.recorder.wait_ended()
    assert (recorded.client_disconnected, recorded.finished) == (True, False)
    entry = gateway.entry()
    assert (entry.ended, entry.usage_complete) == ("client_gone", False)
    assert entry.usage is not None
    assert (entry.usage.input_tokens or 0) > 0


# ── the official SDK ──


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="whatever", max_retries=0) as made:
        yield made


def test_sdk_gets_a_message_a_stream_and_a_tool_use(sdk: anthropic.Anthropic, gateway: Gateway) -> None:
    message = sdk.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES)
    assert usage_of(gateway) == (message.usage.input_tokens, message.usage.output_tokens)
    with sdk.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert [block.text for block in final.content if block.type == "text"] == [streamed]
    used = sdk.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=MESSAGES,
        tools=TOOLS,
        tool_choice={"type": "tool", "name": "get_weather"},
    )
    assert used.stop_reason == "tool_use"
    entries = [gateway.entry(number) for number in (1, 2, 3)]
    assert [(entry.stream, entry.ended, entry.usage_complete) for entry in entries] == [
        (False, "done", True), (True, "done", True), (False, "done", True),
    ]  # fmt: skip
    assert entries[1].usage is not None
    assert entries[1].usage.output_tokens == final.usage.output_tokens


def test_sdk_counts_tokens_and_lists_models(sdk: anthropic.Anthropic, gateway: Gateway) -> None:
    assert sdk.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens > 0
    assert MODEL in {model.id for model in sdk.models.list()}
    assert {entry.usage for entry in (gateway.entry(1), gateway.entry(2))} == {None}


def test_sdk_raises_what_it_raises_without_a_gateway(sdk: anthropic.Anthropic, simulator: Server) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        sdk.messages.create(model="gpt-x", max_tokens=10, messages=MESSAGES)
    assert missing.value.response.content == simulator.recorder.wait_ended()[0].response_body
    with pytest.raises(anthropic.RateLimitError) as limited:
        sdk.messages.create(model=f"{MODEL}:status=429; retry-after=3", max_tokens=10, messages=MESSAGES)
    assert limited.value.response.headers["retry-after"] == "3"
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        sdk.messages.stream(model=f"{MODEL}:error-event=3", max_tokens=10, messages=MESSAGES) as stream,
    ):
        stream.until_done()


def test_sdk_retries_through_the_gateway_as_without_it(gateway: Gateway, simulator: Server) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=2) as sdk:
        message = sdk.messages.create(
            model=f"{MODEL}:status=529; retry-after=0; times=1", max_tokens=10, messages=MESSAGES
        )
    assert message.type == "message"
    assert [recorded.status for recorded in simulator.recorder.wait_ended(2)] == [529, 200]


def test_async_sdk_streams_many_at_once(gateway: Gateway, simulator: Server) -> None:
    async def one(sdk: anthropic.AsyncAnthropic, number: int) -> str:
        text: Any = [{"role": "user", "content": f"number {number}"}]
        async with sdk.messages.stream(model=MODEL, max_tokens=200, messages=text) as stream:
            return await stream.get_final_text()

    async def all_of_them() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="x", max_retries=0) as sdk:
            return list(await asyncio.gather(*(one(sdk, number) for number in range(50))))

    texts = asyncio.run(all_of_them())
    assert all(texts)
    assert len(simulator.recorder.wait_ended(50)) == 50
    assert {gateway.entry(number).ended for number in range(1, 51)} == {"done"}
