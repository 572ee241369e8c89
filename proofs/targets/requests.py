"""Bytes of a client, through `ServerConnection`: what is a request, where it ends, what is refused.

What must hold of every input:

- nothing is raised, and no refusal says that we have failed;
- the requests are the same however the bytes are cut;
- h11, which shares no code with llhttp, reads the same requests out of them, and what h11 refuses is
  refused;
- no more of a head is held than it may have; every exchange ends once; each has one answer;
- nothing is handled after a refusal.
"""

from __future__ import annotations

from typing import NamedTuple

import h11

from ferryman.errors import RelayError
from ferryman.http1.connection import ServerConnection
from ferryman.http1.fields import FieldReader
from ferryman.http1.message import Request
from ferryman.http1.request import DROPPED
from ferryman.http1.server import Server, ServerLimits
from proofs.targets.edge import Transport, Turns, cut, parted

HEAD_BYTES = 512
"""Small, so that a fuzzer gets beyond it."""

MAX_SINGLE_BYTES = 1_000
"""Longer inputs are not fed byte by byte: that takes too long."""

AT_END, NEXT_TURN, AT_HEAD, HELD_BACK = range(4)
"""When a request is answered: at its end, a turn later, before its body; or its body has to wait."""

LAZY = 4
"""Bit of the mode: the event loop is late, so that bytes come before their turn."""

ONE_MORE = b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n"
READER = FieldReader(DROPPED, frozenset({b"accept-encoding"}))
LIMITS = ServerLimits(
    connections=1,
    connections_per_address=1,
    head_bytes=HEAD_BYTES,
    idle_seconds=1e9,
    read_seconds=1e9,
    stall_seconds=1e9,
)


class Seen(NamedTuple):
    """A request as it was handled."""

    method: bytes
    target: bytes
    fields: bytes
    body: bytes
    complete: bool


class Reading(NamedTuple):
    """What was made of a client's bytes."""

    requests: list[Seen]
    refused: bool
    kept: bool
    """HTTP/1.0 was kept alive, which h11 does not do."""


class Recorder:
    """Handles one request: keeps it, and answers in its time."""

    def __init__(self, play: Play, client: ServerConnection, request: Request) -> None:
        self.play = play
        self.client = client
        self.request = request
        self.body = bytearray()
        self.endings = 0

    def begin(self) -> None:
        """The head has come."""
        assert not self.play.refusals, "a request was handled after a refusal"
        assert len(self.request.fields.block) <= HEAD_BYTES
        if self.play.when == AT_HEAD:
            self.answer()
        elif self.play.when == HELD_BACK:
            self.client.hold_back()
            self.play.turns.call_soon(self.client.let_come)

    def on_body(self, data: bytes) -> None:
        """A part of the body has come."""
        assert data
        self.body += data

    def on_request_end(self) -> None:
        """It has come whole."""
        if self.play.when == NEXT_TURN:
            self.play.turns.call_soon(self.answer)
        else:
            self.answer()

    def on_request_error(self, error: RelayError) -> None:
        """The rest cannot be read."""
        self.play.refuse(error)
        self.answer(error.status)

    def on_client_gone(self) -> None:
        """The client has left."""
        self.endings += 1

    def on_client_blocked(self) -> None:
        """Does not happen here."""

    on_client_ready = on_client_blocked

    def answer(self, status: int = 200) -> None:
        """End the exchange."""
        if self.endings:
            return  # the client left before our turn
        self.endings += 1
        self.play.answers += 1
        length = None if self.play.answers % 2 else 2
        self.client.start_response(status, b"\r\nx: y", length)
        self.client.write(b"" if self.request.method == b"HEAD" else b"{}", end=True)


class Play:
    """One client connection, from its first byte to its end."""

    def __init__(self, mode: int) -> None:
        self.when = mode & 3
        self.lazy = bool(mode & LAZY)
        self.turns = Turns()
        self.handlers: list[Recorder] = []
        self.refusals: list[RelayError] = []
        self.answers = 0
        self.server = Server(self._handle, self._render, monotonic=lambda: 0.0, limits=LIMITS, reader=READER)

    def _handle(self, client: ServerConnection, request: Request) -> Recorder:
        self.handlers.append(Recorder(self, client, request))
        return self.handlers[-1]

    def _render(self, error: RelayError) -> tuple[bytes, bytes]:
        self.refuse(error)
        self.answers += 1
        return b"\r\nx: y", b"{}"

    def refuse(self, error: RelayError) -> None:
        """Note a refusal."""
        assert 400 <= error.status < 600
        assert error.status != 500, "we failed at it"
        assert not self.refusals, "a second refusal"
        self.refusals.append(error)

    def run(self, stream: bytes, sizes: list[int]) -> Reading:
        """Feed `stream` in pieces of `sizes`; what was made of it."""
        with self.turns.running():
            connection = ServerConnection(self.server)
            transport = Transport(self.turns, connection)
            for piece in cut(stream, sizes):
                if not self.lazy or not transport.reading:
                    self.turns.run()
                transport.bring(piece)
                assert len(connection._parser.unread) <= HEAD_BYTES
            self.turns.run()
            if self.refusals and not transport.closing:
                transport.bring(ONE_MORE)
                self.turns.run()
            requests = [self._seen(handler) for handler in self.handlers]
            transport.end(None)
            self.turns.run()
        assert transport.lost
        assert not self.server.connections
        assert all(handler.endings == 1 for handler in self.handlers)
        assert transport.written.count(b"HTTP/1.1 ") == self.answers
        return Reading(requests, bool(self.refusals), any(h.request.http10 for h in self.handlers[:-1]))

    def _seen(self, handler: Recorder) -> Seen:
        request = handler.request
        return Seen(
            request.method, request.target, request.fields.kept, bytes(handler.body), request.complete
        )


def check(data: bytes) -> None:
    """Raise if anything that must hold of the input `data` does not."""
    mode, sizes, stream = parted(data)
    reading = Play(mode).run(stream, sizes)
    splits = [[0], [1]] if len(stream) <= MAX_SINGLE_BYTES else [[0]]
    for other in splits:
        assert Play(mode).run(stream, other) == reading, f"it is another one in pieces of {other}"
    if mode & 3 != AT_HEAD:
        _compare(reading, reference(stream))


def _compare(ours: Reading, theirs: Reading) -> None:
    mine = [(seen.method, seen.target, seen.body) for seen in ours.requests if seen.complete]
    other = [(seen.method, seen.target, seen.body) for seen in theirs.requests if seen.complete]
    common = min(len(mine), len(other))
    assert mine[:common] == other[:common], "h11 reads other requests"
    if ours.kept or ours.refused:
        return
    assert not theirs.refused, "h11 refuses it"
    assert len(mine) == len(other), "h11 reads another number of requests"


def reference(stream: bytes) -> Reading:
    """What h11 makes of `stream`, message by message."""
    requests: list[Seen] = []
    while True:
        # Blank lines may stand before a request (RFC 9112, section 2.2); h11 takes none.
        stream = stream.lstrip(b"\r\n")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(stream)
        try:
            rest = _read_one(connection, requests)
        except h11.RemoteProtocolError:
            return Reading(requests, refused=True, kept=False)
        if rest is None:
            return Reading(requests, refused=False, kept=False)
        stream = rest


def _read_one(connection: h11.Connection, requests: list[Seen]) -> bytes | None:
    """Read a request behind `requests`; what follows it, `None` if nothing is to be read."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            requests.append(Seen(event.method, event.target, b"", b"", complete=False))
        elif isinstance(event, h11.Data):
            requests[-1] = requests[-1]._replace(body=requests[-1].body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            requests[-1] = requests[-1]._replace(complete=True)
            return None if connection.their_state is h11.MUST_CLOSE else connection.trailing_data[0]
        else:
            return None
