"""What the connections of one listener share, and what they ask of the relay."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import structlog

from ferryman.errors import Overloaded, RelayError
from ferryman.http1.fields import FieldReader
from ferryman.http1.message import Request

log = structlog.get_logger("ferryman.http1")

MAX_REFUSED = 256
"""Connections beyond the bound that wait to be told so; the next ones are cut, which costs least."""

REFUSED_SECONDS = 5.0
"""How long each of them has to send the request that is answered so."""

_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last is Linux's


class RequestHandler(Protocol):
    """What the relay makes of a request."""

    def begin(self) -> None:
        """Look at the head; the request may be answered at once."""

    def on_body(self, data: bytes) -> None:
        """Take the next part of the request body."""

    def on_request_end(self) -> None:
        """The request is complete."""

    def on_request_error(self, error: RelayError) -> None:
        """The rest of the request cannot be read; answer `error` if nothing has been answered."""

    def on_client_blocked(self) -> None:
        """The client reads more slowly than we write."""

    def on_client_ready(self) -> None:
        """The client has caught up."""

    def on_client_gone(self) -> None:
        """The client closed or reset its connection; nothing more can be written."""


class ServerLimits(NamedTuple):
    """Sizes in bytes and times in seconds that a client connection is held to.

    `connections` and `connections_per_address` bound how many there are at once.
    """

    connections: int
    connections_per_address: int
    head_bytes: int
    idle_seconds: float
    read_seconds: float
    stall_seconds: float


class Connection(Protocol):
    """A client connection as its server sees it."""

    deadline: float
    peer: str

    def expire(self) -> None:
        """The deadline has passed."""

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""

    def abort(self) -> None:
        """Cut the connection."""

    def unread_socket(self) -> int | None:
        """The number of its socket while nobody reads it."""

    def leave(self) -> None:
        """The client has gone."""


class Server:
    """What the connections of one listener share."""

    def __init__(
        self,
        new_handler: Callable[[Any, Request], RequestHandler],
        render_error: Callable[[RelayError], tuple[bytes, bytes]],
        *,
        monotonic: Callable[[], float],
        limits: ServerLimits,
        reader: FieldReader,
        is_proxy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Bind the callbacks.

        Args:
            new_handler: makes the handler of a request, given its `ServerConnection`.
            render_error: header lines (each behind a CRLF) and body for an error met in parsing.
            monotonic: the clock for time-outs, in seconds.
            limits: sizes and times.
            reader: reads request headers; it drops at least `ferryman.http1.request.DROPPED`.
            is_proxy: whether a peer brings many clients, and is not held to the bound per address.
        """
        self.new_handler = new_handler
        self.render_error = render_error
        self.monotonic = monotonic
        self.limits = limits
        self.reader = reader
        self.connections: set[Connection] = set()
        self._is_proxy = is_proxy
        self._by_address: dict[str, int] = {}
        self._refused: set[Connection] = set()
        self.draining = False

    def enter(self, connection: Connection) -> Overloaded | None:
        """Count `connection`; the error for its first request if it is one too many."""
        self.connections.add(connection)
        count = self._by_address.get(connection.peer, 0) + 1
        self._by_address[connection.peer] = count
        limits = self.limits
        if len(self.connections) - len(self._refused) > limits.connections:
            error = Overloaded(f"All {limits.connections} connections are in use (`max_connections`).")
        elif count > limits.connections_per_address and not self._is_proxy(connection.peer):
            error = Overloaded(
                f"Your address has {limits.connections_per_address} connections already "
                "(`max_connections_per_address`)."
            )
        else:
            return None
        self._refused.add(connection)
        connection.deadline = self.monotonic() + REFUSED_SECONDS
        if len(self._refused) > MAX_REFUSED:
            connection.abort()
        return error

    def left(self, connection: Connection) -> None:
        """`connection` has ended."""
        self.connections.discard(connection)
        self._refused.discard(connection)
        count = self._by_address[connection.peer] - 1
        if count:
            self._by_address[connection.peer] = count
        else:
            del self._by_address[connection.peer]

    def sweep(self, now: float) -> None:
        """End the connections whose time is up, and those that a client left while nobody read."""
        for connection in [c for c in self.connections if c.deadline <= now]:
            try:
                connection.expire()
            except Exception:
                log.exception("time-out failed", connection=repr(connection))
        self._sweep_unread()

    def _sweep_unread(self) -> None:
        unread = {s: c for c in self.connections if (s := c.unread_socket()) is not None}
        if not unread:
            return
        poll = select.poll()
        for number in unread:
            poll.register(number, _GONE)
        for number, _ in poll.poll(0):
            unread[number].leave()

    def drain(self) -> None:
        """Let running exchanges finish, and close every connection as it falls idle."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.abort()
