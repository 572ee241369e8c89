"""One side of an exchange waits for the other: so no buffer grows between a fast one and a slow one."""

from __future__ import annotations

from ferryman.http1.client import ClientConnection
from ferryman.http1.connection import ServerConnection
from ferryman.http1.message import Request
from ferryman.relay.line import Line


class Flow:
    """What an exchange does when a side of it is blocked, and when that is ready again."""

    __slots__ = (
        "answered", "client", "client_blocked", "deadline", "line", "request", "streaming", "upstream",
    )  # fmt: skip

    line: Line
    client: ServerConnection
    request: Request
    upstream: ClientConnection | None
    deadline: float
    streaming: bool
    answered: bool
    client_blocked: bool

    def on_upstream_blocked(self) -> None:
        """The upstream is slow: let the client wait."""
        if self.streaming and not self.request.complete:
            self.client.hold_back()

    def on_upstream_ready(self) -> None:
        """The upstream has taken more of the request."""
        if not self.answered:
            self.deadline = self.line.clock.monotonic() + self.line.limits.first_byte_seconds
        if self.streaming and not self.request.complete:
            self.client.let_come()

    def on_client_blocked(self) -> None:
        """The client is slow: let the upstream wait."""
        self.client_blocked = True
        if self.upstream is not None:
            self.upstream.pause_reading()
            self.deadline = self.line.clock.monotonic() + self.line.limits.client_stall_seconds

    def on_client_ready(self) -> None:
        """The client has caught up."""
        self.client_blocked = False
        if self.upstream is not None:
            self.upstream.resume_reading()
            self.deadline = self.line.clock.monotonic() + self.line.limits.stream_idle_seconds
