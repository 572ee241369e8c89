"""Usage out of an answer's bytes, whatever their length, coding and pieces."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.http1.fields import NOT_PASSED_ON, FieldReader
from ferryman.http1.message import ResponseHead
from ferryman.model import Usage
from ferryman.relay.meter import (
    HELD_ANSWER_BYTES,
    LOOKED_INTO_BYTES,
    MAX_DECODED_BYTES,
    MAX_DECODED_PER_READ_BYTES,
    WATCHED,
    GzipMeter,
    JsonMeter,
    Meter,
    NoMeter,
    StreamMeter,
    meter_for,
)
from ferryman.relay.values import Reading

USAGE = {"input_tokens": 9, "output_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 2}}
SOUGHT = Usage(input_tokens=9, output_tokens=5)
STREAM = (
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\r\n\r\n'
    b'data: {"type":"message_delta",\r\ndata: "usage":{"output_tokens":5}}\r\n\r\n'
    b'data: {"type":"message_stop"}\r\n\r\n'
)
READER = FieldReader(NOT_PASSED_ON, WATCHED)


def head(*lines: bytes, status: int = 200) -> ResponseHead:
    return ResponseHead(status, READER.read(b"".join(b"\r\n" + line for line in lines)), None)


def fed(meter: Meter, pieces: Iterable[bytes]) -> Reading:
    for piece in pieces:
        meter.feed(piece)
    return meter.reading()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def answer(padding_bytes: int, *, usage_first: bool) -> bytes:
    content = [{"type": "text", "text": '"usage": {"output_tokens": 99} \\' + "x" * padding_bytes}]
    tool = {"type": "tool_use", "input": {"usage": {"output_tokens": 99}}}
    fields = {"content": [*content, tool], "usage": USAGE}
    return json.dumps(dict(reversed(fields.items())) if usage_first else fields).encode()


def told(reading: Reading) -> tuple[Usage | None, bool, str | None]:
    return reading.usage, reading.complete, reading.fault


@pytest.mark.parametrize(
    ("lines", "status", "kind"),
    [
        ([b"content-type: application/json"], 200, JsonMeter),
        ([b"Content-Type: Application/JSON; charset=utf-8"], 200, JsonMeter),
        ([b"content-type: application/json"], 429, NoMeter),
        ([b"content-type: text/event-stream; charset=utf-8"], 200, StreamMeter),
        ([b"content-type: text/html"], 200, NoMeter),
        ([], 200, NoMeter),
        ([b"content-type: application/json", b"content-encoding: GZIP"], 200, GzipMeter),
        ([b"content-type: text/event-stream", b"content-encoding: identity"], 200, StreamMeter),
    ],
)
def test_meter_is_chosen_by_the_head(lines: list[bytes], status: int, kind: type) -> None:
    assert type(meter_for(head(*lines, status=status))) is kind


@pytest.mark.parametrize("codings", [[b"br"], [b"gzip, br"], [b"gzip", b"gzip"]])
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
def test_answer_in_a_coding_that_cannot_be_read_is_not_called_complete(
    codings: list[bytes], kind: bytes
) -> None:
    """There is usage in it, and it is not known: that must not look like an answer without usage."""
    lines = [b"content-encoding: " + coding for coding in codings]
    meter = meter_for(head(b"content-type: " + kind, *lines))
    assert told(fed(meter, [b"\x0b\x05\x80"])) == (None, False, None)


@pytest.mark.parametrize("usage_first", [True, False])
@pytest.mark.parametrize("size", [1 << 30, 65_536, 1_021])
@pytest.mark.parametrize(
    "padding_bytes", [0, HELD_ANSWER_BYTES - 300, HELD_ANSWER_BYTES, 3 * HELD_ANSWER_BYTES]
)
def test_json_usage_is_found_below_and_above_what_is_held(
    padding_bytes: int, size: int, usage_first: bool
) -> None:
    reading = fed(JsonMeter(), cut(answer(padding_bytes, usage_first=usage_first), size))
    assert reading.complete
    assert reading.usage == usage_of_whole()


def usage_of_whole() -> Usage | None:
    return fed(JsonMeter(), [json.dumps({"usage": USAGE}).encode()]).usage


@pytest.mark.parametrize("padding_bytes", [10, 2 * HELD_ANSWER_BYTES])
def test_json_answer_that_breaks_off_is_not_complete(padding_bytes: int) -> None:
    data = answer(padding_bytes, usage_first=False)
    assert told(fed(JsonMeter(), cut(data[:-20], 65_536))) == (None, False, None)


def test_large_answer_is_not_held() -> None:
    meter = JsonMeter()
    for piece in cut(answer(8 * HELD_ANSWER_BYTES, usage_first=True), 65_536):
        meter.feed(piece)
        assert len(meter._held) <= HELD_ANSWER_BYTES


def test_answer_is_kept_up_to_a_bound_where_what_it_makes_is_to_be_told() -> None:
    heard: dict[str, str] = {}
    meter = JsonMeter(heard.update)
    piece_bytes = 65_536
    for piece in cut(answer(LOOKED_INTO_BYTES + 3 * piece_bytes, usage_first=True), piece_bytes):
        meter.feed(piece)
        assert len(meter._held) <= LOOKED_INTO_BYTES + piece_bytes
    assert meter._held == b""
    assert meter.reading().complete
    assert heard == {}


@given(size=st.integers(1, 300))
def test_stream_is_complete_with_its_last_event(size: int) -> None:
    meter = StreamMeter()
    reading = fed(meter, cut(STREAM, size))
    assert told(reading) == (SOUGHT, True, None)
    assert meter.over


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (STREAM[: STREAM.index(b'data: {"type":"message_stop')], "the stream has no message_stop"),
        (b'data: {"type":"error"}\n\n', "the stream brought an error event"),
        (b"", "the stream has no message_stop"),
    ],
)
def test_stream_without_its_last_event_has_a_fault(data: bytes, fault: str) -> None:
    reading = fed(StreamMeter(), [data])
    assert (reading.complete, reading.fault) == (False, fault)


def test_stream_that_stops_without_final_counts_is_not_complete() -> None:
    reading = fed(StreamMeter(), [b'data: {"type":"message_stop"}\n\n'])
    assert told(reading) == (None, False, None)


# ── gzip ──


def members(data: bytes, count: int) -> bytes:
    size = len(data) // count + 1
    return b"".join(gzip.compress(part) for part in cut(data, size))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=4).filter(any),
    count=st.integers(1, 4),
    padding=st.sampled_from([b"", b"\0" * 20]),
)
def test_gzip_in_any_pieces_and_members_gives_the_same_usage(
    sizes: list[int], count: int, padding: bytes
) -> None:
    data = members(STREAM, count) + padding
    pieces, at = [], 0
    while at < len(data):
        for size in sizes:
            pieces.append(data[at : at + size])
            at += size
    meter = GzipMeter(StreamMeter())
    assert told(fed(meter, pieces)) == (SOUGHT, True, None)
    assert meter.over
    assert not meter.at_boundary, "an event of ours cannot stand behind compressed bytes"


def flushed(data: bytes, at: int) -> bytes:
    """Compressed as a server does that flushes each event."""
    compressor = zlib.compressobj(wbits=31)
    first = compressor.compress(data[:at]) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return first + compressor.compress(data[at:]) + compressor.flush()


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_compressed_stream_flushed_anywhere_gives_the_same_usage_byte_by_byte(at: int) -> None:
    reading = fed(GzipMeter(StreamMeter()), cut(flushed(STREAM, at), 1))
    assert told(reading) == (SOUGHT, True, None)


@pytest.mark.parametrize("size", [1, 1000])
def test_broken_member_behind_a_whole_one_is_no_padding(size: int) -> None:
    """However it is cut: zlib keeps back what it decoded in the read in which it fails."""
    broken = gzip.compress(STREAM)[:-8] + bytes(8)  # another checksum and length
    meter = GzipMeter(StreamMeter())
    assert not fed(meter, cut(gzip.compress(STREAM) + broken, size)).complete


@pytest.mark.parametrize("missing", [12, 60])
def test_truncated_gzip_is_not_complete(missing: int) -> None:
    assert not fed(GzipMeter(StreamMeter()), [gzip.compress(STREAM)[:-missing]]).complete
    body = gzip.compress(json.dumps({"usage": USAGE}).encode())
    assert told(fed(GzipMeter(JsonMeter()), [body[:-missing]])) == (None, False, None)


@given(data=st.binary(min_size=20))
def test_garbage_for_gzip_is_not_complete_and_never_raises(data: bytes) -> None:
    assert not fed(GzipMeter(JsonMeter()), cut(data, 7)).complete
    broken = gzip.compress(STREAM)[:30] + data
    assert not fed(GzipMeter(StreamMeter()), cut(broken, 7)).complete


class Counting:
    """Counts what it is given."""

    over = at_boundary = failed = holds = False

    def __init__(self) -> None:
        self.total_bytes = 0
        self.largest_bytes = 0

    def feed(self, data: bytes) -> None:
        self.total_bytes += len(data)
        self.largest_bytes = max(self.largest_bytes, len(data))

    def reading(self) -> Reading:
        return NoMeter().reading()


def test_one_read_cannot_keep_the_loop_for_long() -> None:
    counting = Counting()
    meter = GzipMeter(counting)
    meter.feed(gzip.compress(bytes(MAX_DECODED_PER_READ_BYTES * 2)))
    assert counting.total_bytes <= MAX_DECODED_PER_READ_BYTES
    assert not meter.reading().complete


@pytest.mark.parametrize("count", [1, 40])
def test_bomb_stops_at_the_cap_and_comes_in_small_pieces(count: int) -> None:
    bomb = gzip.compress(bytes(MAX_DECODED_BYTES // count + 100_000), 1) * count
    counting = Counting()
    meter = GzipMeter(counting)
    for piece in cut(bomb, 4_096):
        meter.feed(piece)
    assert MAX_DECODED_BYTES - 65_536 <= counting.total_bytes <= MAX_DECODED_BYTES
    assert counting.largest_bytes <= 65_536
    assert not meter.reading().complete
    meter.feed(gzip.compress(STREAM))
    assert counting.total_bytes <= MAX_DECODED_BYTES
