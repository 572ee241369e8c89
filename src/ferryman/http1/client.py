"""The side that talks to the upstream: a request out, its response in.

One call to the receiver per read, with all that the read brought: the head, if it was in it, the
body bytes joined, and whether the response is complete. So whoever relays it writes once per read.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools
import structlog

from ferryman.errors import InternalError, UpstreamInvalid
from ferryman.http1.fields import FieldReader
from ferryman.http1.message import ResponseHead

log = structlog.get_logger("ferryman.http1")

Body = bytes | bytearray

MAX_HEAD_BYTES: Final = 65_536
"""Head of a response; Anthropic's are below 4 KiB, and nginx takes 4 to 8 KiB by default."""


_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_FINAL: Final = (b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 3")

MAX_INTERIM = 16
"""1xx answers before the final one; servers send one or two."""


PIECE_BYTES = 262_144
"""A large body is written in pieces of this size, each when the last is on its way: whatever its size,
no more than two are copied."""


class ResponseReceiver(Protocol):
    """Who sends a request and gets the response."""

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """What one read brought; `head` only with the first call of a response."""

    def on_upstream_blocked(self) -> None:
        """The upstream takes the request more slowly than we write."""

    def on_upstream_ready(self) -> None:
        """It has taken what was written."""

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """The connection ended before the response did.

        Args:
            error: why, `None` when the upstream closed it.
            fresh: the connection was opened for this request.
            answered: at least one byte of a response had come.
        """


class ClientConnection(asyncio.Protocol):
    """One upstream connection.

    The parser is fed head and body apart, so the raw head is at hand when llhttp has accepted it,
    and header lines need no callback each.
    """

    __deletable__ = ("_parser",)  # for mypyc
    __slots__ = (
        "_answered", "_bodiless", "_chunked", "_done", "_ended_by_peer", "_ends_with_connection", "_head",
        "_in_head", "_interim", "_keep_alive", "_on_closed", "_on_idle", "_parser", "_pieces", "_reader",
        "_receiver", "_sending", "_transport", "_unread", "_unsent", "_uses", "blocked", "idle_deadline",
        "retires_at", "reused",
    )  # fmt: skip

    def __init__(
        self,
        on_idle: Callable[[ClientConnection], None],
        on_closed: Callable[[], None],
        reader: FieldReader,
    ) -> None:
        """Bind who hears of the end of an exchange and of the connection.

        Args:
            on_idle: takes the connection back when it can carry the next exchange.
            on_closed: is called once, when the connection has ended.
            reader: reads response headers; it drops at least `fields.NOT_PASSED_ON`.
        """
        # Per connection.
        self._reader = reader
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._uses = 0
        self._ended_by_peer = False  # in the protocol's own way: FIN, over TLS close_notify
        self.blocked = False  # the upstream does not read what was written
        self.reused = False  # it has been idle since it was opened
        self.idle_deadline = math.inf
        self.retires_at = math.inf
        # Per exchange.
        self._receiver: ResponseReceiver | None = None
        self._sending = False  # the end of the request is not written yet
        self._unsent: memoryview | None = None  # of a body that is whole
        self._chunked = False  # the request
        self._bodiless = False
        self._answered = False
        self._done = False
        self._keep_alive = False
        self._ends_with_connection = False
        # Per response.
        self._in_head = False
        self._interim = 0  # 1xx answers before the final one
        self._unread = b""  # the head, as far as it has come
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []

    def __repr__(self) -> str:
        state = "closed" if self._transport is None else "busy" if self._receiver else "idle"
        return f"<ClientConnection {state}, {self._uses} requests>"

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and self._receiver is None and not self._transport.is_closing()

    def send(self, head: bytes, body: Body, receiver: ResponseReceiver, *, bodiless: bool) -> None:
        """Send a whole request; only while `usable`.

        Args:
            head: request line and headers with the blank line.
            body: the whole body, empty for none.
            receiver: gets the response.
            bodiless: the response has no body whatever its headers say (HEAD).
        """
        transport = self._begin(receiver, bodiless=bodiless)
        # Joined while the copy costs less than a second system call (about 5 µs, or 64 KiB).
        if len(body) <= 65_536:
            transport.write(head + body)
        else:
            transport.write(head)
            self._sending = True
            self._unsent = memoryview(body)
            self._send_pieces()

    def begin_request(
        self, head: bytes, receiver: ResponseReceiver, *, bodiless: bool, chunked: bool
    ) -> None:
        """Send the head of a request whose body follows by `write_body`; only while `usable`."""
        self._sending = True
        self._chunked = chunked
        self._begin(receiver, bodiless=bodiless).write(head)

    def write_body(self, data: Body) -> None:
        """Send a part of the body of a request that was begun; not an empty one."""
        if self._sending and self._transport is not None and not self._transport.is_closing():
            if self._chunked:
                data = b"%x\r\n%b\r\n" % (len(data), bytes(data))
            self._transport.write(data)

    def end_request(self) -> None:
        """All of its body has been written."""
        if self._transport is not None and self._sending:
            self._sending = False
            if self._chunked:
                self._transport.write(b"0\r\n\r\n")

    def _begin(self, receiver: ResponseReceiver, *, bodiless: bool) -> asyncio.Transport:
        self._receiver = receiver
        self._bodiless = bodiless
        self._answered = self._done = self._keep_alive = self._ends_with_connection = False
        self._in_head = True
        self._interim = 0
        self._unread = b""
        self._uses += 1
        self.idle_deadline = math.inf
        return cast("asyncio.Transport", self._transport)

    def _send_pieces(self) -> None:
        while self._unsent is not None and self._transport is not None and not self.blocked:
            if self._transport.is_closing():
                return  # lost under the last piece; asyncio would warn of each further one
            piece, rest = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._unsent = rest or None
            self._sending = self._unsent is not None
            self._transport.write(piece)

    def pause_reading(self) -> None:
        """Let the upstream wait while the client catches up."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The client has caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection and whatever it still brings; its receiver hears nothing more."""
        self._receiver = self._unsent = None
        if self._transport is not None:
            self._transport.abort()

    # ── the transport's side ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Parse what came and hand it on in one call."""
        receiver = self._receiver
        if receiver is None:
            self.abort()  # bytes that nobody asked for: whatever they are, not an answer of ours
            return
        self._answered = True
        try:
            while data and self._in_head:
                data = self._feed_head(data)
            if data:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamInvalid("The upstream switched protocols unasked."))
            return
        except httptools.HttpParserError as error:
            if not self._done:
                cause = error.__context__
                if not isinstance(cause, UpstreamInvalid):
                    cause = UpstreamInvalid(f"The upstream's answer is not valid HTTP/1.1: {error}.")
                self._fail(cause)
                return
            self._keep_alive = False  # the answer was whole; what follows it is not ours
        try:
            self._deliver(receiver)
        except Exception:
            log.exception("answer failed")
            self.abort()
            ours = InternalError("Ferryman failed at this answer; its log says where.")
            receiver.on_upstream_lost(ours, fresh=not self.reused, answered=True)

    def _feed_head(self, data: bytes) -> bytes:
        """Feed up to the end of a head; what is left of `data`.

        Raises:
            HttpParserError: llhttp does not take it, or it is too large.
        """
        began = len(self._unread)
        final = not began and data[:10] in _FINAL  # no 1xx, so that one call takes all
        if final and 0 < (end := data.find(b"\r\n\r\n")) < MAX_HEAD_BYTES - 4:
            self._unread = data[: end + 4]
            self._parser.feed_data(data)
            return b""
        self._unread = head = self._unread + data if began else data
        end = head.find(b"\r\n\r\n", max(began - 3, 0)) + 4
        if end == 3:
            end = len(head)
        if end > MAX_HEAD_BYTES:
            raise httptools.HttpParserError(f"its head is larger than {MAX_HEAD_BYTES} bytes")
        self._unread = head[:end]
        self._parser.feed_data(data[: end - began])
        return data[end - began :]

    def eof_received(self) -> bool:
        """The upstream closed: so do we."""
        self._ended_by_peer = _said_goodbye(self._transport)
        return False

    def pause_writing(self) -> None:
        """The upstream is slow: write no more for now."""
        self.blocked = True
        if self._receiver is not None:
            self._receiver.on_upstream_blocked()

    def resume_writing(self) -> None:
        """Go on."""
        self.blocked = False
        self._send_pieces()
        if self._receiver is not None and not self.blocked:
            self._receiver.on_upstream_ready()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, unless the end of the connection is the end of its response."""
        self._transport = None
        del self._parser  # it holds our bound methods: without this the pair waits for the collector
        self._on_closed()
        receiver, self._receiver = self._receiver, None
        self._unsent = None
        if receiver is None:
            return
        if self._ends_with_connection and self._ended_by_peer and exc is None:
            receiver.on_response(None, b"", end=True)
        else:
            receiver.on_upstream_lost(exc, fresh=not self.reused, answered=self._answered)

    # ── the parser's side ──

    def on_message_begin(self) -> None:
        """Something follows a whole answer: whatever it is, nobody asked for it."""
        if self._done:
            self._keep_alive = False

    def on_headers_complete(self) -> None:
        """Decide how the body is framed; a 1xx is not the answer yet (RFC 9110, section 15.2)."""
        if self._done:
            raise UpstreamInvalid("The upstream sent a second answer.")
        raw, self._unread = self._unread, b""
        # llhttp takes RTSP/1.0 and HTTP/0.9 as well, and blank lines before, which only a server has to
        # pass over (RFC 9112, section 2.2).
        if raw[:9] not in _VERSIONS:
            raise UpstreamInvalid("The upstream's answer is not HTTP/1.1.")
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status < 100 or self._interim > MAX_INTERIM:
                raise UpstreamInvalid(f"The upstream's answer has a status that cannot be: {status}.")
            return
        self._in_head = False
        fields = self._reader.read(raw[raw.index(b"\r\n") : -4])
        length = fields.found.get(b"content-length")
        coding = fields.found.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or b"transfer-encoding" in fields.repeated):
            raise UpstreamInvalid("The upstream's `Transfer-Encoding` is not a single `chunked`.")
        bodiless = self._bodiless or status in {204, 304}
        self._ends_with_connection = not bodiless and length is coding is None
        self._head = ResponseHead(status, fields, None if length is None else int(length))
        if self._bodiless:
            self._done = True  # llhttp would wait for the body that the headers describe

    def on_body(self, body: bytes) -> None:
        """Collect what this read brings."""
        if not self._done:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The response is whole. llhttp knows only here whether the connection goes on."""
        if self._parser.get_status_code() < 200:
            return
        self._done = True
        self._keep_alive = self._parser.should_keep_alive() and not self._bodiless

    # ── in between ──

    def _deliver(self, receiver: ResponseReceiver) -> None:
        head, self._head = self._head, None
        pieces = self._pieces
        if not pieces:
            data = b""
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        if self._done:
            self._receiver = None
            # With a part of our request still unsent, the next one would stand behind it.
            self._unsent = None
            transport = self._transport
            unsent = self._sending or (transport is not None and transport.get_write_buffer_size())
            if self._keep_alive and not unsent:
                self._on_idle(self)
            elif transport is not None:
                transport.close()
            receiver.on_response(head, data, end=True)
        elif head is not None or data:
            receiver.on_response(head, data, end=False)

    def _fail(self, error: Exception) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.on_upstream_lost(error, fresh=not self.reused, answered=True)


def _said_goodbye(transport: asyncio.Transport | None) -> bool:
    """Whether the end of a connection came from the peer, and from nobody between (RFC 8446, section 6.1).

    asyncio reports both alike; the TLS object knows, since it was given the peer's close_notify or not.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    try:
        return tls is None or not tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
