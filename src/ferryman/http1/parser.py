"""Finds the requests in the bytes of one connection.

llhttp parses, in strict mode. It is fed so that a message begins and ends only where a feed does: so
the raw head is at hand when llhttp has accepted it, header lines need no callback each, and nobody
has to guess which bytes belong to the next request.
"""

from __future__ import annotations

from typing import Protocol

import httptools
import structlog

from ferryman.errors import InternalError, InvalidRequest, RelayError
from ferryman.http1.fields import FieldReader
from ferryman.http1.request import RepeatedHead, Request, head_too_large, read_head

log = structlog.get_logger("ferryman.http1")

_CHUNKED = -1  # in place of a number of bytes, where only the body itself tells its end
_NO_UPGRADE = "`Upgrade` and CONNECT are not served here; send plain HTTP/1.1."


class RequestEvents(Protocol):
    """Who hears of the requests."""

    def on_request(self, request: Request) -> None:
        """A head has come and been checked."""

    def on_body(self, data: bytes) -> None:
        """A part of its body has come."""

    def on_request_complete(self, *, keep_alive: bool) -> None:
        """It has come whole; without `keep_alive` it is the last one."""


class RequestParser:
    """Parses one connection; what it raises ends the parsing."""

    __slots__ = (
        "_events",
        "_head_bytes",
        "_left",
        "_llhttp",
        "_reader",
        "_repeated",
        "_stopped",
        "_tail",
        "on_body",
        "unread",
    )

    def __init__(self, events: RequestEvents, reader: FieldReader, head_bytes: int) -> None:
        """Tell `events` of requests whose heads have at most `head_bytes` bytes."""
        self._events = events
        self._reader = reader
        self._head_bytes = head_bytes
        self._repeated: RepeatedHead | None = None
        self._stopped = False
        self.unread = b""  # the head, as far as it has come
        self._left = 0  # bytes of the body still to come; 0 in the head
        self._tail = b""  # of a chunked body: the last bytes, in which its end may have begun
        self.on_body = events.on_body  # llhttp calls it directly
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
        del self._llhttp, self._events, self.on_body

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            RelayError: they are no request that can be served.
        """
        try:
            while data and not self._stopped:
                if self._left == 0:
                    data = self._feed_head(data)
                elif self._left > 0:
                    data = self._feed_body(data)
                else:
                    data = self._feed_chunks(data)
        except httptools.HttpParserUpgrade as error:
            raise InvalidRequest(_NO_UPGRADE) from error
        except httptools.HttpParserError as error:
            raise _refusal_of(error) from error

    def _feed_head(self, data: bytes) -> bytes:
        """Feed up to the end of the head; what is left of `data`."""
        if not self.unread:
            data = data.lstrip(b"\r\n")  # blank lines before a request (RFC 9112, section 2.2)
            if not data:
                return b""
        began = len(self.unread)
        self.unread = head = self.unread + data if began else data
        end = head.find(b"\r\n\r\n", max(began - 3, 0)) + 4
        if end == 3:
            end = len(head)
        if end > self._head_bytes:
            raise head_too_large(self._head_bytes)
        if end == len(head):
            self._llhttp.feed_data(data)
            rest = b""
        else:
            self.unread = head[:end]
            self._llhttp.feed_data(data[: end - began])
            rest = data[end - began :]
        return rest

    def _feed_body(self, data: bytes) -> bytes:
        """Feed up to the end of a body of known length; what is left of `data`."""
        left = self._left
        if len(data) <= left:
            self._left -= len(data)
            self._llhttp.feed_data(data)
            return b""
        self._left = 0
        self._llhttp.feed_data(data[:left])
        return data[left:]

    def _feed_chunks(self, data: bytes) -> bytes:
        """Feed up to where a chunked body ends, which is always behind a blank line; what is left."""
        seen = self._tail + data
        at = len(self._tail)
        search = 0
        while self._left == _CHUNKED and at < len(seen):
            end = seen.find(b"\r\n\r\n", search) + 4
            if end == 3:
                end = len(seen)
            self._llhttp.feed_data(seen[at:end])
            at, search = end, end - 3
        self._tail = seen[-3:] if self._left == _CHUNKED else b""
        return seen[at:]

    # ── llhttp's side ──

    def on_headers_complete(self) -> None:
        """Check the head, and tell of it."""
        head, self.unread = self.unread, b""
        request = self._repeated.read(head) if self._repeated is not None else None
        if request is None:
            request = read_head(head, self._reader)
            self._repeated = RepeatedHead(head, request)
        if self._llhttp.should_upgrade():
            raise InvalidRequest(_NO_UPGRADE)
        self._left = _CHUNKED if request.chunked else request.length or 0
        self._events.on_request(request)

    def on_message_complete(self) -> None:
        """Tell of it; llhttp knows only here whether the connection goes on."""
        self._left = 0
        self._tail = b""
        keep_alive = self._llhttp.should_keep_alive()
        if not keep_alive:
            self._stopped = True
        self._events.on_request_complete(keep_alive=keep_alive)


def _refusal_of(error: httptools.HttpParserError) -> RelayError:
    cause = error.__context__
    if isinstance(cause, RelayError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("request failed", exc_info=cause)
        return InternalError("Ferryman failed at this request; its log says where.")
    return InvalidRequest(f"The request is not valid HTTP/1.1: {error}.")
