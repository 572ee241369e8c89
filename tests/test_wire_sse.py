"""Reading an event stream as it goes by: the same result however the bytes are cut."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.model import CacheCreation, Usage
from ferryman.wire.sse import MAX_EVENT_BYTES, MessageStream, data_of

BOM = b"\xef\xbb\xbf"
START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "model": "m",
        "usage": {
            "input_tokens": 9,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
            "service_tier": "standard",
            "speed": "fast",
            "inference_geo": "eu",
        },
    },
}
DELTA: dict[str, Any] = {
    "type": "message_delta",
    "usage": {"input_tokens": 8, "output_tokens": 5, "iterations": [{"type": "message"}]},
}
STOP = {"type": "message_stop"}


class Seen(NamedTuple):
    """What there is to see in a stream."""

    usage: dict[str, Any] | None
    final: bool
    stopped: bool


def reference(stream: bytes) -> Seen:
    """Reads a whole stream as the specification tells it, line by line."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    usage: dict[str, Any] | None = None
    final = stopped = False
    data: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value[1:] if value.startswith(b" ") else value)
            continue
        event, data = decoded(b"\n".join(data)), []
        found = None
        if event.get("type") == "message_start":
            found = event["message"]["usage"]
        elif event.get("type") == "message_delta":
            found, final = event["usage"], True
        if found is not None:
            usage = (usage or {}) | {name: value for name, value in found.items() if value is not None}
        stopped = stopped or event.get("type") == "message_stop"
    return Seen(usage, final, stopped)


def decoded(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def pieces(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """`stream` in pieces of `sizes`, over and over."""
    at = 0
    for size in itertools.cycle(sizes):
        yield stream[at : at + size]
        at += size
        if at >= len(stream):
            return


def seen(stream: bytes, sizes: list[int]) -> Seen:
    """What the stream reader sees, in pieces; its memory is looked at after each."""
    reader = MessageStream()
    for piece in pieces(stream, sizes):
        reader.feed(piece)
        assert len(reader._carry) <= MAX_EVENT_BYTES
    usage = None
    if reader.usage is not None:
        usage = {name: getattr(reader.usage, name) for name in USAGE_NAMES}
        usage = {name: value for name, value in usage.items() if value is not None}
    if reader.at_boundary:
        text = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert not text or text.endswith(b"\n\n")
    return Seen(usage, reader.usage_final, reader.stopped)


USAGE_NAMES = ("input_tokens", "output_tokens", "cache_read_input_tokens", "service_tier", "speed")
COUNTS = st.none() | st.integers(0, 2**40)
TEXTS = st.sampled_from(
    ["", "standard", '"usage"', "message_stop", "\n\n", "é😀", '{"type":"error"}', "\u2028"]
)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "service_tier": st.none() | TEXTS,
        "speed": st.none() | TEXTS,
    },
)
NOISE: list[dict[str, Any]] = [
    {"type": "ping"},
    {"type": "of_tomorrow", "usage": {"output_tokens": 999}},
    {"type": "content_block_start", "content_block": {"type": "tool_use", "input": {"usage": {"x": 1}}}},
    {"type": "content_block_start", "content_block": {"usage": {"output_tokens": 999}}},
    {"type": "content_block_delta", "delta": {"text": 'say "usage": {"output_tokens": 999}'}},
    {"type": "content_block_delta", "delta": {"partial_json": '{"type":"message_stop"} "error"'}},
    {"type": "content_block_delta", "delta": {"text": "message_stop"}, "x": "message_stop", "y": "error"},
]
EVENTS = st.one_of(
    USAGES.map(lambda usage: {"type": "message_start", "message": {"usage": usage}}),
    USAGES.map(lambda usage: {"type": "message_delta", "delta": {"stop_reason": "x"}, "usage": usage}),
    st.sampled_from(NOISE),
    TEXTS.map(lambda text: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}),
    st.just(STOP),
    st.just({"type": "error", "error": {"type": "overloaded_error", "message": '"usage"'}}),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream of events, comments and stray lines, its line ends mixed."""
    lines: list[bytes] = []
    for event in draw(st.lists(EVENTS, max_size=6)):
        lines += draw(st.lists(st.sampled_from([b"", b": comment", b":", b"id: 7", b"retry:5"]), max_size=2))
        lines += draw(st.sampled_from([[], [b"event: " + str(event["type"]).encode()]]))
        indent = draw(st.sampled_from([None, 1]))  # with one, the data is several lines
        text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=indent).encode()
        lines += [draw(st.sampled_from([b"data: ", b"data:"])) + part for part in text.split(b"\n")]
        lines += draw(st.sampled_from([[b""], [b"", b""], [b": tail", b""]]))
    lines += draw(st.sampled_from([[], [b"data"], [b'data: {"type":"message_stop"}']]))  # not ended
    ends = draw(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=4))
    ended = b"".join(line + end for line, end in zip(lines, itertools.cycle(ends), strict=False))
    return draw(st.sampled_from([b"", BOM])) + ended


SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=5)


@settings(max_examples=400)
@given(stream=streams(), sizes=SIZES)
def test_any_split_of_any_stream_is_read_as_the_whole_by_the_book(stream: bytes, sizes: list[int]) -> None:
    wanted = reference(stream)
    assert seen(stream, [len(stream) or 1]) == wanted
    assert seen(stream, sizes) == wanted
    assert seen(stream, [1]) == wanted


def stream_of(*events: object, end: bytes = b"\n") -> bytes:
    return b"".join(b"data: %b%b%b" % (json.dumps(event).encode(), end, end) for event in events)


@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_delta_replaces_counts_and_the_start_keeps_the_rest(size: int, end: bytes) -> None:
    stream = MessageStream()
    for piece in pieces(stream_of(START, {"type": "ping"}, DELTA, STOP, end=end), [size]):
        stream.feed(piece)
    usage = stream.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (8, 5)
    assert usage.cache_creation == CacheCreation(2, 3)
    assert (usage.service_tier, usage.speed, usage.inference_geo) == ("standard", "fast", "eu")
    assert [bytes(entry) for entry in usage.iterations or []] == [b'{"type": "message"}']
    assert (stream.usage_final, stream.stopped, stream.at_boundary) == (True, True, True)


@given(stream=streams(), sizes=SIZES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_stream_whose_last_event_is_an_error_has_failed(stream: bytes, sizes: list[int], end: bytes) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": '"message_stop"'}}
    whole = stream + end * 3 + stream_of(START, error, end=end)
    for last, failed in ((b"", True), (b"data: {", True), (stream_of({"type": "ping"}), False)):
        reader = MessageStream()
        for piece in pieces(whole + last, sizes):
            reader.feed(piece)
        assert reader.failed is failed


def test_several_deltas_are_cumulative_not_added() -> None:
    stream = MessageStream()
    for output_tokens in (5, 12, 40):
        stream.feed(stream_of({"type": "message_delta", "usage": {"output_tokens": output_tokens}}))
    assert stream.usage == Usage(output_tokens=40)


HUGE = {"type": "content_block_start", "content_block": {"x": "y" * MAX_EVENT_BYTES, "usage": {"x": 1}}}


@pytest.mark.parametrize("size", [65_536, 65_537, 99_991, 262_144, MAX_EVENT_BYTES, 1 << 30])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_huge_event_is_passed_over_and_what_follows_is_read(size: int, end: bytes) -> None:
    stream = stream_of(START, HUGE, DELTA, HUGE, HUGE, STOP, end=end)
    assert seen(stream, [size])[1:] == (True, True)
    assert seen(stream, [size]) == seen(stream_of(START, DELTA, STOP), [size])


@pytest.mark.parametrize("beyond", range(-3, 5))
def test_blank_line_cut_apart_where_the_cap_is_reached_still_ends_the_event(beyond: int) -> None:
    reader = MessageStream()
    huge = b": " + b"x" * (MAX_EVENT_BYTES + beyond - 3) + b"\n"
    reader.feed(huge)
    assert not reader.at_boundary
    reader.feed(b"\n" + stream_of(START, DELTA, STOP))
    assert reader.stopped
    assert reader.usage is not None
    assert reader.at_boundary


def test_event_without_end_is_not_held() -> None:
    reader = MessageStream()
    for _ in range(200):
        reader.feed(b"x" * 65_536)
        assert len(reader._carry) <= MAX_EVENT_BYTES
    assert not reader.at_boundary
    reader.feed(b"\n\n" + stream_of(STOP))
    assert reader.stopped


@given(
    parts=st.lists(st.binary(max_size=30) | st.sampled_from([b"\n\n", b"\r", b"data:", b'"usage"', b"{}"]))
)
def test_hostile_bytes_never_raise(parts: list[bytes]) -> None:
    reader = MessageStream()
    for part in parts:
        reader.feed(part)
    assert len(reader._carry) <= sum(map(len, parts))


@pytest.mark.parametrize("junk", [b"[" * 150_000 + b"]" * 150_000, b"1" * 10_000, b'"\\ud800"', b"\xff"])
@pytest.mark.parametrize("kind", [b"message_start", b"message_stop", b"error", b"of_tomorrow"])
def test_hostile_event_is_passed_over(junk: bytes, kind: bytes) -> None:
    reader = MessageStream()
    reader.feed(b'data: {"type":"%b","usage":%b,"x":%b}\n\n' % (kind, junk, junk))
    reader.feed(stream_of(DELTA))
    assert reader.usage is not None
    assert reader.usage.output_tokens == 5


def test_stop_and_error_that_carry_a_usage_are_still_stop_and_error() -> None:
    """Nothing says that these two will never bring a further field."""
    stopped, failed = MessageStream(), MessageStream()
    stopped.feed(stream_of({"type": "message_stop", "usage": {"output_tokens": 9}}))
    failed.feed(stream_of({"type": "error", "error": {"type": "api_error"}, "usage": None}))
    assert (stopped.stopped, stopped.usage) == (True, None)
    assert (failed.failed, failed.usage) == (True, None)


def test_empty_piece_between_cr_and_lf_changes_nothing() -> None:
    """A decoder hands on empty pieces."""
    reader = MessageStream()
    for piece in (b'data: {"type":"message_delta",\r', b"", b'\ndata: "usage":{"output_tokens":5}}\r\n\r\n'):
        reader.feed(piece)
    assert reader.usage == Usage(output_tokens=5)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a", b"a"),
        (b"data:a", b"a"),
        (b"data:  a", b" a"),
        (b"data", b""),
        (b"event: x\ndata: a\nid: 5\ndata: b", b"a\nb"),
        (BOM + b"data: a", b"a"),
        (b": data: a", b""),
        (b"datax: a", b""),
    ],
)
def test_data_of_an_event_is_its_data_lines(event: bytes, data: bytes) -> None:
    assert data_of(event) == data
