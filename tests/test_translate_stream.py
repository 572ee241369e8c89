"""A Messages stream as chunks: the same however the bytes are cut, and whatever is among them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from ferryman.translate.chat_stream import DONE, PING, ChatStream
from ferryman.wire.sse import MAX_EVENT_BYTES

START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude-x",
        "usage": {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 4},
    },
}
STOP = {"type": "message_stop"}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **value: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **value}}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def stop(reason: str | None, **more: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, **more},
        "usage": {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}},
    }


TEXT = [
    begin(0, type="text", text=""),
    delta(0, "text_delta", text="Hé"),
    delta(0, "text_delta", text="llo"),
    end(0),
]
CALLS = [
    begin(1, type="tool_use", id="t1", name="f", input={}),
    delta(1, "input_json_delta", partial_json=""),
    delta(1, "input_json_delta", partial_json='{"x":'),
    delta(1, "input_json_delta", partial_json="1.0}"),
    end(1),
    begin(2, type="server_tool_use", id="s", name="web_search", input={}),
    delta(2, "input_json_delta", partial_json='{"query":"x"}'),
    end(2),
    begin(3, type="tool_use", id="t2", name="g", input={}),
    end(3),
    begin(4, type="tool_use", id="t3", name="h", input={"y": 2}),
    end(4),
]


def stream(*events: dict[str, Any], line_end: str = "\n") -> bytes:
    return "".join(
        f"event: {event['type']}{line_end}data: {json.dumps(event)}{line_end}{line_end}" for event in events
    ).encode()


WHOLE = stream(START, {"type": "ping"}, *TEXT, *CALLS, {"type": "odd", "x": [1]}, stop("tool_use"), STOP)


def chunks(made: bytes) -> list[ChatCompletionChunk]:
    found = [event.removeprefix(b"data: ") for event in made.split(b"\n\n") if event.startswith(b"data: {")]
    return [ChatCompletionChunk.model_validate_json(each, strict=True) for each in found]


def deltas(made: bytes) -> list[dict[str, Any]]:
    return [choice.delta.model_dump(exclude_unset=True) for chunk in chunks(made) for choice in chunk.choices]


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def test_a_stream_becomes_chunks() -> None:
    made = ChatStream(5, tells_usage=True).feed(WHOLE)
    assert deltas(made) == [
        {"role": "assistant", "content": ""},
        {"content": "Hé"},
        {"content": "llo"},
        call(0, "", id="t1", type="function", name="f"),
        call(0, '{"x":'),
        call(0, "1.0}"),
        call(1, "", id="t2", type="function", name="g"),
        call(1, "{}"),
        call(2, "", id="t3", type="function", name="h"),
        call(2, '{"y": 2}'),
        {},
    ]
    found = chunks(made)
    assert {(chunk.id, chunk.model, chunk.created) for chunk in found} == {("msg_1", "claude-x", 5)}
    assert [choice.finish_reason for chunk in found for choice in chunk.choices][-2:] == [None, "tool_calls"]
    *_, last = found
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (13, 7)
    assert made.endswith(b"\n\n" + DONE)
    assert PING in made


def test_the_usage_is_told_only_where_it_was_asked_for() -> None:
    made = ChatStream(5, tells_usage=False).feed(WHOLE)
    assert b"usage" not in made
    assert made.endswith(DONE)


def test_thinking_is_told_apart_and_a_refusal_as_one() -> None:
    made = ChatStream(5, tells_usage=False).feed(
        stream(
            START,
            begin(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="hm"),
            delta(0, "signature_delta", signature="s"),
            end(0),
            stop(None),
            stop("refusal", stop_details={"type": "refusal", "explanation": "No."}),
            STOP,
        )
    )
    assert deltas(made)[1:] == [{"reasoning_content": "hm"}, {"refusal": "No."}]
    assert chunks(made)[-1].choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize("tells_usage", [True, False])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_byte_by_byte_the_chunks_are_the_same(line_end: str, tells_usage: bool) -> None:
    whole = stream(START, *TEXT, *CALLS, stop("tool_use"), STOP, line_end=line_end)
    fed = ChatStream(5, tells_usage=tells_usage)
    made = b"".join(fed.feed(whole[at : at + 1]) for at in range(len(whole)))
    assert made + fed.feed(b"\n") == ChatStream(5, tells_usage=tells_usage).feed(whole + b"\n")


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_however_it_is_cut_the_chunks_are_the_same(sizes: list[int]) -> None:
    fed, made, at = ChatStream(5, tells_usage=True), b"", 0
    for size in itertools.cycle(sizes):
        made += fed.feed(WHOLE[at : at + size])
        at += size
        if at >= len(WHOLE):
            break
    assert made == ChatStream(5, tells_usage=True).feed(WHOLE)


def test_an_error_is_the_last_event() -> None:
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
    fed = ChatStream(5, tells_usage=True)
    made = fed.feed(stream(START, *TEXT[:2], broken, *TEXT[2:], stop("end_turn"), STOP))
    (*_, last) = made.removesuffix(b"\n\n").split(b"\n\n")
    told = json.loads(last.removeprefix(b"data: "))
    assert told == {"error": {"message": "Busy", "type": "overloaded_error", "param": None, "code": None}}
    assert fed.over
    assert fed.feed(WHOLE) == b""


def test_an_error_in_another_shape_is_still_one() -> None:
    made = ChatStream(5, tells_usage=True).feed(stream({"type": "error", "error": "odd"}))
    assert "broke off" in json.loads(made.removeprefix(b"data: "))["error"]["message"]


def test_nothing_comes_behind_the_end() -> None:
    fed = ChatStream(5, tells_usage=True)
    fed.feed(WHOLE)
    assert fed.over
    assert fed.feed(WHOLE) == b""


@pytest.mark.parametrize(
    "odd",
    [
        b"data: \xff\xfe\n\n",
        b"data: {\n\n",
        b"data: [1]\n\n",
        b": only a comment\n\n",
        b"event: nothing\n\n",
        b"\n\n\n\n",
        b'data: {"type":3}\n\n',
        b'data: {"type":"content_block_delta"}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":5}}\n\n',
        b'data: {"type":"content_block_start","content_block":"x"}\n\n',
        b'data: {"type":"content_block_stop"}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{}"}}\n\n',
        b'data: {"type":"odd","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n\n",
        b'data: {"type":"odd","x":"' + b"x" * (MAX_EVENT_BYTES + 1) + b'"}\n\n',
    ],
)
def test_what_is_no_event_for_a_chat_makes_none(odd: bytes) -> None:
    plain = stream(START, *TEXT, stop("end_turn"), STOP)
    at = plain.index(b"event: content_block_delta")
    fed = ChatStream(5, tells_usage=True)
    assert fed.feed(plain[:at]) + fed.feed(odd) + fed.feed(plain[at:]) == ChatStream(
        5, tells_usage=True
    ).feed(plain)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_comes_the_chunks_are_whole_events(pieces: list[bytes]) -> None:
    fed = ChatStream(5, tells_usage=True)
    for piece in pieces:
        made = fed.feed(piece)
        assert made == b"" or made.endswith(b"\n\n")


def test_half_a_character_becomes_a_mark() -> None:
    event = b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a\\ud83d"}}\n\n'
    made = ChatStream(5, tells_usage=False).feed(stream(START) + event)
    assert deltas(made)[1] == {"content": "a�"}


def test_memory_does_not_grow_with_the_stream() -> None:
    fed = ChatStream(5, tells_usage=True)
    fed.feed(stream(START))
    held = []
    for _ in range(3):
        for _ in range(1_000):
            fed.feed(stream(delta(0, "text_delta", text="x" * 100)))
        held.append(sum(len(getattr(fed, name)) for name in ("_given", "_id", "_model")))
        assert fed._events.at_boundary
    assert len(set(held)) == 1
