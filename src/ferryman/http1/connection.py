"""The side that clients connect to: bytes in, requests out, and framed answers back.

A `ServerConnection` parses one client connection and hands each request to a `RequestHandler`
that the relay makes for it. Requests are served one at a time and answered in order; the next one is
not parsed before the last is answered, and each begins in a turn of its own of the event loop.

Reading goes on while an answer is under way, which is how we notice that a client has gone. What a
pipelining client sends early waits; where reading has to stop, the server's sweep looks instead.
"""

from __future__ import annotations

import asyncio
import math
from typing import cast

import structlog

from ferryman.errors import RelayError, RequestTimeout
from ferryman.http1.message import Request
from ferryman.http1.parser import RequestParser
from ferryman.http1.peer import half_close, peer_of, reset
from ferryman.http1.server import RequestHandler, Server
from ferryman.http1.status import STATUS_LINES

log = structlog.get_logger("ferryman.http1")

LINGER_SECONDS = 30.0
"""How long a refused client may go on sending before it is cut, as nginx's lingering_time.

Cut at once, the client would see a reset in place of the answer that tells it what was wrong.
"""

MAX_EARLY_BYTES = 65_536
"""What is read of requests that wait for their turn; one more read may stand behind it."""


class ServerConnection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_blocked", "_chunked", "_closing", "_current", "_early", "_early_at", "_handler", "_head",
        "_held_back", "_incoming", "_parser", "_refusal", "_response_ended", "_server",
        "_transport", "deadline", "peer",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        # Per connection.
        self._server = server
        self._parser = RequestParser(self, server.reader, server.limits.head_bytes)
        self._transport: asyncio.Transport | None = None
        self._early = b""  # what came before its turn, from `_early_at` on
        self._early_at = 0
        self._held_back = False  # the exchange takes no more of the body for now
        self._closing = False  # no further request is taken
        self._blocked = False  # the client does not read what was written
        self.deadline = server.monotonic() + server.limits.read_seconds
        self.peer = ""
        self._refusal: RelayError | None = None  # there are too many connections beside this one
        self._incoming: Request | None = None  # the request whose body is coming
        # Per request being answered.
        self._current: Request | None = None
        self._handler: RequestHandler | None = None
        self._head = b""
        self._chunked = False
        self._response_ended = False

    def __repr__(self) -> str:
        state = "closing" if self._closing else "busy" if self._current else "idle"
        return f"<ServerConnection {self.peer} {state}>"

    # ── the transport's side ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and count the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.peer = peer_of(transport)
        self._refusal = self._server.enter(self)
        if self._server.draining:
            self._close()

    def data_received(self, data: bytes) -> None:
        """Parse what came, or keep it for its turn."""
        current = self._current
        if not self._early and (not self._blocked if current is None else not current.complete):
            self._parse(data, 0)
        elif not self._closing:
            self._early = self._early[self._early_at :] + data
            self._early_at = 0
            self._update_reading()

    def eof_received(self) -> bool:
        """A client that closes its writing side has gone, as for nginx; a whole answer still goes out."""
        if self._handler is not None and self._transport is not None:
            self._transport.abort()
        return False

    def pause_writing(self) -> None:
        """Pass the client's slowness on."""
        self._blocked = True
        if self._handler is not None:
            self._handler.on_client_blocked()

    def resume_writing(self) -> None:
        """Pass on that the client has caught up, or begin what had to wait for that."""
        self._blocked = False
        if self._handler is not None:
            self._handler.on_client_ready()
            return
        if self._current is None and not self._closing:
            self._allow(self._server.limits.idle_seconds)
            self._serve_early()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running exchange, if any, that its client has gone."""
        self._server.left(self)
        self._transport = None
        self._parser.close()
        self._closing = True
        self._incoming = None
        self._early = b""
        handler, self._handler, self._current = self._handler, None, None
        if handler is not None:
            handler.on_client_gone()

    # ── the parser's side ──

    def on_request(self, request: Request) -> None:
        """Start the exchange of a request."""
        if self._refusal is not None:
            raise self._refusal
        self._incoming = self._current = request
        self._response_ended = False
        self.deadline = self._server.monotonic() + self._server.limits.read_seconds
        self._handler = handler = self._server.new_handler(self, request)
        handler.begin()

    def on_body(self, data: bytes) -> None:
        """Pass the body on."""
        if self._handler is not None and self._incoming is not None:
            if not self._held_back:
                self.deadline = self._server.monotonic() + self._server.limits.read_seconds
            self._handler.on_body(data)

    def on_request_complete(self, *, keep_alive: bool) -> None:
        """The request has come whole."""
        request, self._incoming = self._incoming, None
        if request is None:
            return
        request.complete = True
        if self._held_back:
            self.let_come()
        if not keep_alive:
            self._closing = True
        if self._response_ended:
            self._finish()
        elif self._handler is not None:
            self.deadline = math.inf
            self._handler.on_request_end()

    def on_whole_request(self, request: Request, body: bytes) -> None:
        """Start the exchange of a request of which nothing is to come."""
        if self._refusal is not None:
            raise self._refusal
        request.complete = True
        self._current = request
        self._response_ended = False
        self.deadline = math.inf
        self._handler = handler = self._server.new_handler(self, request)
        handler.begin()
        if body and self._handler is handler:
            handler.on_body(body)
            if self._held_back:
                self.let_come()  # there is nothing to hold back
        if self._handler is handler:
            handler.on_request_end()

    # ── the exchange's side ──

    def hold_back(self) -> None:
        """Read no more of the body for now; the time that takes is not the client's."""
        self._held_back = True
        self.deadline = math.inf
        self._update_reading()

    def let_come(self) -> None:
        """Read on."""
        self._held_back = False
        if self._incoming is not None:
            self.deadline = self._server.monotonic() + self._server.limits.read_seconds
        self._update_reading()

    def send_continue(self) -> None:
        """Ask the client for the body it announced with `Expect: 100-continue`."""
        request = self._current
        if request is not None and request.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def start_response(self, status: int, fields: bytes, length: int | None) -> None:
        """Fix the head of the answer; it goes out with the first `write`.

        Args:
            status: the final status, 200 or above.
            fields: header lines, each behind a CRLF, without framing and hop-by-hop headers.
            length: bytes of the body; `None` when unknown, or when the answer has no body.
        """
        request = self._current
        if request is None:
            return
        framing = b""
        self._chunked = False
        if length is not None:
            if status != 204:  # RFC 9110, section 8.6
                framing = b"\r\ncontent-length: %d" % length
        elif request.http10:
            self._closing = True
        elif request.method != b"HEAD" and status not in {204, 304}:
            self._chunked = True
            framing = b"\r\ntransfer-encoding: chunked"
        if self._closing or self._server.draining or not request.complete:
            self._closing = True
            framing += b"\r\nconnection: close"
        elif request.http10:
            framing += b"\r\nconnection: keep-alive"
        self._head = b"%b%b%b\r\n\r\n" % (STATUS_LINES[status], fields, framing)

    def write(self, data: bytes, *, end: bool) -> None:
        """Send a part of the body, the first one behind the head; `end` completes the answer."""
        if self._transport is None:
            return
        if self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if end:
                data += b"0\r\n\r\n"
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            self._transport.write(data)
        if end:
            self._answer_ended()

    def break_off(self, event: bytes, *, whole: bool) -> None:
        """Send a last event, if the answer is chunked, and close without a clean end.

        With `whole` the answer's own end has gone out before: then there is nothing left to say, and
        the chunks end as they should have.
        """
        if whole and self._chunked:
            self.write(b"", end=True)
            return
        if not event or not self._chunked:
            self.abort()
            return
        self.write(event, end=False)
        self._handler = self._current = None
        self._close()

    def abort(self) -> None:
        """Reset the connection, so that a half-sent answer cannot look complete."""
        self._closing = True
        self._handler = None
        if self._transport is not None:
            reset(self._transport)

    def unread_socket(self) -> int | None:
        """The socket that nobody reads for now, `None` while it is read: then its end is noticed there."""
        if self._transport is None or self._transport.is_reading() or self._transport.is_closing():
            return None
        sock = self._transport.get_extra_info("socket")
        return None if sock is None else int(sock.fileno())

    def leave(self) -> None:
        """The client has gone while nobody read."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if self._current is None and not self._parser.in_head:
            self._close()

    def expire(self) -> None:
        """The deadline has passed: answer 408 to a request that does not come, else close."""
        if self._closing:
            self.abort()
        elif self._current is None and not self._parser.in_head:
            self._close()  # not a reset: the kernel may still be delivering the last answer
        else:
            self._refuse(RequestTimeout("The request did not come whole in time; send it again."))

    # ── in between ──

    def _parse(self, data: bytes, at: int) -> None:
        waited = self._current is None and not self._parser.in_head
        try:
            at = self._parser.feed(data, at)
        except RelayError as error:
            self._refuse(error)
            return
        if waited and self._parser.in_head and self._refusal is None:
            self.deadline = self._server.monotonic() + self._server.limits.read_seconds
        if at < len(data) and not self._closing:
            self._early, self._early_at = data, at
            if self._current is None:
                self._serve_early()
            self._update_reading()

    def _serve_early(self) -> None:
        """Go on with what came early, in a turn of its own: thousands of requests can be in one read."""
        if self._early:
            asyncio.get_running_loop().call_soon(self._take_early)

    def _take_early(self) -> None:
        if self._early and self._current is None and not self._blocked and not self._closing:
            data, self._early = self._early, b""
            self._parse(data, self._early_at)
            self._update_reading()

    def _update_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not self._held_back and len(self._early) - self._early_at <= MAX_EARLY_BYTES
        if wanted != transport.is_reading():
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _answer_ended(self) -> None:
        self._response_ended = True
        self._handler = None
        request = self._current
        if request is None:
            return
        if request.complete:
            self._finish()
        elif request is self._incoming:
            self.let_come()  # to its end, so that the client reads our answer and sees no reset
            self.deadline = self._server.monotonic() + LINGER_SECONDS
            self._say_end()
        else:
            self._linger()

    def _finish(self) -> None:
        """Both directions of an exchange are done: serve what waits, or fall idle."""
        self._current = None
        if self._closing or self._server.draining:
            self._close()
            return
        self._allow(self._server.limits.idle_seconds)
        self._serve_early()

    def _allow(self, seconds: float) -> None:
        """Set the deadline; a client that still has something to read gets the time of a slow reader."""
        if self._transport is not None and self._transport.get_write_buffer_size():
            seconds = self._server.limits.stall_seconds
        self.deadline = self._server.monotonic() + seconds

    def _refuse(self, error: RelayError) -> None:
        """Answer a request that cannot be read, and take no more from this connection."""
        self._incoming = None
        self._parser.stop()
        self._closing = True
        if self._current is None:
            self._current = Request(b"GET", b"", self._server.reader.read(b""))
            self._response_ended = False
            fields, body = self._server.render_error(error)
            self.start_response(error.status, fields, len(body))
            self.write(body, end=True)
        elif self._handler is not None:
            self._handler.on_request_error(error)
        else:
            self._linger()

    def _linger(self) -> None:
        """Close our side, and discard what the client still sends until it has read the answer."""
        self._closing = True
        self._current = None
        self._parser.stop()
        self._early = b""
        self._held_back = False
        self._update_reading()
        self.deadline = self._server.monotonic() + LINGER_SECONDS
        self._say_end()

    def _say_end(self) -> None:
        """No more answers come: a client that waits for our end must not wait until we stop listening."""
        if self._transport is not None:
            half_close(self._transport)

    def _close(self) -> None:
        self._closing = True
        self._parser.stop()
        self._allow(LINGER_SECONDS)
        if self._transport is not None:
            self._transport.close()
