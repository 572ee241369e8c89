"""The end of a worker, and that nothing but its end keeps it from serving."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from ferryman.errors import RelayError
from ferryman.http1.client import ClientConnection
from ferryman.model import Entry
from ferryman.relay.meter import HELD_ANSWER_BYTES
from ferryman.relay.recorder import Recorder
from ferryman.relay.worker import build_line
from ferryman.settings import Settings
from tests.conftest import KEY, Bench
from tests.support.edge import Connection
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, get, post
from tests.test_exchange_line import ENDINGS, START, STOP, USAGE, EdgeLoop, Stage, Wire, on_stage

ASK = post(b'{"model":"m","stream":true}')
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Held:
    """An upstream that begins a stream and ends it when the test says so."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.closed = threading.Event()

    def script(self, connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(START)
        try:
            if self.go.wait(10):
                connection.chunk(STOP)
                connection.chunk(b"")
            connection.wait_closed()
        finally:
            self.closed.set()


def silent(connection: Connection) -> None:
    """Takes a request and never answers."""
    connection.request()
    connection.wait_closed()


def test_running_stream_is_let_finish_and_the_worker_ends_with_it(line: Bench) -> None:
    held = Held()
    gateway, _ = line.pair(held.script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        client.read_until(START)
        began = time.monotonic()
        stopping = gateway.begin_stop(10)
        gateway.until(lambda: gateway.worker.line.draining)
        assert not stopping.done()
        held.go.set()
        assert client.read_to_end().endswith(STOP + b"\r\n0\r\n\r\n")
        stopping.result(10)
    assert time.monotonic() - began < 5, "it waits for what runs, not for its grace"
    assert (gateway.entry().ended, gateway.entry().usage_complete) == ("done", True)


def test_running_call_is_let_finish_on_a_connection_that_then_closes(line: Bench) -> None:
    go = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        assert go.wait(10)
        connection.answer()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}") + post(b'{"second":1}'))
        gateway.until(lambda: upstream.requests)
        stopping = gateway.begin_stop(10)
        gateway.until(lambda: gateway.worker.line.draining)
        go.set()
        answer = client.response()
        assert (answer.status, answer.values(b"connection")) == (200, [b"close"])
        assert client.read_to_end() == b""
        stopping.result(10)
    assert len(upstream.requests) == 1


@LOOPS
def test_new_connections_are_refused_and_idle_ones_closed(line: Bench, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop)
    with ExitStack() as stack:
        busy, idle, unused = (stack.enter_context(RawClient(gateway.port)) for _ in range(3))
        assert idle.ask(get(b"/health")).status == 200
        busy.send(ASK)
        busy.read_until(START)
        stopping = gateway.begin_stop(10)
        assert idle.read_to_end() == unused.read_to_end() == b""
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
        assert not stopping.done()
        held.go.set()
        busy.read_to_end()
        stopping.result(10)


@LOOPS
def test_stream_beyond_the_grace_ends_with_an_error_event(line: Bench, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        client.read_until(START + b"\r\n")
        gateway.stop(0.05)
        held.go.set()
        data = client.read_to_end()
    event = data[data.index(b"event: error\ndata: ") + 19 :].split(b"\n\n")[0]
    error = json.loads(event)
    entry = gateway.entry()
    assert (error["error"]["type"], error["request_id"]) == ("overloaded_error", entry.id)
    assert not data.endswith(b"0\r\n\r\n"), "a broken stream must not end cleanly"
    assert (entry.ended, entry.status, entry.usage_complete) == ("shutdown", 200, False)
    assert held.closed.wait(10)


@LOOPS
def test_request_beyond_the_grace_gets_529(line: Bench, loop: str) -> None:
    gateway, upstream = line.pair(silent, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        gateway.until(lambda: upstream.requests)
        gateway.stop(0.05)
        answer = client.response()
    assert (answer.status, answer.values(b"retry-after")) == (529, [b"1"])
    assert json.loads(answer.body)["error"]["type"] == "overloaded_error"
    assert (gateway.entry().ended, gateway.entry().status) == ("shutdown", 529)


def test_answer_that_cannot_carry_an_event_is_cut_beyond_the_grace(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n"
        connection.send(head + b"{" + b" " * HELD_ANSWER_BYTES)
        connection.wait_closed()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        client.read_until(b"{")
        gateway.stop(0)
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert gateway.entry().ended == "shutdown"


def test_every_running_exchange_has_its_record_when_the_grace_is_over(line: Bench) -> None:
    gateway, upstream = line.pair(silent)
    with ExitStack() as stack:
        for number in range(20):
            client = stack.enter_context(RawClient(gateway.port))
            client.send(post(b"{}") if number % 2 else ASK[:-3])
        gateway.until(lambda: len(upstream.requests) == 10 and len(gateway.worker.line.live) == 20)
        gateway.stop(0)
        worker = gateway.worker
        assert len(gateway.entries) == len({entry.id for entry in gateway.entries}) == 20
        assert {entry.ended for entry in gateway.entries} == {"shutdown"}
        assert (worker.line.live, worker.server.connections) == (set(), set())
    assert worker.line.targets[0].pool.open_count == 0


def test_stop_twice_is_harmless(line: Bench) -> None:
    held = Held()
    gateway, _ = line.pair(held.script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        client.read_until(START)
        first, second = gateway.begin_stop(10), gateway.begin_stop(0)
        second.result(5)
        first.result(5)
        client.read_to_end()
        gateway.begin_stop(0).result(5)
        held.go.set()
    assert [entry.ended for entry in gateway.entries] == ["shutdown"]


# ── what cannot be recorded keeps nobody waiting ──


class FailingOnce(Gateway):
    """Keeps every record, and fails at the first."""

    def _record(self, record: bytes) -> None:
        super()._record(record)
        if len(self.entries) == 1:
            raise RuntimeError("the disk is full")


@pytest.mark.parametrize("name", ENDINGS)
def test_record_that_cannot_be_made_ends_neither_the_answer_nor_the_worker(name: str) -> None:
    kept: list[Entry] = []

    def failing_once(entry: Entry) -> None:
        kept.append(entry)
        if len(kept) == 1:
            raise RuntimeError("the disk is full")

    async def work(stage: Stage) -> None:
        client = stage.client
        await stage.play(*ENDINGS[name][0].split())
        assert client.lost or client.written
        assert not stage.line.live or stage.made[0].meter.over
        await stage.end()
        stage.open()
        await stage.play("ask", "connect", "whole")
        assert stage.client.written.startswith(b"HTTP/1.1 200 ")
        assert stage.client.written.endswith(USAGE)
        await stage.end()
        assert (stage.line.live, stage.line.targets[0].pool.open_count) == (set(), 0)
        assert not stage.server.connections

    on_stage(work, failing_once)
    assert len(kept) >= 2


@pytest.mark.parametrize("path", [b"/v1/messages", b"/nope"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_record_that_cannot_be_made_leaves_nobody_waiting(line: Bench, path: bytes, pipelined: bool) -> None:
    upstream = line.upstream()
    with FailingOnce(Settings(port=0, upstream_url=upstream.url, anthropic_api_key=KEY)) as gateway:
        with RawClient(gateway.port) as client, contextlib.suppress(ConnectionError):
            client.send(get(b"/health") * pipelined + post(b"{}", path=path))
            for _ in range(1 + pipelined):
                client.response()  # or a closed connection; not a time-out
        with RawClient(gateway.port) as client:
            assert client.ask(post(b"{}")).status == 200


def test_record_that_cannot_be_made_does_not_hold_up_the_end(line: Bench) -> None:
    upstream = line.upstream(silent)
    options = Settings(port=0, upstream_url=upstream.url, anthropic_api_key=KEY)
    with FailingOnce(options) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(3)]
        for client in clients:
            client.send(post(b"{}"))
        gateway.until(lambda: len(upstream.requests) == len(clients))
        gateway.stop(0)
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.response().status == 529
        assert len(gateway.entries) == len(clients)


class LateLoop(EdgeLoop):
    """Its connections come to be, and are given up before `create_connection` returns."""

    async def create_connection(self, protocol_factory: Any, *_: Any, **options: Any) -> Any:
        options["sock"].close()
        wire = Wire(self, protocol_factory())
        try:
            await self.create_future()
        except BaseException:
            wire.close()  # as asyncio's own does
            raise


@pytest.mark.parametrize("how", ["closed", "timed-out"])
def test_connection_given_up_in_the_moment_it_is_made_is_counted_once(how: str) -> None:
    async def main() -> None:
        options = Settings(
            upstream_url="http://192.0.2.1", anthropic_api_key="sk", connect_timeout_seconds=0.1
        )
        line = build_line(options, clock=HeldClock(), recorder=Recorder(lambda _: None))
        failed = asyncio.Event()

        class Waiter:
            def on_connected(self, connection: ClientConnection) -> None:
                raise AssertionError(connection)

            def on_connect_failed(self, error: RelayError) -> None:
                failed.set()

        line.targets[0].pool.open(Waiter())
        await asyncio.sleep(0)
        await (line.targets[0].pool.close() if how == "closed" else failed.wait())
        await asyncio.sleep(0)
        assert line.targets[0].pool.open_count == 0

    with asyncio.Runner(loop_factory=LateLoop) as runner:
        runner.run(main())


def test_what_one_sees_in_a_debugger_tells_the_state() -> None:
    async def work(stage: Stage) -> None:
        def seen() -> list[str]:
            return [
                repr(one)
                for one in (stage.made[-1], stage.client.protocol, stage.line, stage.line.targets[0].pool)
            ]

        await stage.play("ask")
        assert [text.rpartition(" ")[2] for text in seen()[:2]] == ["asking>", "busy>"]
        assert "1 live" in seen()[2]
        assert "1 open, 0 idle" in seen()[3]
        await stage.play("connect", "stream")
        assert seen()[0] == f"<Exchange {stage.made[0].id} answering>"
        assert repr(stage.loop.upstreams[0].protocol) == "<ClientConnection busy, 1 requests>"
        await stage.play("stop", "end")
        assert [text.rpartition(" ")[2] for text in seen()[:2]] == ["settled>", "idle>"]
        assert "0 live" in seen()[2]
        assert "1 open, 1 idle" in seen()[3]
        assert repr(stage.loop.upstreams[0].protocol) == "<ClientConnection idle, 1 requests>"
        await stage.play("rubbish", "late")
        assert repr(stage.client.protocol).endswith(" closing>")
        assert repr(stage.loop.upstreams[0].protocol) == "<ClientConnection closed, 1 requests>"

    assert on_stage(work, lambda _: None) == []
