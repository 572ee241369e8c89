"""Finds the requests in the bytes of one connection.

llhttp parses, in strict mode. It is fed so that a message begins and ends only where a feed does: so
the raw head is at hand when llhttp has accepted it, header lines need no callback each, and nobody
has to guess which bytes belong to the next request.
"""

from __future__ import annotations

import re
from typing import Protocol

import httptools
import structlog

from ferryman.errors import InternalError, InvalidRequest, MethodNotAllowed, RelayError
from ferryman.http1.fields import FieldReader, without
from ferryman.http1.message import Request
from ferryman.http1.request import RepeatedHead, head_too_large, read_head

log = structlog.get_logger("ferryman.http1")

_CR, _LF = b"\r\n"
_CHUNKED = -1  # in place of a number of bytes, where only the body itself tells its end
_BLANK_LINES = re.compile(rb"(?:\r?\n)*\r?")
_OFFERS = re.compile(rb"\r\nupgrade:([^\r]*)", re.IGNORECASE)


class RequestEvents(Protocol):
    """Who hears of the requests."""

    def on_request(self, request: Request) -> None:
        """A head has come and been checked."""

    def on_body(self, data: bytes) -> None:
        """A part of its body has come."""

    def on_request_complete(self, *, keep_alive: bool) -> None:
        """It has come whole; without `keep_alive` it is the last one."""

    def on_whole_request(self, request: Request, body: bytes) -> None:
        """A checked head and all of its body have come, and it is not the last one."""


class RequestParser:
    """Parses one connection, one request at a time; what it raises ends the parsing.

    An offer to change the protocol (`Upgrade`) is declined by ignoring it (RFC 9110, section 7.8), as
    nginx does: Java's own client makes one with each first request. Only one that nothing else can
    serve, WebSocket, is refused.
    """

    __deletable__ = ("_events", "_llhttp")  # for mypyc
    __slots__ = (
        "_counted",
        "_ended",
        "_events",
        "_head_bytes",
        "_left",
        "_llhttp",
        "_pieces",
        "_quiet_bytes",
        "_reader",
        "_repeated",
        "_stopped",
        "_tail",
        "_upgrade",
        "unread",
    )

    def __init__(self, events: RequestEvents, reader: FieldReader, head_bytes: int) -> None:
        """Tell `events` of requests whose heads have at most `head_bytes` bytes."""
        self._events = events
        self._reader = reader
        self._head_bytes = head_bytes
        self._repeated: RepeatedHead | None = None
        self._stopped = False
        self._ended = False  # a request has come whole in this feed
        self._upgrade: bytes | None = None  # a head whose offer to change the protocol is declined
        self.unread = b""  # the head, as far as it has come
        self._left = 0  # bytes of the body still to come; 0 in the head
        self._counted = False  # llhttp does not see this body
        self._tail = b""  # of a chunked body: the last bytes, in which its end may have begun
        self._pieces: list[bytes] = []  # what one read brings of a chunked body
        self._quiet_bytes = 0  # read of a chunked body without content: sizes, extensions, trailers
        self._llhttp = httptools.HttpRequestParser(self)

    @property
    def in_head(self) -> bool:
        """A head has begun to come."""
        return bool(self.unread)

    def stop(self) -> None:
        """Take no more, and let go of what refers to us: llhttp holds bound methods."""
        self._stopped = True
        self.unread = b""

    def close(self) -> None:
        """Break the reference cycles with llhttp and the connection, or they wait for the collector."""
        self.stop()
        del self._llhttp, self._events

    def feed(self, data: bytes, at: int = 0) -> int:
        """Parse `data` from `at` on, up to the end of one request; where the next one begins.

        Raises:
            RelayError: it is no request that can be served.
        """
        self._ended = False
        try:
            while at < len(data) and not self._ended and not self._stopped:
                if self._left == 0:
                    at = self._feed_head(data, at)
                elif self._left > 0:
                    at = self._feed_body(data, at)
                else:
                    at = self._feed_chunks(data, at)
        except httptools.HttpParserUpgrade as error:
            raise MethodNotAllowed("CONNECT is not served here; send plain HTTP/1.1.") from error
        except httptools.HttpParserError as error:
            raise _refusal_of(error) from error
        except RelayError:
            raise
        except Exception as error:
            raise _own_mistake(error) from error
        return at

    def _feed_head(self, data: bytes, at: int) -> int:
        """Feed up to the end of the head; where that is."""
        if self.unread:
            return self._feed_more_of_head(data, at)
        if data[at] in b"\r\n":  # blank lines before a request (RFC 9112, section 2.2)
            return self._pass_blank_lines(data, at)
        end = data.find(b"\r\n\r\n", at) + 4
        if end == 3:
            end = len(data)
        if end - at > self._head_bytes:
            raise head_too_large(self._head_bytes)
        head = data[at:end]
        again = self._repeated.read(head) if self._repeated is not None else None
        if again is not None and not again.chunked:
            return self._take_again(again, data, end)
        self.unread = head
        self._feed_head_bytes(head)
        return end

    def _take_again(self, request: Request, data: bytes, at: int) -> int:
        """Take a request whose head llhttp has taken before on this connection, all but the body's length.

        Nothing in it is left to judge, so llhttp does not see the request at all. Where it ends, or where its
        body begins if that has not come whole with the head.
        """
        self._counted = True
        length = request.length or 0
        end = at + length
        if end <= len(data):
            self._ended = True
            self._events.on_whole_request(request, data[at:end])  # one that ends a connection has no second
            return end
        self._left = length
        self._events.on_request(request)
        return at

    def _pass_blank_lines(self, data: bytes, at: int) -> int:
        at = _BLANK_LINES.match(data, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        if data[at - 1] == _CR:
            if at < len(data):
                raise InvalidRequest("A CR stands alone before the request.")
            self.unread = b"\r"
        return at

    def _feed_more_of_head(self, data: bytes, at: int) -> int:
        if self.unread == b"\r":  # of a blank line, llhttp has not seen it
            if data[at] != _LF:
                raise InvalidRequest("A CR stands alone before the request.")
            self.unread = b""
            return at + 1
        began = len(self.unread)
        head = self.unread + data[at : at + self._head_bytes + 1]
        end = head.find(b"\r\n\r\n", max(began - 3, 0)) + 4
        if end == 3:
            end = len(head)
        if end > self._head_bytes:
            raise head_too_large(self._head_bytes)
        self.unread = head[:end]
        self._feed_head_bytes(head[began:end])
        return at + end - began

    def _feed_head_bytes(self, data: bytes) -> None:
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._upgrade is None:
                raise
        if self._upgrade is not None:
            # llhttp would take what follows for another protocol, so it gets the head without the offer.
            head, self._upgrade = self._upgrade, None
            self.unread = head
            self._llhttp = httptools.HttpRequestParser(self)
            self._llhttp.feed_data(without(head, {b"upgrade"}))

    def _feed_body(self, data: bytes, at: int) -> int:
        """Feed up to the end of a body of known length; where that is."""
        end = min(at + self._left, len(data))
        self._left -= end - at
        part = data if end - at == len(data) else data[at:end]
        if not self._counted:
            self._llhttp.feed_data(part)
            return end
        self._events.on_body(part)
        if not self._left:
            self._complete(keep_alive=True)
        return end

    def _feed_chunks(self, data: bytes, at: int) -> int:
        """Feed up to where a chunked body ends, which is always behind a blank line; where that is."""
        fed = len(self._tail)
        began = at - fed
        seen = self._tail + data[at:]
        search = 0
        try:
            while self._left == _CHUNKED and fed < len(seen):
                end = seen.find(b"\r\n\r\n", search) + 4
                if end == 3:
                    end = len(seen)
                self._llhttp.feed_data(seen[fed:end])
                content = self._pieces or self._ended
                self._quiet_bytes = 0 if content else self._quiet_bytes + end - fed
                if self._quiet_bytes > self._head_bytes:
                    raise head_too_large(self._head_bytes)
                fed, search = end, end - 3
        finally:
            self._hand_on()  # also before an error: what came before it does not depend on the reads
        self._tail = seen[-3:] if self._left == _CHUNKED else b""
        return began + fed

    def _hand_on(self) -> None:
        """Tell of a chunked body once per read, however small its chunks are."""
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._events.on_body(b"".join(pieces))

    # ── llhttp's side ──

    def on_headers_complete(self) -> None:
        """Check the head, and tell of it."""
        if self._llhttp.should_upgrade():
            if self.unread.startswith(b"CONNECT "):
                return  # llhttp gives up by itself
            if any(b"websocket" in offer.lower() for offer in _OFFERS.findall(self.unread)):
                raise InvalidRequest("WebSockets are not served here; send plain HTTP/1.1.")
            self._upgrade = self.unread
            return
        head, self.unread = self.unread, b""
        request = read_head(head, self._reader)
        self._repeated = RepeatedHead(head, request)
        self._counted = False
        self._left = _CHUNKED if request.chunked else request.length or 0
        self._events.on_request(request)

    def on_body(self, data: bytes) -> None:
        """A part of the body has come."""
        if self._left == _CHUNKED:
            self._pieces.append(data)
        else:
            self._events.on_body(data)

    def on_message_complete(self) -> None:
        """Tell of it; llhttp knows only here whether the connection goes on."""
        if self.unread:
            return  # of a head that `on_headers_complete` has not taken
        self._hand_on()
        self._tail = b""
        self._complete(keep_alive=self._llhttp.should_keep_alive())

    def _complete(self, *, keep_alive: bool) -> None:
        self._ended = True
        self._left = 0
        if not keep_alive:
            self._stopped = True
        self._events.on_request_complete(keep_alive=keep_alive)


def _refusal_of(error: httptools.HttpParserError) -> RelayError:
    cause = error.__context__
    if isinstance(cause, RelayError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError):
        return _own_mistake(cause)
    return InvalidRequest(f"The request is not valid HTTP/1.1: {error}.")


def _own_mistake(error: BaseException | None) -> InternalError:
    log.error("request failed", exc_info=error)
    return InternalError("Ferryman failed at this request; its log says where.")
