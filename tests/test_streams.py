"""Streams: how they flow, how they end, and who is told."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from ferryman.relay.meter import HELD_ANSWER_BYTES
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, get, post

START = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
)
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
END = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
ASK = post(b'{"model":"m","stream":true}')


ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


class Steps:
    """A stream that goes on when the test says so."""

    def __init__(self, *pieces: bytes, headers: bytes = b"") -> None:
        self.pieces = pieces
        self.headers = headers
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()

    def script(self, connection: Connection) -> None:
        connection.request()
        connection.begin_stream(self.headers)
        for piece in self.pieces:
            assert self.go.acquire(timeout=10)
            connection.chunk(piece)
        connection.wait_closed()
        self.closed.set()


def test_head_and_each_event_go_out_as_they_come(line: Bench) -> None:
    steps = Steps(START, DELTA)
    gateway, _ = line.pair(steps.script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        for event in (START, DELTA):
            steps.go.release()
            assert client.read_until(event + b"\r\n").startswith(b"%x\r\n" % len(event))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_client_that_leaves_ends_the_upstream(line: Bench, loop: str) -> None:
    steps = Steps(START)
    gateway, _ = line.pair(steps.script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        steps.go.release()
        client.read_until(START)
    assert steps.closed.wait(1)
    entry = gateway.entry()
    assert (entry.ended, entry.usage_complete, entry.status) == ("client_gone", False, 200)
    assert entry.usage is not None
    assert entry.usage.input_tokens == 9
    assert gateway.run(
        lambda: (gateway.worker.line.live, gateway.worker.line.targets[0].pool.open_count)
    ) == (set(), 0)


def test_client_that_leaves_before_the_answer_ends_the_upstream(line: Bench) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.wait_closed()
        closed.set()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(post(b'{"stream":true}'))
        gateway.until(lambda: upstream.requests)
    assert closed.wait(1)
    entry = gateway.entry()
    assert (entry.ended, entry.status) == ("client_gone", None)
    assert not entry.usage_complete, "the upstream may charge for it all the same"


def test_client_that_leaves_while_connecting_costs_no_request(
    line: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    client_gone, said = threading.Event(), []

    def script(connection: Connection) -> None:
        assert client_gone.wait(10)
        with tls.wrap_socket(connection.sock, server_side=True) as encrypted:
            said.append(encrypted.recv(1))

    upstream = line.upstream(script)
    gateway = line.gateway(upstream.url.replace("http:", "https:"))
    pool = gateway.worker.line.targets[0].pool
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        gateway.until(lambda: pool.open_count)
    assert (gateway.entry().ended, gateway.entry().attempts) == ("client_gone", 0)
    client_gone.set()
    gateway.until(lambda: repr(pool).endswith("1 open, 1 idle>"))
    gateway.stop(0)
    assert upstream.ended.acquire(timeout=10)
    assert b"".join(said) == b""


def test_upstream_lost_at_an_event_boundary_becomes_an_error_event(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(START + DELTA)
        connection.reset()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        data = client.read_to_end()
    event = data[data.index(b"event: error\ndata: ") + 19 :].split(b"\n\n")[0]
    assert json.loads(event)["error"]["type"] == "api_error"
    assert not data.endswith(b"0\r\n\r\n"), "a broken stream must not end cleanly"
    entry = gateway.entry()
    assert (entry.ended, entry.usage_complete) == ("upstream_error", False)
    assert json.loads(event)["request_id"] == entry.id


@pytest.mark.parametrize(
    ("first", "headers"),
    [
        pytest.param(START[:-1], b"", id="inside-an-event"),
        pytest.param(gzip.compress(START), b"Content-Encoding: gzip\r\n", id="encoded"),
    ],
)
def test_upstream_lost_elsewhere_cuts_the_client(line: Bench, first: bytes, headers: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream(headers)
        connection.chunk(first)
        connection.reset()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert gateway.entry().ended == "upstream_error"


def losing(part: bytes) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n" + part
        )

    return script


def test_upstream_lost_within_a_json_answer_is_told(line: Bench) -> None:
    """It is held until it is whole, so that its cost can stand in its head."""
    gateway, _ = line.pair(losing(b"{"))
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        assert client.response().status == 502
    assert gateway.entry().ended == "upstream_error"


def test_upstream_lost_within_a_json_answer_that_is_not_held_cuts_the_client(line: Bench) -> None:
    gateway, _ = line.pair(losing(b"{" + b" " * HELD_ANSWER_BYTES))
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert gateway.entry().ended == "upstream_error"


def test_pause_within_a_stream_has_an_end(line: Bench, clock: HeldClock) -> None:
    steps = Steps(START)
    gateway, _ = line.pair(steps.script, clock=clock, stream_idle_timeout_seconds=100.0)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        steps.go.release()
        client.read_until(START)
        gateway.pass_time(99)
        gateway.pass_time(2)
        data = client.read_to_end()
    assert b'"timeout_error"' in data
    assert b"100 s (`stream_idle_timeout_seconds`)" in data
    assert gateway.entry().ended == "timeout"
    assert steps.closed.wait(1)


def test_stream_without_its_last_event_is_recorded_as_broken(line: Bench) -> None:
    steps = Steps(START, b"")
    steps.go.release(2)
    gateway, _ = line.pair(steps.script)
    with RawClient(gateway.port) as client:
        assert client.ask(ASK).body == START
    entry = gateway.entry()
    assert (entry.ended, entry.error) == ("upstream_error", "the stream has no message_stop")


def test_error_event_of_the_upstream_passes_and_is_recorded(line: Bench) -> None:
    event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
    steps = Steps(START, event, b"")
    steps.go.release(3)
    gateway, _ = line.pair(steps.script)
    with RawClient(gateway.port) as client:
        assert client.ask(ASK).body == START + event
    assert (gateway.entry().ended, gateway.entry().error) == (
        "upstream_error",
        "the stream brought an error event",
    )


def test_record_is_made_before_the_client_can_know_of_the_end(line: Bench) -> None:
    steps = Steps(START + END)
    steps.go.release()
    gateway, _ = line.pair(steps.script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        client.read_until(b'"message_stop"}\n\n')
        (entry,) = gateway.entries
    assert (entry.ended, entry.usage_complete) == ("done", True)
    assert steps.closed.wait(1)
    assert len(gateway.entries) == 1


def test_upstream_lost_behind_the_last_event_spoils_nothing(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(START + END)
        connection.reset()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(ASK).body == START + END
    assert gateway.entry().ended == "done"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_slow_client_makes_the_upstream_wait(line: Bench, loop: str) -> None:
    total = 64 << 20
    sent = 0

    def script(connection: Connection) -> None:
        nonlocal sent
        connection.request()
        connection.begin_stream()
        piece = b"data: " + b"x" * 65_528 + b"\n\n"
        while sent < total:
            connection.chunk(piece)
            sent += len(piece)
        connection.chunk(b"")

    gateway, upstream = line.pair(script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        client.read_until(b"data: ")
        (exchange,) = gateway.until(lambda: {e for e in gateway.worker.line.live if e.client_blocked})
        assert exchange.response_bytes < 32 << 20
        held = exchange.response_bytes
        answer_bytes = len(client.buffer)
        tail = client.buffer[-7:]
        while tail != b"\r\n0\r\n\r\n":
            data = client.sock.recv(1 << 20)
            assert data, "closed before its end"
            answer_bytes += len(data)
            tail = (tail + data)[-7:]
    assert sent >= total
    assert answer_bytes > total
    assert gateway.entry().response_bytes == sent > held
    assert upstream.accepted == 1


def test_client_that_never_reads_is_cut(line: Bench, clock: HeldClock) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        try:
            while True:
                connection.chunk(b"data: " + b"x" * 65_528 + b"\n\n")
        finally:
            closed.set()

    gateway, _ = line.pair(script, clock=clock, client_stall_timeout_seconds=60.0)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        gateway.until(lambda: {e for e in gateway.worker.line.live if e.client_blocked})
        gateway.pass_time(61)
        assert closed.wait(5)
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert gateway.entry().ended == "timeout"
    assert "read nothing for 60 s" in str(gateway.entry().error)


def test_client_may_take_its_time_with_the_end_of_an_answer(line: Bench, clock: HeldClock) -> None:
    size = 24 << 20

    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"x" * size)
        connection.wait_closed()

    gateway, _ = line.pair(script, clock=clock, client_idle_seconds=75.0, client_stall_timeout_seconds=300.0)
    with RawClient(gateway.port) as client:
        client.send(get())
        client.read_until(b"\r\n\r\n")
        received = len(client.buffer)
        while not gateway.entries:  # until the upstream is done, and only the rest waits for us
            received += len(client.sock.recv(65_536))
        gateway.pass_time(100)
        while received < size:
            data = client.sock.recv(1 << 20)
            assert data, "cut before its end"
            received += len(data)


def test_next_request_waits_for_a_client_that_has_not_read_the_last_answer(line: Bench) -> None:
    size = 24 << 20

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.answer(b"x" * size)

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(get() + get())
        gateway.until(lambda: [c for c in gateway.worker.server.connections if c._blocked])  # type: ignore[attr-defined]
        assert len(upstream.requests) == 1
        for _ in range(2):
            response = client.response()
            assert len(response.body) == size
    assert len(upstream.requests) == 2


def test_client_that_leaves_because_of_an_error_event_did_not_end_the_exchange(line: Bench) -> None:
    """The official clients close their connection when they read one."""
    steps = Steps(START, ERROR)
    gateway, _ = line.pair(steps.script)
    with RawClient(gateway.port) as client:
        client.send(ASK)
        for event in (START, ERROR):
            steps.go.release()
            client.read_until(event)
    entry = gateway.entry()
    assert (entry.ended, entry.error) == ("upstream_error", "the stream brought an error event")
