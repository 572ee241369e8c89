"""One request and its answer, from the head that a client sent to the record of what it came to.

Read from top to bottom: that is the order in which things happen. An exchange has one entry (`begin`) and
one exit (`settle`), and whatever ends it goes through the exit once. There is no task per request: both
connections call the methods below as bytes arrive. Nothing here waits; what must calls back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from ferryman.errors import RelayError
from ferryman.http1.client import Body, ClientConnection
from ferryman.http1.connection import ServerConnection
from ferryman.http1.message import Request, ResponseHead
from ferryman.model import ABSENT, NO_CALL, Call, Cost, Ended
from ferryman.relay import read
from ferryman.relay.answer import last_event, meter_of, shows
from ferryman.relay.attribute import attribute
from ferryman.relay.authenticate import Caller, authenticate, name_of
from ferryman.relay.batch import BatchCall, batch_call
from ferryman.relay.charge import charge
from ferryman.relay.chat import TRANSLATED, Chat, read_chat
from ferryman.relay.flow import Flow
from ferryman.relay.gate import Hold
from ferryman.relay.inline import inlines
from ferryman.relay.line import Line
from ferryman.relay.manners import splices_for
from ferryman.relay.meter import NO_METER, NOT_BEGUN, Meter
from ferryman.relay.ownership import Claim
from ferryman.relay.prepare import prepare
from ferryman.relay.record import DONE, ended_by, outcome, record_of
from ferryman.relay.respond import error_answer, own_answer, relayed_fields
from ferryman.relay.route import route
from ferryman.relay.values import NO_ROUTE, Attribution, Route, joined
from ferryman.wire.names import CODING
from ferryman.wire.splice import Splice, spliced

log = structlog.get_logger("ferryman.relay")


class Exchange(Flow):
    """One request and its answer.

    Attributes whose names don't say it: `body`: as far as it is held, which takes `held_bytes` of
    `line.held_bytes`; `body_bytes`: as far as it has come; `streaming`: it goes upstream as it comes;
    `edits`: of the body, positions in its decoded text; `held_answer`: until its cost can be told in its
    head; `client_gone`: it goes on without its client; `ready_at`: since when nothing but us was waited for;
    `is_resolved`: its model is what is really asked; `is_directed`: its `target` is known.
    """

    __slots__ = (
        "answered_at", "attribution", "batch", "body", "body_bytes", "body_limit", "caller", "chat", "claim",
        "cost", "edits", "head", "held_answer", "held_bytes", "hold", "is_directed", "is_resolved",
        "mutations", "opening", "overhead_seconds", "ready_at", "refusal", "response_bytes", "settled",
        "started", "started_at", "status",
    )  # fmt: skip

    def __init__(self, line: Line, client: ServerConnection, request: Request) -> None:
        self.line, self.client, self.request = line, client, request
        self.target = line.targets[0]
        self.started_at = line.now()
        self.started = line.monotonic()
        self.id = line.ids.next(self.started_at)
        self.deadline = math.inf
        self.settled = self.streaming = self.answered = self.client_blocked = self.client_gone = False
        self.route, self.call = NO_ROUTE, NO_CALL
        self.caller: Caller | None = None
        self.claim: Claim | None = None
        self.batch: BatchCall | None = None
        self.hold: Hold | None = None
        self.refusal: RelayError | None = None
        self.body: Body = b""
        self.body_bytes = self.body_limit = self.held_bytes = self.response_bytes = self.attempts = 0
        self.attribution: Attribution | None = None
        self.head = self.opening = b""
        self.mutations = "none"
        self.edits: Sequence[Splice] = ()
        self.is_resolved = self.is_directed = False
        self.chat: Chat | None = None
        self.fetching = None
        self.upstream: ClientConnection | None = None
        self.ready_at = self.sent_at = self.answered_at = self.overhead_seconds = 0.0
        self.meter: Meter = NO_METER
        self.response_head: ResponseHead | None = None
        self.held_answer: bytearray | None = None
        self.cost: Cost | None = None
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
            self.line = line = self.line.of(self.route)
            self.target = line.targets[0]
            if self.route.target:
                self.caller = authenticate(self.request.fields, line.auth, line.check, self.started_at)
                line.enter(self)
            self.body_limit = read.room_for(self.route, self.request, line.held_bytes, line.limits)
        except RelayError as error:
            self._refuse(error)
        else:
            if self.request.expects_continue:
                self.client.send_continue()

    # ── 2. read: the body, under its caps; a large one that nobody looks into goes on as it comes ──

    def on_body(self, data: bytes) -> None:
        """Take the next part of the body."""
        self.body_bytes += len(data)
        if self.refusal is not None:
            if self.body_bytes > read.SMALL_BODY_BYTES:
                self.fail(self.refusal)
        elif self.body_bytes > self.body_limit:
            self.fail(read.too_large(self.route, self.line.limits))
        elif self.streaming and self.upstream is not None:
            self.deadline = self.line.monotonic() + self.line.limits.first_byte_seconds
            self.upstream.write_body(data)
        elif self.route.target:
            self._hold(data)

    def _hold(self, data: Body) -> None:
        line = self.line
        line.held_bytes += len(data)
        self.held_bytes += len(data)
        if line.held_bytes > line.limits.held_bytes:
            self.fail(read.no_room(line.limits.held_bytes))
            return
        self.body = joined(self.body, data, ends=self.body_bytes == self.request.length)
        if self.body_bytes > read.SMALL_BODY_BYTES and not (self.route.whole or self.streaming):
            self.streaming = True
            self.client.hold_back()
            self._on_call(NO_CALL, self.body)

    def _let_go(self) -> None:
        """Forget the request: nothing of it is sent again from here on."""
        self.line.held_bytes -= self.held_bytes
        self.held_bytes = 0
        self.body = self.head = b""

    def on_request_end(self) -> None:
        """The request is whole: answer it here, or send it on."""
        if self.refusal is not None:
            self.fail(self.refusal)
        elif not self.route.target:
            self._answer_own(self.route)
        elif self.streaming:
            if self.upstream is not None:
                self.upstream.end_request()
        elif not self.route.reads_call:
            self._on_call(NO_CALL, self.body)
        elif self.route.chat:
            read_chat(self)
        elif (coding := self.request.fields.found.get(CODING)) is None:
            self._on_call(read.call_in(self.body), self.body)
        else:
            reading = read.call_aside(self.body, coding, self.line.limits, self._on_call)
            self.line.tasks.spawn(reading, "decode")

    def go_on_with(self, body: Body, chat: Chat) -> None:
        """Take `body`, into which a chat completion was made, in the place of the one that came."""
        self.chat, self.edits = chat, [TRANSLATED]
        self._let_go()
        self._hold(body)
        self._on_call(read.call_in(body), body)

    def _on_call(self, call: Call | RelayError, text: Body) -> None:
        if isinstance(call, RelayError):
            self.fail(call)
        elif not self.settled:  # the client may have left meanwhile
            self.ready_at = self.line.monotonic()
            self.call = call
            self.admit(text)

    # ── 3. admit ──

    def admit(self, text: Body) -> None:
        """See whether the call, with the decoded body `text`, may go on; called again after a wait."""
        try:
            if self.attribution is None:
                self.attribution = attribute(self.request.fields, self.call)
                self.batch = batch_call(self) if self.route.batch == "create" else None
            if self.line.admits(self, text) and not inlines(self, text):
                self.go_on(text)
        except RelayError as error:
            self.fail(error)

    # ── 4. prepare ──

    def go_on(self, text: Body) -> None:
        """Send what was let through, perhaps after a wait for what it names."""
        try:
            if self._prepare(text):
                self._forward()
        except RelayError as error:
            self.fail(error)

    def _prepare(self, text: Body) -> bool:
        target = self.target
        if self.edits or target.edits or self.call.litellm_metadata is not ABSENT:
            self._edit(text)
        body = None if self.streaming else self.body
        face = target.face_for(self.caller) if target.shows_user else target.face
        self.head, self.mutations = prepare(
            self.request, self.route, body, face, peer=self.client.peer, edits=self.edits
        )
        self.line.recorder.opened(self)
        return not self.settled

    def _edit(self, text: Body) -> None:
        manners, caller = self.target.manners, self.caller
        self.edits = splices_for(text, self.call, self.route, manners, name_of(caller), self.edits)
        if self.edits:
            self._let_go()
            self._hold(spliced(text, self.edits))

    # ── 5. forward ──

    def _forward(self) -> None:
        # A body that is under way cannot be sent again: its connection is new.
        if self.streaming or (connection := self.target.pool.take()) is None:
            self._connect()
        else:
            self._send(connection)

    def _connect(self) -> None:
        self.sent_at = self.line.monotonic()
        try:
            self.target.pool.open(self)
        except RelayError as error:
            self.fail(error)

    def _ask_again(self) -> None:
        self.line.recorder.opened_again(self)
        self._connect()

    def on_connected(self, connection: ClientConnection) -> None:
        """The new connection is there; the time it took is not ours."""
        if self.settled:
            self.target.pool.give_back(connection)
            return
        self.ready_at += self.line.monotonic() - self.sent_at
        self._send(connection)

    def on_connect_failed(self, error: RelayError) -> None:
        """No connection could be had."""
        if not self.settled:
            self.fail(error)

    def _send(self, connection: ClientConnection) -> None:
        self.upstream = connection
        self.attempts += 1
        if self.route.metered:
            self.meter = NOT_BEGUN  # from here on the upstream may charge for it
        if self.streaming:
            self._begin_streaming(connection, bodiless=self.request.method == b"HEAD")
        else:
            connection.send(self.head, self.body, self, bodiless=self.request.method == b"HEAD")
        if self.client_blocked:
            connection.pause_reading()
        self.sent_at = self.line.monotonic()
        self.overhead_seconds = self.sent_at - self.ready_at
        self.deadline = self.sent_at + self.line.limits.first_byte_seconds

    def _begin_streaming(self, connection: ClientConnection, *, bodiless: bool) -> None:
        connection.begin_request(self.head, self, bodiless=bodiless, chunked=self.request.length is None)
        connection.write_body(self.body)
        self._let_go()
        if self.request.complete:
            connection.end_request()
        elif not connection.blocked:
            self.client.let_come()

    # ── 6. meter: the answer goes by ──

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Pass on what one read of the upstream brought, once the record can be complete."""
        now = self.line.monotonic()
        if head is not None:
            self._start_answer(head, now)
        self.deadline = now + self.line.limits.stream_idle_seconds
        self.response_bytes += len(data)
        self.meter.feed(data)
        if head is not None:
            self.overhead_seconds += self.line.monotonic() - now
        if end:
            self.upstream = None
        if self.held_answer is None:
            self._pass_on(data, end=end)
            return
        self.held_answer += data
        if end or not self.meter.holds:
            self.show(self.held_answer, end=end)

    def show(self, held: bytearray, *, end: bool) -> None:
        """Go on with an answer that was held; called again after a wait."""
        if shows(self, held, end=end):
            self.held_answer = None
            self._pass_on(bytes(held), end=end)

    def _pass_on(self, data: bytes, *, end: bool) -> None:
        if end:
            self.line.leave(self)
        if end or self.meter.over:
            self.settle(DONE)
        if not self.answered and self.response_head is not None:
            self._begin_answer(self.response_head)
        self.client.write(data if self.chat is None else self.chat.passed(data, end=end), end=end)

    def _start_answer(self, head: ResponseHead, now: float) -> None:
        self.answered_at, self.response_head, self.status = now, head, head.status
        self._let_go()
        self.meter = meter_of(self, head)
        if self.meter.holds:
            self.held_answer = bytearray()
        else:
            self._begin_answer(head)

    def _begin_answer(self, head: ResponseHead) -> None:
        self.answered = True
        gate = self.line.gate
        kept = head.fields.kept if gate is None else gate.told(self, head.fields.kept)
        fields = relayed_fields(kept, self.id, self.call.model, self.mutations, self.cost)
        self.client.start_response(head.status, fields, head.length)

    # ── answers of our own ──

    def _answer_own(self, found: Route) -> None:
        self.line.leave(self)
        self.settled = True  # health checks and the like are no exchanges: no record
        self._answer(*own_answer(found.path, self.id, self.line.state))

    def _answer(self, status: int, fields: bytes, body: bytes) -> None:
        self.client.start_response(status, fields, len(body))
        self.client.write(b"" if self.request.method == b"HEAD" else body, end=True)

    def _refuse(self, error: RelayError) -> None:
        """Answer `error`: behind the body, or at once, which ends the connection."""
        self.refusal = error.with_traceback(None)  # its frames hold us: we would wait for the collector
        if read.ends_at_once(error, self.request):
            self.fail(error)

    def fail(self, error: RelayError, ended: Ended | None = None) -> None:
        """End the exchange with `error`, told in the way that is still open."""
        self._drop_upstream()
        ended = ended or ended_by(error)
        self.error = error.message
        if self.answered:
            self.settle(ended)
            self.client.break_off(last_event(self, error), whole=self.meter.over)
            return
        self.answered = True
        self.status = error.status
        fields, body = error_answer(error, self.id, chat=self.route.chat)
        self.response_bytes = len(body)
        self.settle(ended)
        self._answer(error.status, fields, body)

    def on_request_error(self, error: RelayError) -> None:
        """The rest of the request cannot be read, or we have failed at it."""
        self.fail(error)

    def _drop_upstream(self) -> None:
        self.line.leave(self)
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
        self.settled, line = True, self.line
        if self.held_bytes:
            self._let_go()
        reading = self.meter.reading()
        ended, self.error = outcome(ended, self.error, reading.fault, client_gone=self.client_gone)
        try:
            usage, self.cost = charge(self, reading)
            line.settle(self, usage)
            line.recorder.closed(record_of(self, ended, usage, complete=reading.complete))
        except Exception:  # whatever it is, the client must not wait for ever because of it
            log.exception("record lost", id=self.id)
