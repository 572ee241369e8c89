"""What comes between: a side of an exchange is slow, silent, or gone.

One side waits for the other, so no buffer grows between a fast one and a slow one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ferryman.errors import RelayError
from ferryman.http1.client import ClientConnection
from ferryman.http1.connection import ServerConnection
from ferryman.http1.message import Request, ResponseHead
from ferryman.model import Call, Ended
from ferryman.relay import forward
from ferryman.relay.line import Line
from ferryman.relay.meter import Meter
from ferryman.relay.target import Target
from ferryman.relay.values import Route


class Flow:
    """What an exchange does when a side of it is blocked, and when that is ready again, lost, or late."""

    __slots__ = (
        "answered", "attempts", "call", "client", "client_blocked", "client_gone", "deadline", "error",
        "fetching", "id", "line", "meter", "request", "response_head", "route", "sent_at", "streaming",
        "target", "upstream",
    )  # fmt: skip

    line: Line
    client: ServerConnection
    request: Request
    upstream: ClientConnection | None
    deadline: float
    streaming: bool
    answered: bool
    id: str
    client_blocked: bool
    client_gone: bool
    route: Route
    target: Target
    call: Call
    meter: Meter
    response_head: ResponseHead | None
    attempts: int
    sent_at: float
    error: str | None
    fetching: Callable[[], object] | None

    def fail(self, error: RelayError, ended: Ended | None = None) -> None:
        """End the exchange with `error`."""

    def settle(self, ended: Ended) -> None:
        """Write the record."""

    def _ask_again(self) -> None:
        """Send the request once more, over a new connection."""

    def _drop_upstream(self) -> None:
        """Wait for nothing more of the upstream."""

    def on_upstream_blocked(self) -> None:
        """The upstream is slow: let the client wait."""
        if self.streaming and not self.request.complete:
            self.client.hold_back()

    def on_upstream_ready(self) -> None:
        """The upstream has taken more of the request."""
        if not self.answered:
            self.deadline = self.line.monotonic() + self.line.limits.first_byte_seconds
        if self.streaming and not self.request.complete:
            self.client.let_come()

    def on_client_blocked(self) -> None:
        """The client is slow: let the upstream wait."""
        self.client_blocked = True
        if self.upstream is not None:
            self.upstream.pause_reading()
            self.deadline = self.line.monotonic() + self.line.limits.client_stall_seconds

    def on_client_ready(self) -> None:
        """The client has caught up."""
        self.client_blocked = False
        if self.upstream is not None:
            self.upstream.resume_reading()
            self.deadline = self.line.monotonic() + self.line.limits.stream_idle_seconds

    def on_client_gone(self) -> None:
        """Nobody is left to answer: end the upstream's work, or let it end where only that tells its cost."""
        line = self.line
        self.client_gone = True
        if self.fetching is not None:
            self.fetching()
        if self.upstream is not None and forward.worth_finishing(
            self.route, self.call, line.limits, draining=len(line.drains), whole=self.request.complete
        ):
            line.drains[self] = line.monotonic() + line.limits.drain_seconds
            if self.client_blocked:
                self.on_client_ready()
            return
        self._drop_upstream()
        # The official clients leave when they read an error event.
        self.settle(Ended.UPSTREAM_ERROR if self.meter.failed else Ended.CLIENT_GONE)

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """Ask once more where that cannot bill twice, else tell the client."""
        self.upstream, self.deadline = None, math.inf
        waited_seconds = self.line.monotonic() - self.sent_at
        if forward.may_ask_again(self.attempts, waited_seconds, fresh=fresh, answered=answered):
            self._ask_again()
        else:
            self.fail(forward.lost(self.target.pool.origin, error, answered=answered))

    def expire(self) -> None:
        """The deadline has passed."""
        limits = self.line.limits
        if self.client_blocked:
            self.error = f"the client read nothing for {limits.client_stall_seconds:g} s"
            self._drop_upstream()
            self.settle(Ended.TIMEOUT)
            self.client.abort()
            return
        self.fail(forward.silent(self.target.pool.origin, limits, answered=self.response_head is not None))
