"""Usage out of the bytes going by. Reads, never rewrites; memory does not grow with the answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from ferryman.http1.client import Body
from ferryman.http1.message import ResponseHead
from ferryman.model import Usage
from ferryman.relay.values import Reading, Uncounted, joined
from ferryman.wire.names import CODING
from ferryman.wire.refusal import REFUSAL, declined_in, refusal_in
from ferryman.wire.scan import TopLevelObject
from ferryman.wire.shown import made_in_events, made_in_message
from ferryman.wire.sse import MessageStream
from ferryman.wire.usage import answer_of, usage_of_object

HELD_ANSWER_BYTES: Final = 1 << 20
"""A JSON answer up to this size is held and decoded whole; a longer one is scanned as it goes by."""

LOOKED_INTO_BYTES = 1 << 23
"""Up to this size an answer is kept while it goes by, to see what it has made: 128,000 tokens and the output
of some tools. So much memory for each such answer; those of more than `HELD_ANSWER_BYTES` are few."""

MAX_DECODED_BYTES = 1 << 28
"""A compressed answer is read this far. More than any Messages answer holds: a bomb stops here."""

_DECODED_PIECE_BYTES = 65_536

MAX_DECODED_PER_READ_BYTES = 1 << 24
"""What one read may decode to: 64 times the largest read (256 KiB), more than answers compress. It bounds
how long a small crafted read can keep the event loop."""

_GZIP_MAGIC = b"\x1f\x8b"

_TYPE: Final = b"content-type"

WATCHED = frozenset({_TYPE, CODING})

_KINDS: Final = frozenset({b"application/json", b"text/event-stream"})


class Meter(Protocol):
    """Looks at an answer."""

    @property
    def over(self) -> bool:
        """The answer's own end has been seen, which may be before the end of its bytes."""

    @property
    def at_boundary(self) -> bool:
        """An event may be put behind the bytes so far."""

    @property
    def failed(self) -> bool:
        """The answer's last event is an error."""

    @property
    def holds(self) -> bool:
        """Only the whole answer tells its usage, and it is short enough to be waited for."""

    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the body."""

    def reading(self) -> Reading:
        """What has been seen so far."""


OnMade = Callable[[Mapping[str, str]], None]


def meter_for(
    head: ResponseHead,
    on_start: Callable[[Usage], None] = lambda _: None,
    on_made: OnMade | None = None,
) -> Meter:
    """The meter for an answer to a Messages request with this head.

    Args:
        head: of the answer.
        on_start: hears what the first event of a stream tells of the input.
        on_made: hears what was made, by id, and the kind of each; `None` if nobody wants to know. Of an
            answer that is no stream and longer than `LOOKED_INTO_BYTES` it hears nothing.
    """
    found = head.fields.found
    kind = found.get(_TYPE, b"")
    if kind not in _KINDS:
        kind = kind.partition(b";")[0].strip().lower()
    if kind == b"text/event-stream":
        meter: Meter = StreamMeter(on_start, on_made)
    elif kind == b"application/json" and head.status == 200:
        meter = JsonMeter(on_made)
    else:
        return NoMeter(complete=head.status != 200)
    coding = b",".join(head.fields.values(CODING)).lower() if CODING in found else b""
    if coding in {b"", b"identity"}:
        return meter
    return GzipMeter(meter) if coding == b"gzip" else NoMeter(complete=False)


class NoMeter:
    """Sees nothing: for answers without usage, those that have not begun, and those we cannot read."""

    __slots__ = ("_complete",)
    over = False
    at_boundary = False
    failed = False
    holds = False

    def __init__(self, *, complete: bool = True) -> None:
        """`complete` tells whether there is no usage to come."""
        self._complete = complete

    def feed(self, data: bytes) -> None:
        """Nothing to see."""

    def reading(self) -> Reading:
        """No usage."""
        return Reading(None, complete=self._complete, fault=None)


NO_METER: Final = NoMeter()
NOT_BEGUN: Final = NoMeter(complete=False)


class JsonMeter:
    """For a whole answer."""

    __slots__ = ("_held", "_on_made", "_scan")
    over = False
    at_boundary = False
    failed = False

    def __init__(self, on_made: OnMade | None = None) -> None:
        """`on_made` as for `meter_for`."""
        self._on_made = on_made
        self._held: Body = b""
        self._scan: TopLevelObject | None = None

    @property
    def holds(self) -> bool:
        """Until it is scanned."""
        return self._scan is None

    def feed(self, data: bytes) -> None:
        """Hold the answer, or scan it once it is too large to be held."""
        if self._scan is not None:
            self._scan.feed(data)
            if self._held:
                self._held = joined(self._held, data) if len(self._held) <= LOOKED_INTO_BYTES else b""
            return
        self._held = joined(self._held, data)
        if len(self._held) > HELD_ANSWER_BYTES:
            self._scan = TopLevelObject(b"usage")
            self._scan.feed(bytes(self._held))
            if self._on_made is None:
                self._held = b""

    def reading(self) -> Reading:
        """The top-level `usage`, and what else decides its price if all of the answer is held."""
        body = self._held
        if self._on_made is not None:
            _tell(self._on_made, made_in_message(bytes(body)))
        if self._scan is not None:
            self._held = b""
            usage = None if self._scan.value is None else usage_of_object(self._scan.value)
            return Reading(usage, complete=usage is not None, fault=None)
        answer = answer_of(body)
        usage = answer.usage
        if usage is None:
            return Reading(None, complete=False, fault=None)
        refusal = refusal_in(body) if answer.stop_reason == REFUSAL else None
        declined = declined_in(body) if usage.iterations else {}
        return Reading(
            usage, complete=True, fault=None, model=answer.model, refusal=refusal, declined=declined
        )


class StreamMeter:
    """For an event stream."""

    __slots__ = ("_stream",)
    holds = False

    def __init__(
        self, on_start: Callable[[Usage], None] = lambda _: None, on_made: OnMade | None = None
    ) -> None:
        """Both as for `meter_for`."""
        self._stream = MessageStream(on_start, None if on_made is None else partial(_look, on_made))

    @property
    def over(self) -> bool:
        """`message_stop` has gone by."""
        return self._stream.stopped

    @property
    def at_boundary(self) -> bool:
        """The bytes so far end with a whole event."""
        return self._stream.at_boundary

    @property
    def failed(self) -> bool:
        """The last event is an error."""
        return not self._stream.stopped and self._stream.failed

    def feed(self, data: bytes) -> None:
        """Look at the next events."""
        self._stream.feed(data)

    def reading(self) -> Reading:
        """What was reported; complete once `message_stop` came behind the final counts."""
        stream = self._stream
        fault = None
        if not stream.stopped:
            fault = "the stream brought an error event" if self.failed else "the stream has no message_stop"
        counted = stream.usage_final or stream.usage is None
        return Reading(
            stream.usage,
            complete=stream.stopped and stream.usage_final,
            fault=fault,
            model=stream.model,
            refusal=stream.refusal,
            declined=stream.declined,
            uncounted=None if counted else Uncounted(stream.delta_bytes, stream.delta_events),
        )


def _look(on_made: OnMade, events: bytes) -> None:
    _tell(on_made, made_in_events(events))


def _tell(on_made: OnMade, made: Mapping[str, str]) -> None:
    if made:
        on_made(made)


class GzipMeter:
    """Decodes for another meter; the client gets the compressed bytes."""

    __slots__ = (
        "_begun", "_decoded_bytes", "_decoder", "_fed_bytes", "_inner", "_lost", "_members", "_padded",
    )  # fmt: skip
    at_boundary = False

    def __init__(self, inner: Meter) -> None:
        self._inner = inner
        self._decoder = zlib.decompressobj(wbits=31)  # gzip with its header
        self._decoded_bytes = 0
        self._fed_bytes = 0
        self._begun = b""  # the first two bytes of the member at hand
        self._members = 0  # that came whole
        self._lost = False
        self._padded = False

    @property
    def over(self) -> bool:
        """As the inner meter says."""
        return self._inner.over

    @property
    def failed(self) -> bool:
        """As the inner meter says."""
        return self._inner.failed

    @property
    def holds(self) -> bool:
        """As the inner meter says, which does not hear of bytes that decode to nothing."""
        return self._inner.holds and not self._lost and self._fed_bytes <= HELD_ANSWER_BYTES

    def feed(self, data: bytes) -> None:
        """Decode piece by piece, so that a small input cannot become a large one at once."""
        self._fed_bytes += len(data)
        bound = min(self._decoded_bytes + MAX_DECODED_PER_READ_BYTES, MAX_DECODED_BYTES)
        while data and not self._lost and not self._padded:
            self._begun = (self._begun + data[:2])[:2]
            try:
                piece = self._decoder.decompress(data, _DECODED_PIECE_BYTES)
            except zlib.error:
                # What is no member at all is padding, which is harmless.
                self._padded = bool(self._members) and self._begun != _GZIP_MAGIC
                self._lost = not self._padded
                return
            self._decoded_bytes += len(piece)
            if self._decoded_bytes > bound:
                self._lost = True
                return
            self._inner.feed(piece)
            data = self._decoder.unconsumed_tail
            if self._decoder.eof:
                data = self._decoder.unused_data  # gzip members may follow one another
                self._decoder = zlib.decompressobj(wbits=31)
                self._members += 1
                self._begun = b""

    def reading(self) -> Reading:
        """The inner meter's, complete only if all could be decoded."""
        reading = self._inner.reading()
        if self._lost:
            reading.complete, reading.fault = False, None
        return reading
