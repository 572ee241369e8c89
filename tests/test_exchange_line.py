"""One exchange, one record: what is in it, and that every order of events ends in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ferryman.http1.connection import ServerConnection
from ferryman.http1.message import Request
from ferryman.http1.server import Server
from ferryman.model import Ended, Entry
from ferryman.relay.exchange import Exchange
from ferryman.relay.forward import shutting_down
from ferryman.relay.respond import error_answer
from ferryman.relay.worker import Worker
from ferryman.settings import Settings
from tests.support.gateway import HeldClock
from tests.support.raw import get, post

START = b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
DELTA = b'data: {"type":"content_block_delta"}\n\n'
STOP = b'data: {"type":"message_delta","usage":{"output_tokens":5}}\n\ndata: {"type":"message_stop"}\n\n'
ERROR = b'data: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
USAGE = b'{"id":"msg_1","usage":{"input_tokens":3,"output_tokens":4}}'


class Wire(asyncio.Transport):
    """A transport without a network; it treats its protocol as asyncio's does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.loop = loop
        self.protocol = protocol
        self.written = b""
        self.reading = True
        self.closing = False
        self.lost = False
        protocol.connection_made(self)

    def bring(self, data: bytes) -> None:
        """Bytes arrive."""
        if self.closing or not self.reading:
            return
        try:
            self.protocol.data_received(data)
        except Exception as error:  # noqa: BLE001  # as asyncio does
            self.loop.call_exception_handler({"message": "data_received() failed", "exception": error})
            self.lose(error)

    def lose(self, error: Exception | None) -> None:
        """The connection ends."""
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self.lost = True
        self.protocol.connection_lost(error)

    def write(self, data: Any) -> None:
        if not self.closing:
            self.written += data

    def close(self) -> None:
        self.lose(None)

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def write_eof(self, *_: object) -> None:
        """Nothing to do."""

    setsockopt = write_eof  # as the socket

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default


class EdgeLoop(asyncio.SelectorEventLoop):
    """A loop on which a test decides when and how a connection comes to be."""

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[asyncio.Future[None]] = []
        self.upstreams: list[Wire] = []

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Be connected at once; what a test holds back comes after it."""

    async def create_connection(self, protocol_factory: Any, *_: Any, **options: Any) -> Any:
        options["sock"].close()
        dial = self.create_future()
        self.dials.append(dial)
        await dial
        protocol = protocol_factory()
        wire = Wire(self, protocol)
        self.upstreams.append(wire)
        return wire, protocol


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\nRequest-Id: req_1\r\nContent-Type: %b\r\n"
BROUGHT = {
    "whole": HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(USAGE) + USAGE,
    "closing": HEAD % b"application/json" + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
    "part": HEAD % b"application/json" + b"Content-Length: 99\r\n\r\n{",
    "stream": HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(START),
    "event": chunk(DELTA),
    "half-event": chunk(DELTA[:9]),
    "stop": chunk(STOP),
    "error": chunk(ERROR),
    "end": b"0\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early\r\n\r\n",
}
BODY = b'{"model":"m","stream":true}'
ASK = post(
    BODY,
    path=b"/anthropic/v1/messages?beta=true",
    headers=b"X-Claude-Code-Session-Id: s-1\r\nX-Api-Key: k\r\n",
)
SAID = {
    "ask": ASK,
    "half": ASK[:-9],
    "rest": ASK[-9:],
    "wrong": post(b"{}", path=b"/nope"),
    "large": b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: 99999999\r\n\r\nx",
    "chunked": b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{",
    "own": get(b"/health"),
    "json": post(b'{"model":"n","stream":false}'),
    "rubbish": b"rubbish\r\n\r\n",
}
OTHER = (
    *("leave", "reset", "block", "ready", "connect", "refuse"),
    *("lose", "break", "soon", "late", "shut", "tick"),
)


class Stage:
    """A line between a client and an upstream that do what a test says."""

    def __init__(self, loop: EdgeLoop, record: Callable[[Entry], None]) -> None:
        self.loop = loop
        self.clock = HeldClock()
        self.made: list[Exchange] = []
        options = Settings(
            upstream_url="http://192.0.2.1", anthropic_api_key="sk", upstream_max_connections=2
        )
        worker = Worker(
            options, record=lambda line: record(msgspec.json.decode(line, type=Entry)), clock=self.clock
        )
        self.line = worker.line
        self.server = Server(
            self._new,
            lambda error: error_answer(error, "none"),
            monotonic=self.clock.monotonic,
            limits=worker.server.limits,
            reader=worker.server.reader,
        )
        self.blocked = False
        self.client = self.open()

    def _new(self, client: ServerConnection, request: Request) -> Exchange:
        self.made.append(Exchange(self.line, client, request))
        return self.made[-1]

    def open(self) -> Wire:
        """A client connects."""
        self.blocked = False
        self.client = Wire(self.loop, ServerConnection(self.server))
        return self.client

    async def play(self, *steps: str) -> None:
        """Do one thing after the other; what cannot be done now is left out."""
        for step in steps:
            self.do(step)
            await self.settle() if step != "tick" else await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let everything happen that follows by itself."""
        for _ in range(8):
            await asyncio.sleep(0)

    def do(self, step: str) -> None:
        if step in SAID:
            (self.open() if self.client.closing else self.client).bring(SAID[step])
        elif step in BROUGHT or step in {"lose", "break"}:
            self._do_upstream(step)
        elif step in {"connect", "refuse"}:
            for dial in [dial for dial in self.loop.dials if not dial.done()][:1]:
                dial.set_result(None) if step == "connect" else dial.set_exception(OSError(111, "refused"))
        elif step in {"leave", "reset"}:
            self.client.lose(ConnectionResetError("reset") if step == "reset" else None)
        elif step in {"block", "ready"} and self.blocked is (step == "ready"):
            self.blocked = not self.blocked
            self.loop.call_soon(self._pass_on_block)
        elif step in {"soon", "late"}:
            self.clock.seconds += 1 if step == "soon" else 1000
            self.loop.call_soon(self._sweep)
        elif step == "shut":
            for exchange in list(self.line.live):
                self.loop.call_soon(exchange.fail, shutting_down(), Ended.SHUTDOWN)

    def _do_upstream(self, step: str) -> None:
        for wire in [wire for wire in self.loop.upstreams if not wire.closing][-1:]:
            reason = ConnectionResetError("reset") if step == "break" else None
            wire.bring(BROUGHT[step]) if step in BROUGHT else wire.lose(reason)

    def _pass_on_block(self) -> None:
        if not self.client.lost:
            protocol = self.client.protocol
            protocol.pause_writing() if self.blocked else protocol.resume_writing()

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        self.line.sweep(now)
        self.server.sweep(now)
        self.line.targets[0].pool.sweep(now)

    async def end(self) -> None:
        """The client leaves, connects come through, and idle connections age out."""
        await self.play("leave", "connect", "connect", "connect", "late")


def on_stage(work: Callable[[Stage], Any], record: Callable[[Entry], None]) -> list[dict[str, Any]]:
    """Run `work` on a stage; what went wrong on its loop."""
    wrong: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EdgeLoop)
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        stage = Stage(loop, record)
        await work(stage)
        await stage.line.targets[0].pool.close()

    with asyncio.Runner(loop_factory=EdgeLoop) as runner:
        runner.run(main())
    return wrong


STEPS = st.lists(st.sampled_from([*SAID, *BROUGHT, *OTHER]), max_size=25)
LIKELY = st.sampled_from([["ask", "connect"], ["ask", "connect", "stream"], ["half", "rest"], []])


@settings(max_examples=500)
@given(first=LIKELY, steps=STEPS)
@example(first=["ask", "connect", "whole", "ask", "tick"], steps=["break", "leave", "connect"])
def test_any_order_of_events_ends_each_exchange_once(first: list[str], steps: list[str]) -> None:
    entries: list[Entry] = []

    async def work(stage: Stage) -> None:
        await stage.play(*first, *steps)
        assert all(exchange.upstream for exchange in stage.line.live if exchange.settled)
        await stage.end()
        recorded = {exchange.id for exchange in stage.made if exchange.route.path != "/health"}
        assert sorted(entry.id for entry in entries) == sorted(recorded)
        assert all(exchange.settled for exchange in stage.made)
        assert not stage.line.live
        assert not stage.server.connections
        assert stage.line.targets[0].pool.open_count == 0
        assert all(wire.lost for wire in stage.loop.upstreams)

    assert on_stage(work, entries.append) == []
    for entry in entries:
        assert (
            min(entry.duration_seconds, entry.overhead_seconds or 0, entry.time_to_first_byte_seconds or 0)
            >= 0
        )
        assert (entry.error is None) == (entry.ended in {"done", "client_gone"})


ENDINGS = {
    "done": ("ask connect whole", "done", 200, 1),
    "stream": ("ask connect interim stream event stop end", "done", 200, 1),
    "stopped": ("ask connect stream stop leave", "done", 200, 1),
    "stopped-then-lost": ("ask connect stream stop lose", "done", 200, 1),
    "error-event": ("ask connect stream error end", "upstream_error", 200, 1),
    "no-stop": ("ask connect stream end", "upstream_error", 200, 1),
    "lost-before": ("ask connect lose", "upstream_error", 502, 1),
    "lost-within": ("ask connect stream break", "upstream_error", 200, 1),
    "lost-within-event": ("ask connect stream half-event break", "upstream_error", 200, 1),
    "lost-within-json": ("ask connect part lose", "upstream_error", 502, 1),
    "garbage": ("ask connect garbage", "upstream_error", 502, 1),
    "garbage-within": ("ask connect stream garbage", "upstream_error", 200, 1),
    "refused-connect": ("ask refuse", "upstream_error", 502, 0),
    "gone-reading": ("half leave", "client_gone", None, 0),
    "gone-connecting": ("ask reset connect", "client_gone", None, 0),
    "gone-waiting": ("ask connect leave", "client_gone", None, 1),
    "gone-streaming": ("ask connect stream reset", "client_gone", 200, 1),
    "slow-first-byte": ("ask connect late", "timeout", 504, 1),
    "pause": ("ask connect stream late", "timeout", 200, 1),
    "stalled-client": ("ask connect stream block event late", "timeout", 200, 1),
    "wrong-path": ("wrong", "refused", 404, 0),
    "too-large": ("large", "refused", 413, 0),
    "slow-body": ("half late", "refused", 408, 0),
    "bad-body": ("chunked rubbish", "refused", 400, 0),
    "shutdown-reading": ("half shut", "shutdown", 529, 0),
    "shutdown-connecting": ("ask shut connect", "shutdown", 529, 0),
    "shutdown-waiting": ("ask connect shut", "shutdown", 529, 1),
    "shutdown-streaming": ("ask connect stream shut", "shutdown", 200, 1),
    "again": ("ask connect closing ask connect whole", "done", 200, 1),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_each_ending_has_its_record(name: str) -> None:
    steps, ended, status, attempts = ENDINGS[name]
    entries: list[Entry] = []

    async def work(stage: Stage) -> None:
        await stage.play(*steps.split())
        assert len(entries) == len(stage.made)
        assert f"{stage.made[-1]!r}".endswith(" settled>")

    assert on_stage(work, entries.append) == []
    assert (entries[-1].ended, entries[-1].status, entries[-1].attempts) == (ended, status, attempts)


def played(steps: str) -> list[Entry]:
    """The records that `steps` leave, with nothing gone wrong."""
    entries: list[Entry] = []

    async def work(stage: Stage) -> None:
        await stage.play(*steps.split())

    assert on_stage(work, entries.append) == []
    return entries


def test_entry_of_a_stream_tells_all_of_it() -> None:
    (entry,) = played("ask connect soon stream soon event soon stop end")
    assert (entry.method, entry.path) == ("POST", "/anthropic/v1/messages")
    assert (entry.model, entry.stream, entry.status, entry.ended) == ("m", True, 200, "done")
    assert (entry.principal, entry.credential, entry.session_id) == ("open", "x-api-key", "s-1")
    assert (entry.upstream_request_id, entry.attempts, entry.error) == ("req_1", 1, None)
    assert (entry.request_bytes, entry.response_bytes) == (len(BODY), len(START + DELTA + STOP))
    assert entry.usage is not None
    assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.usage_complete) == (9, 5, True)
    assert (entry.time_to_first_byte_seconds, entry.duration_seconds, entry.overhead_seconds) == (1, 3, 0)
    assert entry.started_at.timestamp() == HeldClock().now()


def test_entry_of_a_json_call_tells_all_of_it_and_the_time_of_a_connect_is_not_ours() -> None:
    (entry,) = played("json soon connect soon whole")
    assert (entry.path, entry.model, entry.stream, entry.status) == ("/v1/messages", "n", False, 200)
    assert (entry.session_id, entry.credential, entry.upstream_request_id) == (None, "none", "req_1")
    assert (entry.request_bytes, entry.response_bytes) == (28, len(USAGE))
    assert entry.usage is not None
    assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.usage_complete) == (3, 4, True)
    assert (entry.time_to_first_byte_seconds, entry.duration_seconds, entry.overhead_seconds) == (2, 2, 0)


def test_entry_of_a_broken_stream_tells_what_was_seen() -> None:
    (entry,) = played("ask connect stream leave")
    assert entry.usage is not None
    assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.usage_complete) == (9, 1, False)
    assert entry.response_bytes == len(START)


def test_request_lost_on_a_kept_connection_is_one_exchange_with_two_attempts() -> None:
    entries = played("ask connect whole ask break connect whole")
    assert [(entry.ended, entry.status, entry.attempts) for entry in entries] == [
        ("done", 200, 1),
        ("done", 200, 2),
    ]


def test_entry_of_a_refused_request_has_no_times_of_an_upstream() -> None:
    (entry,) = played("wrong")
    assert (entry.time_to_first_byte_seconds, entry.overhead_seconds, entry.upstream_request_id) == (
        None,
    ) * 3
    assert "/nope" in str(entry.error)
