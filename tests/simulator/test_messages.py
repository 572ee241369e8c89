"""What a message is answered with, as the official SDK and a plain client see it."""

import json

import anthropic
import pytest

from ferryman.simulator.server import Server

from .conftest import OLD, Client, body
from .sse import events_of, of_type, types_of

PROMPT = "Tell me about the ferry"


def test_answer_mentions_the_simulator_and_the_prompt(sdk: anthropic.Anthropic) -> None:
    message = sdk.messages.create(
        model="claude-opus-5-5", max_tokens=1_000, messages=[{"role": "user", "content": PROMPT}]
    )
    assert message.content[0].type == "text"
    assert "simulator" in message.content[0].text
    assert PROMPT in message.content[0].text
    assert message.model == "claude-opus-5-5"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_stream_adds_up_to_the_answer_that_is_not_streamed(sdk: anthropic.Anthropic) -> None:
    with sdk.messages.stream(
        model="claude-opus-5-5", max_tokens=1_000, messages=[{"role": "user", "content": PROMPT}]
    ) as stream:
        streamed = stream.get_final_message()
    whole = sdk.messages.create(
        model="claude-opus-5-5", max_tokens=1_000, messages=[{"role": "user", "content": PROMPT}]
    )
    assert streamed.content[0].to_dict() == whole.content[0].to_dict()
    assert streamed.usage.to_dict() == whole.usage.to_dict()
    assert streamed.stop_reason == whole.stop_reason


def test_stream_has_the_events_of_the_api_in_order(client: Client) -> None:
    answer = client.ask(stream=True, control="events=2")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert types_of(answer.text) == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, delta = of_type(answer.text, "message_start")[0], of_type(answer.text, "message_delta")[0]
    assert start["message"]["content"] == []
    assert start["message"]["stop_reason"] is None
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}


@pytest.mark.parametrize("stream", [True, False])
def test_same_request_bytes_get_the_same_answer_bytes(client: Client, *, stream: bool) -> None:
    first, second = client.ask(PROMPT, stream=stream), client.ask(PROMPT, stream=stream)
    assert first.content == second.content
    assert first.headers == second.headers


def test_another_request_gets_other_ids(client: Client) -> None:
    first, second = client.ask("one"), client.ask("two")
    assert first.json()["id"] != second.json()["id"]
    assert first.headers["request-id"] != second.headers["request-id"]


def test_every_answer_carries_the_headers_of_the_api(client: Client) -> None:
    for answer in (client.ask(), client.ask(stream=True), client.ask(model=None)):
        assert answer.headers["request-id"].startswith("req_01")
        assert answer.headers["anthropic-organization-id"]
        for limit in ("requests", "tokens", "input-tokens", "output-tokens"):
            for what in ("limit", "remaining", "reset"):
                assert answer.headers[f"anthropic-ratelimit-{limit}-{what}"]
        assert "server" not in answer.headers
        assert "date" not in answer.headers


def test_max_tokens_cuts_the_text(client: Client) -> None:
    answer = client.ask(max_tokens=5).json()
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] == 5
    assert len(answer["content"][0]["text"].encode()) <= 20


def test_max_tokens_of_zero_generates_nothing(client: Client) -> None:
    answer = client.ask(max_tokens=0, stream=True)
    assert types_of(answer.text) == ["message_start", "ping", "message_delta", "message_stop"]
    assert of_type(answer.text, "message_delta")[0]["usage"]["output_tokens"] == 0


def test_max_tokens_cuts_thinking_and_leaves_out_what_follows(client: Client) -> None:
    answer = client.ask(max_tokens=3, control="thinking").json()
    assert [block["type"] for block in answer["content"]] == ["thinking"]
    assert answer["content"][0]["thinking"].startswith("They say")
    assert answer["usage"]["output_tokens_details"] == {"thinking_tokens": 3}


def test_first_stop_sequence_ends_the_text(client: Client) -> None:
    answer = client.ask("stop at Rhine", stop_sequences=["Rhine", "stop", "absent"]).json()
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "stop")
    assert "stop" not in answer["content"][0]["text"]


def test_stop_sequence_at_the_very_start_leaves_no_content(client: Client) -> None:
    answer = client.ask(stop_sequences=["Hello from"]).json()
    assert (answer["content"], answer["stop_sequence"]) == ([], "Hello from")


def test_prompt_without_words_is_answered(client: Client) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    answer = client.ask(messages=[{"role": "user", "content": [picture]}]).json()
    assert "no words" in answer["content"][0]["text"]
    assert answer["usage"]["input_tokens"] == 1_568 + 4


def test_text_has_exactly_the_size_asked_for(client: Client) -> None:
    for size in (0, 1, 7, 54, 55, 56, 4_096):
        content = client.ask("“Größe”", control=f"text-bytes={size}", max_tokens=5_000).json()["content"]
        assert sum(len(block["text"].encode()) for block in content) == size


def test_text_is_split_into_exactly_the_events_asked_for(client: Client) -> None:
    answer = client.ask(stream=True, control="events=100", max_tokens=1_000)
    pieces = [event["delta"]["text"] for event in of_type(answer.text, "content_block_delta")]
    assert len(pieces) == 100
    assert all(pieces)


def test_events_stay_as_many_when_max_tokens_leaves_too_little_text(client: Client) -> None:
    answer = client.ask(stream=True, control="events=100", max_tokens=4)
    pieces = [event["delta"]["text"] for event in of_type(answer.text, "content_block_delta")]
    assert len(pieces) == 100
    assert len("".join(pieces)) <= 16


def test_stream_can_hold_comments_and_unknown_events_and_no_pings(client: Client) -> None:
    plain = client.ask(stream=True)
    answer = client.ask(stream=True, control="comments; unknown-events; no-pings")
    kept = {"ping": "no", "simulator_note": "no"}
    assert [event for event in events_of(answer.text) if event["type"] not in kept] == [
        event for event in events_of(plain.text) if event["type"] != "ping"
    ]
    assert types_of(answer.text).count("simulator_note") == 3
    assert "\n\n: simulator 2\n\nevent: " in answer.text
    assert "\n\n: simulator 3\nevent: " in answer.text


def test_sdk_reads_a_stream_with_comments_and_crlf(simulator: Server, sdk: anthropic.Anthropic) -> None:
    stream = sdk.messages.create(
        model="claude-opus-5-5",
        max_tokens=1_000,
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        extra_headers={"x-simulator": "comments; crlf"},
    )
    deltas = [event.delta for event in stream if event.type == "content_block_delta"]
    assert PROMPT in "".join(delta.text for delta in deltas if delta.type == "text_delta")
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.response_body.count(b"\r\n") == recorded.response_body.count(b"\n") > 0


def test_structured_output_fits_its_schema(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["boat", "bridge"]},
            "seats": {"type": "integer", "minimum": 3},
            "share": {"type": ["number", "null"]},
            "open": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "port": {"anyOf": [{"const": 80}, {"type": "null"}]},
            "flag": {"default": None},
            "note": {"type": "null"},
            "odd": True,
            "left out": {"type": "string"},
        },
        "required": ["name", "kind", "seats", "share", "open", "tags", "port", "flag", "note", "odd"],
    }
    answer = client.ask(output_config={"format": {"type": "json_schema", "schema": schema}}).json()
    assert json.loads(answer["content"][0]["text"]) == {
        "name": "simulated name",
        "kind": "boat",
        "seats": 3,
        "share": 1,
        "open": True,
        "tags": ["simulated tags"],
        "port": 80,
        "flag": None,
        "note": None,
        "odd": None,
    }


def test_echo_headers_tells_what_arrived(client: Client) -> None:
    answer = client.ask(control="echo-headers", headers={"X-Own": "v"})
    assert ["X-Own", "v"] in json.loads(answer.json()["content"][0]["text"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_hello_needs_no_credential(client: Client, method: str) -> None:
    answer = client.http.request(method, "/api/hello")
    assert answer.status_code == 200
    assert answer.headers["content-length"] == "19"
    assert answer.content == (b"" if method == "HEAD" else b'{"message":"hello"}')


def test_model_suffix_is_a_control_for_clients_without_headers(client: Client) -> None:
    answer = client.ask(model="claude-opus-5-5:text-bytes=3")
    assert answer.json()["content"][0]["text"] == "Hel"
    assert answer.json()["model"] == "claude-opus-5-5"
    assert (
        client.ask(model="claude-opus-5-5:text-bytes=3", control="text-bytes=5").json()["content"][0]["text"]
        == "Hello"
    )


def test_gzip_needs_both_the_control_and_the_clients_consent(client: Client) -> None:
    plain = client.ask(headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    for refused in ("identity", "br", "gzip;q=0", "gzip; q=0.0", "*;q=0"):
        assert (
            "content-encoding" not in client.ask(control="gzip", headers={"accept-encoding": refused}).headers
        )
    for accepted in ("gzip", "br, gzip;q=0.5", "*"):
        packed = client.ask(control="gzip", headers={"accept-encoding": accepted})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.json() == plain.json()


def test_gzipped_stream_can_be_read_event_by_event(client: Client) -> None:
    plain = client.ask(stream=True)
    headers = {"x-api-key": "k", "anthropic-version": OLD, "x-simulator": "gzip; cut=5"}
    with client.http.stream("POST", "/v1/messages", headers=headers, json=body(stream=True)) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        pieces = answer.iter_text()
        received = ""
        while received.count("\n\n") < 5:
            received += next(pieces)
    assert events_of(received) == events_of(plain.text)[:5]
    assert client.ask(stream=True, control="gzip").text == plain.text
