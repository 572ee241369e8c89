"""Bytes of an upstream, through `ClientConnection`: what is an answer, and where it ends.

What must hold of every input:

- nothing is raised;
- the receiver hears of the end of its answer once, or of the loss of the connection once, and of
  nothing behind it: no byte of a second answer is delivered, and no head twice;
- the answer is the same however the bytes are cut;
- h11 reads the same answer out of them, and what h11 refuses is not taken for whole.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import h11

from ferryman.http1.client import MAX_HEAD_BYTES, ClientConnection
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader
from ferryman.http1.message import ResponseHead
from proofs.targets.edge import Transport, Turns, cut, parted

MAX_SINGLE_BYTES = 1_000

HEAD, RESET, UPLOADING, AGAIN = 1, 2, 4, 8
"""Bits of the mode: the request is a HEAD; the upstream ends with a reset, not a clean close; the
request is not sent whole yet; a second request goes out where the connection is given back."""

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
READER = FieldReader(NOT_PASSED_ON, frozenset({b"content-type"}))


class NotComparable(Exception):
    """h11 is stricter where it does no harm.

    It looks into the reason phrase, which means nothing, and which we make anew.
    """


class Answer(NamedTuple):
    """What was delivered of one answer."""

    status: int | None
    block: bytes
    body: bytes
    whole: bool


class Receiver:
    """Hears of one answer."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = bytearray()
        self.whole = False
        self.lost = False

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """A read of it has come."""
        assert not self.whole, "something came behind the end"
        assert not self.lost, "something came behind the loss"
        assert (head is None) == (self.head is not None), "one head, and first"
        assert head is not None or data or end, "a call for nothing"
        if head is not None:
            self.head = head
            assert 200 <= head.status < 1000
        self.body += data
        self.whole = end

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """The connection ended first."""
        assert not self.whole, "it was over already"
        assert not self.lost, "it was lost already"
        assert answered or self.head is None
        self.lost = True

    def on_upstream_blocked(self) -> None:
        """Does not happen here."""

    on_upstream_ready = on_upstream_blocked

    def answer(self) -> Answer:
        """What has come."""
        assert self.whole != self.lost, "neither an end nor a loss"
        head = self.head
        status, block = (None, b"") if head is None else (head.status, head.fields.block)
        return Answer(status, block, bytes(self.body), self.whole)


class Play:
    """One upstream connection, from its first byte to its end."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.turns = Turns()
        self.receivers: list[Receiver] = []
        self.idle: list[ClientConnection] = []
        self.closed = 0

    def _closed(self) -> None:
        self.closed += 1

    def _ask(self, connection: ClientConnection) -> None:
        self.receivers.append(Receiver())
        bodiless = bool(self.mode & HEAD)
        if self.mode & UPLOADING:
            connection.begin_request(ASK, self.receivers[-1], bodiless=bodiless, chunked=True)
            connection.write_body(b"part")
        else:
            connection.send(ASK, b"", self.receivers[-1], bodiless=bodiless)

    def run(self, stream: bytes, sizes: list[int]) -> list[Answer]:
        """Feed `stream` in pieces of `sizes`; what was delivered."""
        connection = ClientConnection(self.idle.append, self._closed, READER)
        transport = Transport(self.turns, connection)
        self._ask(connection)
        for piece in cut(stream, sizes):
            transport.bring(piece)
            self.turns.run()
            if not transport.lost:
                assert len(connection._unread) <= MAX_HEAD_BYTES
            if self.idle and connection.usable and self.mode & AGAIN:
                self.idle.clear()
                self._ask(connection)
        transport.end(ConnectionResetError("reset") if self.mode & RESET else None)
        self.turns.run()
        assert transport.lost
        assert self.closed == 1
        assert len(self.idle) <= 1
        assert not self.idle or not self.mode & UPLOADING, "it still owes a part of the request"
        return [receiver.answer() for receiver in self.receivers]


def check(data: bytes) -> None:
    """Raise if anything that must hold of the input `data` does not."""
    mode, sizes, stream = parted(data)
    answers = Play(mode).run(stream, sizes)
    if mode & AGAIN:
        return  # which bytes belong to which answer depends on when they come
    (answer,) = answers
    splits = [[0], [1]] if len(stream) <= MAX_SINGLE_BYTES else [[0]]
    for other in splits:
        _same(answer, Play(mode).run(stream, other)[0])
    if answer.whole:
        with suppress(NotComparable):
            _compare(answer, reference(stream, mode))


def _same(one: Answer, other: Answer) -> None:
    assert one.whole == other.whole, "it is whole in some pieces only"
    if one.whole:
        assert one == other, "it is another one in other pieces"
    elif one.status is not None and other.status is not None:
        assert one[:2] == other[:2]
        short, long = sorted((one.body, other.body), key=len)
        assert long.startswith(short)


def _compare(ours: Answer, theirs: Answer | None) -> None:
    assert theirs is not None, "h11 refuses it"
    assert theirs.whole, "h11 waits for more"
    assert (theirs.status, theirs.body) == (ours.status, ours.body), "h11 reads another answer"


def reference(stream: bytes, mode: int) -> Answer | None:
    """What h11 makes of `stream`, `None` if it refuses it.

    Raises:
        NotComparable: for a reason that does not count.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    method = "HEAD" if mode & HEAD else "GET"
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    status, body, ended = None, b"", bool(mode & RESET)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, b"", body, whole=True)
            elif event is h11.NEED_DATA and not ended:
                ended = True
                connection.receive_data(b"")
            elif not isinstance(event, h11.InformationalResponse):
                return Answer(status, b"", body, whole=False)
    except h11.RemoteProtocolError as error:
        if str(error).startswith("illegal status line"):
            raise NotComparable from error
        return None
