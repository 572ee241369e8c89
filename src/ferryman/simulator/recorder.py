"""Keeps what the simulator received and what became of each answer, so that tests can compare bytes.

Written to by the event loop, read by tests from another thread. Requests to `/simulator/*` are not
recorded; the connections that carry them are counted, since a client may use one for both.
"""

import base64
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

RawHeaders = tuple[tuple[bytes, bytes], ...]

MAX_REPEATS = 10_000  # digests that are counted for `times`; 32 bytes each
POLL_SECONDS = 0.005  # short beside a test, long beside a snapshot of everything


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request and its answer, as they stood when asked for.

    Attributes:
        number: Counts from 1; `clear` does not start it anew.
        method: As sent.
        target: The path and query, byte for byte.
        headers: In order, duplicates kept, names spelled as sent.
        body: As received, before any decoding; what passed the limit is missing.
        client: Host and port of the TCP connection.
        received_seconds: `time.monotonic()` at the end of the head.
        status: None when no head was sent.
        response_headers: As sent, by the lower-case name.
        response_body: As sent, without chunk framing; at most `recorded_response_bytes` of it.
        response_bytes: The length of all of it.
        events_sent: Whole SSE events; comments do not count.
        first_byte_seconds: `time.monotonic()` when the first bytes of the body were sent.
        finished: Whether the whole answer was handed to the transport. A client may have read all of it a
            moment before this is true: `Recorder.wait_ended` waits for that moment.
        client_disconnected: Whether the client went away before the answer was finished.
        ended_seconds: `time.monotonic()` at the end of either kind, or of a cut; None while it goes on.
    """

    number: int
    method: str
    target: bytes
    headers: RawHeaders
    client: tuple[str, int] | None
    received_seconds: float
    body: bytes = b""
    status: int | None = None
    response_headers: RawHeaders = ()
    response_body: bytes = b""
    response_bytes: int = 0
    events_sent: int = 0
    first_byte_seconds: float | None = None
    finished: bool = False
    client_disconnected: bool = False
    ended_seconds: float | None = None

    def header(self, name: str) -> str | None:
        """The first request header of this name, in any case."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """Every value of this request header, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """The request body, decoded."""
        return msgspec.json.decode(self.body)

    def as_json(self) -> dict[str, Any]:
        """For `GET /simulator/requests`: bodies in base64, other bytes as Latin-1."""
        return {
            "number": self.number,
            "method": self.method,
            "target": self.target.decode("latin-1"),
            "headers": _text_pairs(self.headers),
            "client": self.client,
            "received_seconds": self.received_seconds,
            "body_base64": base64.b64encode(self.body).decode(),
            "status": self.status,
            "response_headers": _text_pairs(self.response_headers),
            "response_body_base64": base64.b64encode(self.response_body).decode(),
            "response_bytes": self.response_bytes,
            "events_sent": self.events_sent,
            "first_byte_seconds": self.first_byte_seconds,
            "finished": self.finished,
            "client_disconnected": self.client_disconnected,
            "ended_seconds": self.ended_seconds,
        }


def _text_pairs(headers: RawHeaders) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


class Recording:
    """The recorder's hand on one request while it is being answered."""

    def __init__(self, recorder: "Recorder", facts: Recorded) -> None:
        self.is_kept = True  # until the recorder drops it
        self._recorder = recorder
        self._facts = facts
        self._response_body = bytearray()

    def __repr__(self) -> str:
        return f"Recording({self._facts})"

    @property
    def is_over(self) -> bool:
        """Whether nothing can change any more."""
        return self._facts.ended_seconds is not None

    @property
    def kept_bytes(self) -> int:
        """What it costs to keep."""
        return len(self._facts.body) + len(self._response_body) + len(self._facts.response_body)

    def snapshot(self) -> Recorded:
        """The facts as they stand."""
        return self._facts if self.is_over else replace(self._facts, response_body=bytes(self._response_body))

    def body_received(self, body: bytes) -> None:
        """The request is complete, or as complete as it will be."""
        with self._recorder.lock:
            self._facts = replace(self._facts, body=body)
            self._recorder.grow(self, len(body))

    def head_sent(self, status: int, headers: RawHeaders) -> None:
        """The response head is handed to the transport."""
        with self._recorder.lock:
            self._facts = replace(self._facts, status=status, response_headers=headers)

    def body_sent(self, data: bytes, events: int) -> None:
        """Bytes of the response body are handed to the transport."""
        room_bytes = self._recorder.response_limit_bytes - len(self._response_body)
        kept = data[: max(0, room_bytes)]
        facts = self._facts
        with self._recorder.lock:
            self._response_body += kept
            self._facts = replace(
                facts,
                response_bytes=facts.response_bytes + len(data),
                events_sent=facts.events_sent + events,
                first_byte_seconds=facts.first_byte_seconds or time.monotonic(),
            )
            self._recorder.grow(self, len(kept))

    def end(self, *, finished: bool = False, client_disconnected: bool = False) -> None:
        """The answer is over; only the first call counts."""
        if self.is_over:
            return
        with self._recorder.lock:
            self._facts = replace(
                self._facts,
                response_body=bytes(self._response_body),
                finished=finished,
                client_disconnected=client_disconnected,
                ended_seconds=time.monotonic(),
            )
            self._response_body.clear()


class Recorder:
    """The last requests, bounded in number and bytes, and a count of connections."""

    def __init__(self, requests: int, total_bytes: int, response_bytes: int) -> None:
        self.response_limit_bytes = response_bytes
        self.lock = threading.RLock()
        self._limit = requests
        self._limit_bytes = total_bytes
        self._recordings: deque[Recording] = deque()
        self._kept_bytes = 0
        self._repeats: OrderedDict[bytes, int] = OrderedDict()
        self._count = 0
        self._connections_open = 0
        self._connections_total = 0

    def __repr__(self) -> str:
        return (
            f"Recorder({len(self._recordings)} of {self._count} requests,"
            f" {self._connections_open} of {self._connections_total} connections open)"
        )

    @property
    def requests(self) -> list[Recorded]:
        """The requests that are kept, oldest first."""
        with self.lock:
            return [recording.snapshot() for recording in self._recordings]

    @property
    def last(self) -> Recorded:
        """The newest request.

        Raises:
            IndexError: When there is none.
        """
        with self.lock:
            return self._recordings[-1].snapshot()

    @property
    def connections_open(self) -> int:
        """TCP connections that are open now; 0 unless the app is run by `ferryman.simulator.server`."""
        return self._connections_open

    @property
    def connections_total(self) -> int:
        """TCP connections that were ever opened, under the same condition."""
        return self._connections_total

    def wait(
        self, condition: Callable[[Sequence[Recorded]], object], timeout_seconds: float = 5.0
    ) -> list[Recorded]:
        """Wait until the requests fulfil a condition, and return them. Blocks the calling thread.

        Raises:
            TimeoutError: When they don't in time; says what was recorded.
        """
        deadline = time.monotonic() + timeout_seconds
        while not condition(requests := self.requests):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_seconds} s: {self!r}")
            time.sleep(POLL_SECONDS)
        return requests

    def wait_ended(self, count: int = 1, timeout_seconds: float = 5.0) -> list[Recorded]:
        """Wait until so many requests have ended, in whatever way; return all."""
        return self.wait(
            lambda requests: sum(one.ended_seconds is not None for one in requests) >= count, timeout_seconds
        )

    def clear(self) -> None:
        """Forget requests and repetitions. Answers that are under way go on unseen."""
        with self.lock:
            while self._recordings:
                self._drop_oldest()
            self._repeats.clear()

    def begin(
        self, method: str, target: bytes, headers: RawHeaders, client: tuple[str, int] | None
    ) -> Recording:
        """Take up a request whose head has arrived."""
        with self.lock:
            self._count += 1
            facts = Recorded(self._count, method, target, headers, client, time.monotonic())
            recording = Recording(self, facts)
            self._recordings.append(recording)
            if len(self._recordings) > self._limit:
                self._drop_oldest()
        return recording

    def grow(self, recording: Recording, size_bytes: int) -> None:
        """Account for bytes that a recording keeps; the oldest others make room. Needs the lock."""
        if not recording.is_kept:
            return
        self._kept_bytes += size_bytes
        while self._kept_bytes > self._limit_bytes and self._recordings[0] is not recording:
            self._drop_oldest()

    def repeated(self, digest: bytes) -> int:
        """Count a request by its digest: 1 when it is seen for the first time."""
        with self.lock:
            count = self._repeats[digest] = self._repeats.pop(digest, 0) + 1
            if len(self._repeats) > MAX_REPEATS:
                self._repeats.popitem(last=False)
        return count

    def connection_opened(self) -> None:
        """A TCP connection was accepted."""
        with self.lock:
            self._connections_open += 1
            self._connections_total += 1

    def connection_closed(self) -> None:
        """A TCP connection is gone."""
        with self.lock:
            self._connections_open -= 1

    def _drop_oldest(self) -> None:
        dropped = self._recordings.popleft()
        dropped.is_kept = False
        self._kept_bytes -= dropped.kept_bytes
