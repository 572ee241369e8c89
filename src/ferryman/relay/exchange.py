"""One request and its answer, from the head that a client sent to the record of what it came to.

Read from top to bottom: that is the order in which things happen. An exchange has one entry
(`begin`) and one exit (`settle`), and whatever ends it goes through the exit once.

There is no task per request: the client's connection and the upstream's call the methods below as
bytes arrive. Nothing here waits; what must (a new connection) calls back.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import structlog

from ferryman.errors import (
    BodyTooLarge,
    InternalError,
    Overloaded,
    RelayError,
    UpstreamTimeout,
)
from ferryman.http1.client import ClientConnection, ResponseHead
from ferryman.http1.connection import ServerConnection
from ferryman.http1.request import Request
from ferryman.model import Call, Ended, Entry, Principal
from ferryman.relay.authenticate import authenticate
from ferryman.relay.forward import connection_lost, may_ask_again
from ferryman.relay.line import Line
from ferryman.relay.meter import Meter, NoMeter, Reading, meter_for
from ferryman.relay.prepare import prepare
from ferryman.relay.respond import error_answer, error_event, own_answer, own_fields, relayed_fields
from ferryman.relay.route import Route, route, shown
from ferryman.wire.names import REQUEST_ID, SESSION
from ferryman.wire.request import read_call

log = structlog.get_logger("ferryman.relay")

SMALL_BODY_BYTES = 65_536
"""A refused request's body up to this size is read to its end, so that the connection can go on."""

_NO_CALL = Call()
_NO_METER = NoMeter()
_NOT_BEGUN = NoMeter(complete=False)
_NO_ROUTE = Route("", b"", reads_call=False, metered=False)


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "answered",
        "answered_at",
        "attempts",
        "body",
        "body_bytes",
        "call",
        "client",
        "client_blocked",
        "deadline",
        "error",
        "head",
        "id",
        "line",
        "meter",
        "mutations",
        "overhead_seconds",
        "parts",
        "principal",
        "ready_at",
        "refusal",
        "request",
        "response_bytes",
        "response_head",
        "route",
        "sent_at",
        "settled",
        "started",
        "started_at",
        "status",
        "upstream",
    )

    def __init__(self, line: Line, client: ServerConnection, request: Request) -> None:
        self.line = line
        self.client = client
        self.request = request
        self.started_at = line.clock.now()
        self.started = line.clock.monotonic()
        self.id = line.ids.next(self.started_at)
        self.deadline = math.inf
        self.settled = False
        # The request.
        self.route = _NO_ROUTE
        self.principal: Principal | None = None
        self.refusal: RelayError | None = None
        self.parts: list[bytes] = []
        self.body_bytes = 0
        self.call = _NO_CALL
        # On the way upstream.
        self.head = b""
        self.body = b""
        self.mutations = "none"
        self.upstream: ClientConnection | None = None
        self.attempts = 0
        self.ready_at = 0.0
        self.sent_at = 0.0
        self.overhead_seconds = 0.0
        # The answer.
        self.meter: Meter = _NO_METER
        self.answered = False
        self.answered_at = 0.0
        self.response_head: ResponseHead | None = None
        self.response_bytes = 0
        self.client_blocked = False
        self.status: int | None = None
        self.error: str | None = None

    def __repr__(self) -> str:
        state = "settled" if self.settled else "answering" if self.answered else "asking"
        return f"<Exchange {self.id} {state}>"

    # ── 1. route and authenticate: headers only ──

    def begin(self) -> None:
        """Take the head of the request: decide where it goes and whose it is."""
        self.line.live.add(self)
        try:
            self.route = route(self.request)
            self.principal = authenticate(self.request.fields, self.line.auth)
            if (self.request.length or 0) > self.line.limits.body_bytes:
                raise too_large(self.line.limits.body_bytes)
        except RelayError as error:
            self._refuse(error)
        else:
            if self.request.expects_continue:
                self.client.send_continue()

    # ── 2. read: the body, under its cap ──

    def on_body(self, data: bytes) -> None:
        """Keep the next part of the body."""
        self.body_bytes += len(data)
        if self.refusal is not None:
            if self.body_bytes > SMALL_BODY_BYTES:
                self.fail(self.refusal, Ended.REFUSED)
        elif self.body_bytes > self.line.limits.body_bytes:
            limit = self.line.limits.body_bytes
            self.fail(too_large(limit), Ended.REFUSED)
        else:
            self.parts.append(data)

    def on_request_end(self) -> None:
        """The request is whole: answer it here, or send it on."""
        self.ready_at = self.line.clock.monotonic()
        found = self.route
        if self.refusal is not None:
            self.fail(self.refusal, Ended.REFUSED)
            return
        if not found.target:
            self._answer_own(found)
            return
        self.body = b"".join(self.parts)
        self.parts = []
        if found.reads_call:
            self.call = read_call(self.body)
        # ── 3. admit: everybody may, until there are keys and budgets ──
        # ── 4. prepare: the request as the upstream gets it ──
        self.head, self.mutations = prepare(
            self.request, found.target, self.body_bytes, self.line.face, metered=found.metered
        )
        self._forward()

    # ── 5. forward ──

    def _forward(self) -> None:
        connection = self.line.pool.take()
        if connection is None:
            self._connect()
        else:
            self._send(connection)

    def _connect(self) -> None:
        self.sent_at = self.line.clock.monotonic()
        try:
            self.line.pool.open(self)
        except RelayError as error:
            self.fail(error, Ended.REFUSED)

    def on_connected(self, connection: ClientConnection) -> None:
        """The new connection is there; the time it took is not ours."""
        if self.settled:
            self.line.pool.give_back(connection)
            return
        self.ready_at += self.line.clock.monotonic() - self.sent_at
        self._send(connection)

    def on_connect_failed(self, error: RelayError) -> None:
        """No connection could be had."""
        if not self.settled:
            ended = Ended.TIMEOUT if isinstance(error, UpstreamTimeout) else Ended.UPSTREAM_ERROR
            self.fail(error, ended)

    def _send(self, connection: ClientConnection) -> None:
        self.upstream = connection
        self.attempts += 1
        if self.route.metered:
            self.meter = _NOT_BEGUN  # from here on the upstream may charge for it
        connection.send(self.head, self.body, self, bodiless=self.request.method == b"HEAD")
        if self.client_blocked:
            connection.pause_reading()
        self.sent_at = self.line.clock.monotonic()
        self.overhead_seconds = self.sent_at - self.ready_at
        self.deadline = self.sent_at + self.line.limits.first_byte_seconds

    # ── 6. meter: the answer goes by ──

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Pass on what one read of the upstream brought, once the record can be complete."""
        now = self.line.clock.monotonic()
        if head is not None:
            self._start_answer(head, now)
        self.deadline = now + self.line.limits.stream_idle_seconds
        self.response_bytes += len(data)
        self.meter.feed(data)
        if head is not None:
            self.overhead_seconds += self.line.clock.monotonic() - now
        if end:
            self.upstream = None
            self.line.live.discard(self)
        if end or self.meter.over:
            self.settle(Ended.DONE)
        self.client.write(data, end=end)

    def _start_answer(self, head: ResponseHead, now: float) -> None:
        self.answered = True
        self.answered_at = now
        self.response_head = head
        self.status = head.status
        self.body = self.head = b""  # nothing is sent twice from here on
        if self.route.metered:
            self.meter = meter_for(head)
        fields = relayed_fields(head, self.id, self.call.model, self.mutations)
        self.client.start_response(head.status, fields, head.length)

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

    # ── what can come between ──

    def on_client_gone(self) -> None:
        """Nobody is left to answer: end the upstream's work, which costs money."""
        self._drop_upstream()
        self.settle(Ended.CLIENT_GONE)

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """Ask once more where that cannot bill twice, else tell the client."""
        self.upstream = None
        waited_seconds = self.line.clock.monotonic() - self.sent_at
        if may_ask_again(self.attempts, waited_seconds, fresh=fresh, answered=answered):
            self.deadline = math.inf
            self._connect()
        elif isinstance(error, RelayError):
            ours = isinstance(error, InternalError)
            self.fail(error, Ended.INTERNAL_ERROR if ours else Ended.UPSTREAM_ERROR)
        else:
            lost = connection_lost(self.line.pool.origin, error, answered=answered)
            self.fail(lost, Ended.UPSTREAM_ERROR)

    def on_request_error(self, error: RelayError) -> None:
        """The rest of the request cannot be read, or we have failed at it."""
        self.fail(error, Ended.INTERNAL_ERROR if isinstance(error, InternalError) else Ended.REFUSED)

    def expire(self) -> None:
        """The deadline has passed."""
        limits = self.line.limits
        if self.client_blocked:
            self.error = f"the client read nothing for {limits.client_stall_seconds:g} s"
            self._drop_upstream()
            self.settle(Ended.TIMEOUT)
            self.client.abort()
            return
        seconds, name = limits.first_byte_seconds, "first_byte_timeout_seconds"
        if self.answered:
            seconds, name = limits.stream_idle_seconds, "stream_idle_timeout_seconds"
        error = UpstreamTimeout(
            f"The upstream {self.line.pool.origin} sent nothing for {seconds:g} s (`{name}`); try again."
        )
        self.fail(error, Ended.TIMEOUT)

    def shut_down(self) -> None:
        """The worker has no more time for this exchange."""
        self.fail(Overloaded("Ferryman is shutting down; try again in a moment."), Ended.SHUTDOWN)

    # ── answers of our own ──

    def _answer_own(self, found: Route) -> None:
        self.line.live.discard(self)
        self.settled = True  # health checks and the like are no exchanges: no record
        status, headers, body = own_answer(found.path, draining=self.line.draining)
        self.client.start_response(status, own_fields(headers, self.id), len(body))
        self.client.write(b"" if self.request.method == b"HEAD" else body, end=True)

    def _refuse(self, error: RelayError) -> None:
        """Answer `error`: at once if a body that costs something is announced, else behind the body."""
        self.refusal = error
        if (self.request.length or 0) > SMALL_BODY_BYTES or self.request.expects_continue:
            self.fail(error, Ended.REFUSED)

    def fail(self, error: RelayError, ended: Ended) -> None:
        """End the exchange with `error`, told in the way that is still open."""
        self._drop_upstream()
        self.error = error.message
        if self.answered:
            self.settle(ended)
            event = error_event(error, self.id) if self.meter.at_boundary else b""
            self.client.break_off(event, whole=self.meter.over)
            return
        self.answered = True
        self.status = error.status
        fields, body = error_answer(error, self.id)
        self.response_bytes = len(body)
        self.settle(ended)
        self.client.start_response(error.status, fields, len(body))
        self.client.write(b"" if self.request.method == b"HEAD" else body, end=True)

    def _drop_upstream(self) -> None:
        self.line.live.discard(self)
        self.deadline = math.inf
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abort()

    # ── 7. settle: one exit ──

    def settle(self, ended: Ended) -> None:
        """Write the record. Called on every path; only the first call counts.

        Synchronous, so that nothing can come between the end of an exchange and its record.
        """
        if self.settled:
            return
        self.settled = True
        reading = self.meter.reading()
        if ended is Ended.DONE and reading.fault is not None:
            ended, self.error = Ended.UPSTREAM_ERROR, reading.fault
        entry = self._entry(ended, reading)
        try:
            self.line.record(entry)
        except Exception:
            # Whatever it is, the client must not wait for ever because of it.
            log.exception("record lost", id=self.id)

    def _entry(self, ended: Ended, reading: Reading) -> Entry:
        now = self.line.clock.monotonic()
        head = self.response_head
        principal = self.principal
        return Entry(
            id=self.id,
            started_at=datetime.fromtimestamp(self.started_at, UTC),
            method=self.request.method.decode(),
            path=self.route.path or shown(self.request.target),
            ended=ended,
            principal=principal.kind if principal is not None else None,
            credential=principal.credential_kind if principal is not None else None,
            client_address=self.line.client_address(self.client.peer, self.request.fields),
            session_id=self.request.fields.text(SESSION),
            model=self.call.model and self.call.model[:200],
            stream=self.call.stream is True,
            status=self.status,
            error=self.error,
            upstream_request_id=head.fields.text(REQUEST_ID) if head is not None else None,
            attempts=self.attempts,
            usage=reading.usage,
            usage_complete=reading.complete,
            request_bytes=self.body_bytes,
            response_bytes=self.response_bytes,
            time_to_first_byte_seconds=round(self.answered_at - self.started, 6)
            if head is not None
            else None,
            duration_seconds=round(now - self.started, 6),
            overhead_seconds=round(self.overhead_seconds, 6) if self.attempts else None,
        )


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body of more than `limit` bytes."""
    return BodyTooLarge(f"The request body is larger than {limit} bytes (`max_body_bytes`).")
