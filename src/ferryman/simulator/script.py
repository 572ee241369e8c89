"""What will be sent to a client, and when: status, headers and a list of steps. Pure.

`delivery` performs it. Faults are steps like any other, so that they can be tested without a socket.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from ferryman.simulator.control import Control
from ferryman.simulator.errors import ApiError
from ferryman.simulator.events import Event

LINES_BYTES = 16 * 1024  # of JSON lines are sent at once, which takes some ten milliseconds to make
_GZIP_WINDOW_BITS = 31  # zlib's way of asking for a gzip header, which it writes without a time


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Send bytes of the body, which hold so many whole events."""

    data: bytes
    events: int = 0


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection in the middle, with a TCP reset or by an early end. The last step."""

    reset: bool


Step = Wait | Chunk | HangUp


@dataclass(frozen=True, slots=True)
class Script:
    """One response.

    Attributes:
        status: None when the connection is closed instead of an answer; `steps` then says how.
        headers: In order; without content-length the body is sent in chunks.
        steps: Read once, one after the other.
        slow_start_seconds: The wait before the head.
    """

    status: int | None
    headers: Mapping[str, str]
    steps: Iterable[Step]
    slow_start_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the scripts of one request have in common.

    Attributes:
        headers: Those that every answer carries.
        control: What the request asked for.
        accepts_gzip: Whether `accept-encoding` allows it.
    """

    headers: Mapping[str, str]
    control: Control = field(default_factory=Control)
    accepts_gzip: bool = False

    @property
    def compresses(self) -> bool:
        """Whether the body is to be compressed."""
        return self.control.gzip and self.accepts_gzip


def json_script(envelope: Envelope, value: object, status: int = 200) -> Script:
    """An answer in JSON."""
    return body_script(envelope, msgspec.json.encode(value), "application/json", status)


def error_script(envelope: Envelope, error: ApiError, request_id: str) -> Script:
    """An error in Anthropic's shape."""
    script = json_script(envelope, error.body(request_id), error.status)
    return Script(script.status, {**script.headers, **error.headers}, script.steps, script.slow_start_seconds)


def body_script(envelope: Envelope, body: bytes, content_type: str, status: int = 200) -> Script:
    """An answer of a known length."""
    if envelope.compresses:
        body = b"".join(_gzip([body]))
    headers = _headers(envelope, content_type) | {"content-length": str(len(body))}
    return _script(envelope.control, status, headers, _body_steps(body, envelope.control))


def stream_script(envelope: Envelope, events: Iterable[Event], failure: ApiError, request_id: str) -> Script:
    """An answer in server-sent events; `failure` is what `error-event` sends."""
    line_end = "\r\n" if envelope.control.crlf else "\n"
    last = Event(failure.body(request_id))
    steps = _event_steps(events, last, envelope.control, line_end)
    headers = _headers(envelope, "text/event-stream; charset=utf-8") | {"cache-control": "no-cache"}
    return _script(envelope.control, 200, headers, _gzip_steps(steps) if envelope.compresses else steps)


def lines_script(envelope: Envelope, lines: Iterable[bytes]) -> Script:
    """An answer in JSON lines, which are made as they are sent; `cut` counts lines."""
    steps = _line_steps(lines, envelope.control)
    headers = _headers(envelope, "application/x-jsonl")
    return _script(envelope.control, 200, headers, _gzip_steps(steps) if envelope.compresses else steps)


def _script(control: Control, status: int, headers: Mapping[str, str], steps: Iterable[Step]) -> Script:
    if control.drop:
        return Script(None, {}, [HangUp(control.reset)], control.slow_start_seconds)
    return Script(status, headers, steps, control.slow_start_seconds)


def _headers(envelope: Envelope, content_type: str) -> dict[str, str]:
    control = envelope.control
    headers = {"content-type": content_type, **envelope.headers}
    if envelope.compresses:
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    if control.retry_after is not None:
        headers["retry-after"] = control.retry_after
    if control.should_retry is not None:
        headers["x-should-retry"] = str(control.should_retry).lower()
    return headers


def _body_steps(body: bytes, control: Control) -> Iterator[Step]:
    size = len(body) if control.cut is None else min(control.cut, len(body))
    middle = len(body) // 2 if control.stall_seconds else size
    yield Chunk(body[: min(middle, size)])
    if middle < size:
        yield Wait(control.stall_seconds)
        yield Chunk(body[middle:size])
    if size < len(body):
        yield HangUp(control.reset)


def _line_steps(lines: Iterable[bytes], control: Control) -> Iterator[Step]:
    waiting = bytearray()
    stall_seconds = control.stall_seconds
    for count, line in enumerate(lines):
        if control.cut == count:
            yield Chunk(bytes(waiting))
            yield HangUp(control.reset)
            return
        waiting += line
        if len(waiting) < LINES_BYTES and not control.pace_seconds and not stall_seconds:
            continue
        yield Chunk(bytes(waiting))
        waiting.clear()
        if wait_seconds := stall_seconds or control.pace_seconds:
            yield Wait(wait_seconds)
        stall_seconds = 0.0
    yield Chunk(bytes(waiting))


def _event_steps(events: Iterable[Event], last: Event, control: Control, line_end: str) -> Iterator[Step]:
    count = 0
    has_stalled = not control.stall_seconds
    for event in events:
        if control.cut == count:
            yield HangUp(control.reset)
            return
        if control.error_event == count:
            yield Chunk(last.encode(line_end), events=1)
            return
        if control.pace_seconds and count and event.data:
            yield Wait(control.pace_seconds)
        yield Chunk(event.encode(line_end), events=1 if event.data else 0)
        count += bool(event.data)  # a comment is no event
        if event.is_delta and not has_stalled:
            has_stalled = True
            yield Wait(control.stall_seconds)


def _gzip_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """Compress each event so that it can be read as soon as it arrives."""
    compressor = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    for step in steps:
        if isinstance(step, Chunk):
            data = compressor.compress(step.data) + compressor.flush(zlib.Z_SYNC_FLUSH)
            yield Chunk(data, step.events)
        else:
            yield step
            if isinstance(step, HangUp):
                return
    yield Chunk(compressor.flush())


def _gzip(parts: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    yield from (compressor.compress(part) for part in parts)
    yield compressor.flush()
