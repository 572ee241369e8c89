"""Bytes of an answer, through the meters: which usage is in it, and when it is over.

What must hold of every input:

- nothing is raised, and what is carried from read to read stays within its bound;
- what is read is the same however the bytes are cut;
- it is what a plain reference reads, which holds all of the answer: the event-stream format line by
  line, `json` for an object, zlib in one go.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import NamedTuple

from ferryman.model import Usage
from ferryman.relay.meter import HELD_ANSWER_BYTES, GzipMeter, JsonMeter, Meter, StreamMeter
from ferryman.wire.scan import MAX_VALUE_BYTES, TopLevelObject
from ferryman.wire.sse import MAX_EVENT_BYTES
from ferryman.wire.usage import answer_of, report_of_event, type_of_event
from proofs.targets.edge import cut, parted

STREAM, ANSWER, OBJECT, GZIP_STREAM, PACKED_STREAM, PACKED_ANSWER = range(6)
"""What an input is, by its mode (without `LARGE`) modulo 6; `PACKED_` ones are compressed here, or no
fuzzer gets in."""

LARGE = 128
"""Bit of the mode: each filler stands for many bytes, so that small inputs reach the bounds of what is
held. Only then, for that takes a hundred times as long."""

FILLER, FILLER_BYTES, MAX_FILLERS = b"~~", 400_000, 4

READ_BYTES = 65_536
MAX_SINGLE_BYTES = 1_000
BOM = b"\xef\xbb\xbf"


class Seen(NamedTuple):
    """What a meter has seen."""

    usage: Usage | None
    complete: bool
    over: bool
    lost: bool


class NotComparable(Exception):
    """The reference has no say: the format leaves it open, or a bound comes into it."""


def meter_of(kind: int) -> Meter:
    """The meter for an input of this kind."""
    meter: Meter = JsonMeter() if kind in {ANSWER, PACKED_ANSWER} else StreamMeter()
    return meter if kind in {STREAM, ANSWER} else GzipMeter(meter)


def carried_bytes(meter: Meter) -> int:
    """What `meter` keeps from read to read."""
    if isinstance(meter, GzipMeter):
        return carried_bytes(meter._inner)
    if isinstance(meter, StreamMeter):
        return len(meter._stream._carry)
    assert isinstance(meter, JsonMeter)
    scan = meter._scan
    return len(meter._held) + (0 if scan is None else len(scan._capture or b""))


def read(kind: int, body: bytes, sizes: list[int]) -> Seen:
    """What the meter of this kind sees in `body`, in pieces of `sizes`."""
    meter = meter_of(kind)
    for piece in cut(body, sizes):
        meter.feed(piece)
        assert carried_bytes(meter) <= max(MAX_EVENT_BYTES, HELD_ANSWER_BYTES)
    reading = meter.reading()
    lost = isinstance(meter, GzipMeter) and meter._lost
    return Seen(reading.usage, reading.complete, meter.over, lost)


def check(data: bytes) -> None:
    """Raise if anything that must hold of the input `data` does not."""
    mode, sizes, body = parted(data)
    kind = (mode & ~LARGE) % 6
    if mode & LARGE:
        body = body.replace(FILLER, b"x" * FILLER_BYTES, MAX_FILLERS)
    wanted = [size if len(body) <= MAX_SINGLE_BYTES else size * 256 or READ_BYTES for size in sizes]
    splits = [[READ_BYTES], [1]] if len(body) <= MAX_SINGLE_BYTES else [[READ_BYTES]]
    if kind == OBJECT:
        _check_object(body, [wanted, *splits])
        return
    plain = body
    if kind in {PACKED_STREAM, PACKED_ANSWER}:
        body = gzip.compress(body, 1, mtime=0)
    elif kind == GZIP_STREAM:
        plain = unpacked(body) or b""
    seen = read(kind, body, wanted)
    for other in splits:
        again = read(kind, body, other)
        assert (seen.lost, seen.complete) == (again.lost, again.complete), f"in pieces of {other}"
        if not (seen.lost or _has_long_event(plain)):
            assert seen == again, f"it sees something else in pieces of {other}"
    if not seen.lost:
        _compare(kind, plain, seen)


def unpacked(body: bytes) -> bytes | None:
    """All that `body` decodes to; `None` if it is not gzip. What follows whole members is padding."""
    found, members = b"", 0
    while body:
        decoder = zlib.decompressobj(wbits=31)
        try:
            found += decoder.decompress(body)
        except zlib.error:
            return found if members else None
        body, members = decoder.unused_data, members + 1
    return found


# ── event streams and answers ──


def _compare(kind: int, plain: bytes, seen: Seen) -> None:
    try:
        if kind in {ANSWER, PACKED_ANSWER}:
            if len(plain) <= HELD_ANSWER_BYTES:
                assert seen.usage == answer_of(plain).usage
                usage = counts_of(object_of(plain).get("usage"))
            else:
                usage = counts_of(object_of(plain).get("usage"))
                if len(json.dumps(object_of(plain).get("usage"))) > MAX_VALUE_BYTES // 2:
                    return
            assert counts(seen.usage) == usage
        else:
            assert (seen.usage, seen.complete, seen.over) == stream_reference(plain)
    except NotComparable:
        return


def events_of(stream: bytes) -> list[bytes]:
    """The data of each event of `stream`, as the format tells to read it, line by line."""
    text = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[bytes] = []
    data: list[bytes] = []
    first = True
    for line in text.split(b"\n")[:-1]:
        # A byte-order mark is taken before every event: the meter keeps no count of them.
        name, _, value = (line.removeprefix(BOM) if first else line).partition(b":")
        first = not line
        if not line:
            found.append(b"\n".join(data))
            data = []
        elif name == b"data":
            data.append(value[1:] if value.startswith(b" ") else value)
    return found


def _has_long_event(stream: bytes) -> bool:
    text = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return any(len(event) >= MAX_EVENT_BYTES - READ_BYTES for event in text.split(b"\n\n"))


def stream_reference(stream: bytes) -> tuple[Usage | None, bool, bool]:
    """Usage, whether it is final, and whether the message is over."""
    if _has_long_event(stream):
        raise NotComparable
    usage: Usage | None = None
    final = stopped = False
    for data in events_of(stream):
        if b'"message_' not in data:
            continue  # its type may be spelled with escapes, which nobody does
        if type_of_event(data) == "message_stop":
            stopped = True
        elif (found := report_of_event(data)) is not None:
            usage = found[1] if usage is None else usage.updated(found[1])
            final = final or found[0] == "message_delta"
    return usage, stopped and final, stopped


# ── one member of an object ──


def _check_object(body: bytes, splits: list[list[int]]) -> None:
    values = []
    for sizes in splits:
        scan = TopLevelObject(b"usage")
        for piece in cut(body, sizes):
            scan.feed(piece)
            assert len(scan._capture or b"") <= MAX_VALUE_BYTES
            assert len(scan._string) <= 256
        values.append(scan.value)
    try:
        wanted = object_of(body).get("usage")
    except NotComparable:
        wanted = None
        if len(body) <= MAX_VALUE_BYTES:
            assert len(set(values)) == 1, "it finds something else in other pieces"
        return
    if len(body) > MAX_VALUE_BYTES and len(json.dumps(wanted)) > MAX_VALUE_BYTES // 2:
        return
    for value in values:
        if isinstance(wanted, dict):
            assert value is not None
            assert json.loads(value) == wanted
        else:
            assert value is None


def object_of(body: bytes) -> dict[str, object]:
    """The object that `body` is, by another decoder.

    Raises:
        NotComparable: it is none, or decoders may differ over it: keys twice or escaped, numbers
            beyond JSON's or 64 bits.
    """

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise NotComparable
        return dict(pairs)

    def number(text: str) -> int:
        if len(text) > 18:
            raise NotComparable
        return int(text)

    def constant(_: str) -> object:
        raise NotComparable

    try:
        value = json.loads(
            body.decode(), object_pairs_hook=members, parse_int=number, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise NotComparable from error
    if not isinstance(value, dict) or b"\\" in body or body.startswith(BOM):
        raise NotComparable
    return value


def counts_of(usage: object) -> tuple[int | None, int | None]:
    """Tokens in and out of a decoded `usage`."""
    fields = usage if isinstance(usage, dict) else {}
    tokens = (fields.get("input_tokens"), fields.get("output_tokens"))
    first, second = (value if type(value) is int else None for value in tokens)
    return first, second


def counts(usage: Usage | None) -> tuple[int | None, int | None]:
    """Tokens in and out of a `Usage`."""
    return (None, None) if usage is None else (usage.input_tokens, usage.output_tokens)
