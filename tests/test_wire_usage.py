"""`usage` out of a JSON answer or an event: every field kept, odd ones salvaged, nothing raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.model import CacheCreation, Call, Metadata, OutputTokensDetails, ServerToolUse, Usage
from ferryman.wire.request import read_call
from ferryman.wire.usage import Report, answer_of, report_of_event, type_of_event, usage_of_object

FULL: dict[str, Any] = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 7,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "output_tokens_details": {"thinking_tokens": 4},
    "service_tier": "priority",
    "inference_geo": "eu",
    "speed": "fast",
    "iterations": [{"type": "message", "input_tokens": 1}, {"type": "of_tomorrow", "x": [1.50]}],
}

FULL_USAGE = Usage(
    input_tokens=3,
    output_tokens=7,
    cache_creation_input_tokens=30,
    cache_read_input_tokens=500,
    cache_creation=CacheCreation(10, 20),
    server_tool_use=ServerToolUse(2, 1),
    output_tokens_details=OutputTokensDetails(4),
    service_tier="priority",
    inference_geo="eu",
    speed="fast",
)

COUNT_NAMES = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
TEXT_NAMES = ("service_tier", "inference_geo", "speed")
PART_NAMES: dict[str, tuple[str, ...]] = {
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    "server_tool_use": ("web_search_requests", "web_fetch_requests"),
    "output_tokens_details": ("thinking_tokens",),
}

DEEP = b"[" * 200_000 + b"]" * 200_000


def shown(usage: Usage | None) -> dict[str, Any] | None:
    """A usage as plain values, without what was not there."""
    if usage is None:
        return None
    plain: dict[str, Any] = json.loads(msgspec.json.encode(usage))
    return plain


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def expected(usage: dict[str, Any]) -> dict[str, Any]:
    """What of a `usage` can be used, by the plainest rule: each field that has its type."""
    kept: dict[str, Any] = {name: usage[name] for name in COUNT_NAMES if is_count(usage.get(name))}
    kept |= {name: usage[name] for name in TEXT_NAMES if isinstance(usage.get(name), str)}
    for name, parts in PART_NAMES.items():
        value = usage.get(name)
        if isinstance(value, dict) and all(
            value.get(part) is None or is_count(value[part]) for part in parts
        ):
            kept[name] = {part: value[part] for part in parts if value.get(part) is not None}
    if isinstance(usage.get("iterations"), list):
        kept["iterations"] = usage["iterations"]
    return kept


ODD = st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(-1e9, 1e9) | st.text(max_size=5)
ANY = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
MEMBERS = st.integers(0, 2**40) | ODD
USAGES = st.dictionaries(
    st.sampled_from(COUNT_NAMES + TEXT_NAMES + ("iterations", "of_tomorrow")), ANY | MEMBERS
).flatmap(
    lambda flat: st.fixed_dictionaries(
        {},
        optional={
            name: ANY | st.dictionaries(st.sampled_from((*parts, "other")), MEMBERS)
            for name, parts in PART_NAMES.items()
        },
    ).map(lambda parts: flat | parts)
)


def test_answer_gives_every_field_of_its_usage() -> None:
    body = json.dumps({"id": "msg_1", "content": [{"text": '"usage"'}], "usage": FULL}).encode()
    usage = answer_of(body).usage
    assert usage is not None
    assert msgspec.structs.replace(usage, iterations=None) == FULL_USAGE
    assert usage.iterations is not None
    assert bytes(usage.iterations[1]) == b'{"type": "of_tomorrow", "x": [1.5]}'


@given(usage=USAGES, model=ANY)
def test_answer_gives_each_field_that_has_its_type(usage: dict[str, Any], model: object) -> None:
    body = json.dumps({"model": model, "usage": usage}).encode()
    assert shown(answer_of(body).usage) == expected(usage)
    assert shown(usage_of_object(json.dumps(usage).encode())) == expected(usage)


@given(usage=USAGES)
def test_event_gives_each_field_that_has_its_type(usage: dict[str, Any]) -> None:
    start = {"type": "message_start", "message": {"model": "m", "usage": usage}}
    found = report_of_event(json.dumps(start).encode())
    assert found is not None
    assert (found[0], shown(found[1])) == ("message_start", expected(usage))
    delta = {"type": "message_delta", "delta": {"usage": {"output_tokens": 9}}, "usage": usage}
    found = report_of_event(json.dumps(delta).encode())
    assert found is not None
    assert (found[0], shown(found[1])) == ("message_delta", expected(usage))


@pytest.mark.parametrize("odd", ["null", '"x"', "5", "[]", "{}", "true", '{"ephemeral_1h_input_tokens":"x"}'])
@pytest.mark.parametrize("name", list(FULL))
def test_field_of_an_unknown_type_costs_no_other_field(name: str, odd: str) -> None:
    others = {key: value for key, value in FULL.items() if key != name}
    body = json.dumps({"usage": others}).encode()[:-2] + f',"{name}":{odd}}}}}'.encode()
    found = shown(answer_of(body).usage) or {}
    assert {key: value for key, value in found.items() if key != name} == others


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"usage"', b"{}", b'{"usage":null}', b'{"usage":[1]}', b'{"usage":"x"}',
     b'{"usage":{"output_tokens":1}', b'{"a":{"usage":{"output_tokens":1}}}', b"\xff\xfe", b"<html>"],
)  # fmt: skip
def test_answer_without_a_usage_object_has_none(body: bytes) -> None:
    assert answer_of(body).usage is None


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "usage": FULL},
        {"type": "of_tomorrow", "message": {"usage": FULL}},
        {"type": None, "usage": FULL},
        {"type": 5, "usage": FULL},
        {"usage": FULL},
        {"type": "message_start", "message": {"usage": None}},
        {"type": "message_delta", "delta": {"usage": FULL}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "input": {"usage": FULL}}},
        {"type": "message_delta", "usage": [FULL]},
    ],
)
def test_other_event_has_no_usage(event: dict[str, Any]) -> None:
    assert report_of_event(json.dumps(event).encode()) is None


@pytest.mark.parametrize("message", [{"id": "msg_1"}, "text", [], {"usage": {"output_tokens": 99}}])
def test_delta_is_read_from_its_own_usage_whatever_else_it_carries(message: object) -> None:
    event = {"type": "message_delta", "message": message, "usage": {"output_tokens": 5}}
    assert report_of_event(json.dumps(event).encode()) == Report("message_delta", Usage(output_tokens=5))


def test_delta_replaces_counts_and_keeps_what_only_the_start_tells() -> None:
    start = usage_of_object(json.dumps(FULL | {"output_tokens": 1, "iterations": None}).encode())
    delta = usage_of_object(
        b'{"input_tokens":4,"output_tokens":70,"cache_read_input_tokens":0,"cache_creation_input_tokens":null}'
    )
    assert start is not None
    assert delta is not None
    both = start.updated(delta)
    assert (both.input_tokens, both.output_tokens, both.cache_read_input_tokens) == (4, 70, 0)
    assert both.cache_creation_input_tokens == 30
    assert both.cache_creation == CacheCreation(10, 20)
    assert (both.service_tier, both.inference_geo, both.speed) == ("priority", "eu", "fast")


def test_invalid_text_elsewhere_costs_no_count() -> None:
    usage = Usage(input_tokens=1, output_tokens=2)
    counts = b'"usage":{"input_tokens":1,"output_tokens":2}}'
    assert answer_of(b'{"text":"\xff\xfe",' + counts).usage == usage
    assert answer_of(b'{"model":"\xff",' + counts).usage == usage


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (b'{"model":"m","stream":true,"max_tokens":5}', Call("m", True, 5)),
        (b' \n{ "stream":false, "x":{"model":"n"}, "model":"m" }\r\n', Call("m", False, None)),
        (b'{"model":null}', Call()),
        (b'{"model":5}', Call()),
        (b'{"stream":"yes","metadata":[],"model":"m","max_tokens":7}', Call("m", None, 7)),
        (b'{"metadata":{"user_id":5},"model":"m"}', Call("m")),
        (b'{"model":"m","metadata":{"user_id":"u","x":1}}', Call("m", metadata=Metadata("u"))),
        (b"[]", Call()),
        (b"", Call()),
        (b"\xff", Call()),
        (b'{"model":"m"', Call()),
    ],
)
def test_call_is_read_from_the_head_fields(body: bytes, call: Call) -> None:
    assert read_call(body) == call


READERS: list[Callable[[bytes], object]] = [
    answer_of, report_of_event, usage_of_object, type_of_event, read_call,
]  # fmt: skip


@given(data=st.binary(max_size=200))
def test_hostile_bytes_never_raise(data: bytes) -> None:
    for read in READERS:
        read(data)
        read(b'{"type":"message_delta","model":"' + data + b'","usage":{"speed":"' + data + b'"}}')
        read(b'{"usage":{"input_tokens":' + data + b"}}")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"x":' + DEEP + b"}", id="deep"),
        pytest.param(b'{"usage":{"speed":' + DEEP + b"}}", id="deep-usage"),
        pytest.param(b'{"type":"message_start","message":' + DEEP + b"}", id="deep-message"),
        pytest.param(b'{"x":' + DEEP[:200_000], id="deep-and-open"),
        pytest.param(b'{"usage":{"input_tokens":1' + b"0" * 10_000 + b"}}", id="endless-number"),
        pytest.param(b'{"usage":{"input_tokens":1e999}}', id="infinite"),
        pytest.param(b'{"usage":{"speed":"\\ud800"}}', id="lone-surrogate"),
    ],
)
def test_hostile_json_never_raises(read: Callable[[bytes], object], data: bytes) -> None:
    read(data)


def test_usage_beside_nesting_that_no_decoder_follows_is_found() -> None:
    deep = b"[" * 5_000 + b"]" * 5_000
    usage = answer_of(b'{"content":%b,"usage":{"input_tokens":3,"output_tokens":4}}' % deep).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)
