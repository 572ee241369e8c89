"""Bodies of every size: held under caps where they are looked into, else passed on as they come."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from contextlib import suppress

import pytest

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, get, post

LARGE = 300_000
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def upload_head(*framing: bytes, path: bytes = b"/v1/files") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: g\r\nContent-Type: multipart/form-data; boundary=x\r\n%b\r\n\r\n" % (
        path,
        b"\r\n".join(framing),
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Intake:
    """An upstream that reads what comes without waiting for the end of the request."""

    def __init__(self, until: bytes = b"", answer: bytes = b"") -> None:
        self.came = bytearray()
        self.until = until
        self.answer = answer
        self.seen = threading.Event()
        self.closed = threading.Event()

    def script(self, connection: Connection) -> None:
        with suppress(ConnectionError):
            while data := connection.sock.recv(65_536):
                self.came += data
                if self.until and self.until in self.came and not self.seen.is_set():
                    self.seen.set()
                    connection.send(self.answer)
        self.closed.set()


@LOOPS
def test_large_upload_goes_on_as_it_comes(line: Bench, loop: str) -> None:
    intake = Intake(until=b"first")
    gateway, _ = line.pair(intake.script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: %d" % (LARGE + 5)) + b"x" * 100_000 + b"first")
        assert intake.seen.wait(5), "the beginning arrives before the end was sent"
        assert b"content-length: %d\r\n" % (LARGE + 5) in intake.came
        assert gateway.run(lambda: gateway.worker.line.held_bytes) == 0


@LOOPS
@pytest.mark.parametrize("size", [10, 65_536, 65_537, LARGE, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upload_of_any_size_and_framing_arrives_whole(
    line: Bench, loop: str, size: int, framing: str
) -> None:
    gateway, upstream = line.pair(loop=loop)
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    with RawClient(gateway.port) as client:
        for _ in range(2):
            if framing == "length":
                client.send(upload_head(b"Content-Length: %d" % size) + body)
            else:
                pieces = (body[at : at + 40_000] for at in range(0, size, 40_000))
                head = upload_head(b"Transfer-Encoding: chunked")
                client.send(head + b"".join(map(chunk, pieces)) + b"0\r\nX-Trailer: t\r\n\r\n")
            assert client.response().status == 200
    assert [request.body for request in upstream.requests] == [body, body]
    for request in upstream.requests:
        streamed_in_chunks = framing == "chunked" and size > 65_536
        assert bool(request.values(b"transfer-encoding")) == streamed_in_chunks
        assert bool(request.values(b"content-length")) != streamed_in_chunks
    assert [entry.request_bytes for entry in (gateway.entry(1), gateway.entry(2))] == [size, size]


def test_upload_never_goes_into_a_connection_that_may_be_stale(line: Bench) -> None:
    """What is under way cannot be sent again, so it gets a connection of its own."""
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.ask(get())
        client.ask(upload_head(b"Content-Length: %d" % LARGE) + b"x" * LARGE)
        client.ask(get())
    assert upstream.accepted == 2


@LOOPS
def test_upstream_that_takes_nothing_holds_the_client_back(line: Bench, loop: str) -> None:
    go = threading.Event()
    size = 60_000_000
    head = b"content-length: %d\r\n\r\n" % size
    taken = []

    def script(connection: Connection) -> None:
        assert go.wait(20)
        came = connection.sock.recv(1_000_000)
        count = len(came) - came.index(head) - len(head)
        while count < size:
            count += len(connection.sock.recv(1_000_000))
        taken.append(count)
        connection.answer()

    gateway, _ = line.pair(script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: %d" % size))
        client.sock.settimeout(1)
        sent = 0
        with suppress(TimeoutError):
            while sent < size:
                sent += client.sock.send(b"x" * min(1_000_000, size - sent))
        assert 0 < sent < 30_000_000, "the kernel's buffers are full, ours are bounded"
        go.set()
        client.sock.settimeout(10)
        while sent < size:
            sent += client.sock.send(b"x" * min(1_000_000, size - sent))
        assert client.response().status == 200
    assert taken == [size]


def test_upstream_that_takes_nothing_for_too_long_is_504(line: Bench, clock: HeldClock) -> None:
    go = threading.Event()

    def script(_: Connection) -> None:
        assert go.wait(20)

    gateway, _ = line.pair(script, clock=clock)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: 50000000"))
        client.sock.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                client.sock.send(b"x" * 1_000_000)
        gateway.pass_time(700)
        client.sock.settimeout(10)
        answer = client.response()
        go.set()
    assert answer.status == 504
    assert answer.values(b"connection") == [b"close"]
    assert gateway.entry().ended == "timeout"


@LOOPS
def test_answer_may_come_before_the_end_of_the_request(line: Bench, loop: str) -> None:
    early = b"HTTP/1.1 413 X\r\nContent-Length: 5\r\n\r\nlarge"
    intake = Intake(until=b"first", answer=early)
    gateway, _ = line.pair(intake.script, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: %d" % LARGE) + b"x" * 100_000 + b"first")
        answer = client.response()
        assert (answer.status, answer.body, answer.values(b"connection")) == (413, b"large", [b"close"])
        assert intake.closed.wait(5), "nobody else's request goes behind half a body"
        client.send(b"x" * (LARGE - 100_005))
        assert client.read_to_end() == b""
    assert (gateway.entry().ended, gateway.entry().status) == ("done", 413)


def test_client_that_leaves_within_an_upload_ends_the_upstream(line: Bench) -> None:
    intake = Intake(until=b"first")
    gateway, _ = line.pair(intake.script)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: %d" % LARGE) + b"x" * 100_000 + b"first")
        assert intake.seen.wait(5)
    assert intake.closed.wait(1)
    assert gateway.entry().ended == "client_gone"


def test_upload_without_an_upstream_is_502_that_the_client_can_read(line: Bench) -> None:
    upstream = line.upstream()
    url = upstream.url
    upstream.__exit__(None, None, None)
    gateway = line.gateway(url)
    with RawClient(gateway.port) as client:
        client.send(upload_head(b"Content-Length: %d" % LARGE) + b"x" * LARGE)
        assert client.response().status == 502
    assert gateway.run(lambda: gateway.worker.line.held_bytes) == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("path", "setting"),
    [
        (b"/v1/messages", "max_body_bytes"),
        (b"/anthropic/v1/messages/count_tokens", "max_body_bytes"),
        (b"/v1/messages/batches", "max_batch_bytes"),
        (b"/v1/files", "max_upload_bytes"),
        (b"/v1/skills/x/versions", "max_upload_bytes"),
    ],
)
def test_each_kind_of_body_has_its_cap(line: Bench, path: bytes, setting: str, framing: str) -> None:
    caps = {"max_body_bytes": 100_000, "max_batch_bytes": 200_000, "max_upload_bytes": 300_000}
    gateway, upstream = line.pair(None, **caps)

    def ask(size: int) -> tuple[int, str]:
        body = b"x" * size
        with RawClient(gateway.port) as client:
            if framing == "length":
                answer = client.ask(upload_head(b"Content-Length: %d" % size, path=path) + body)
            else:
                head = upload_head(b"Transfer-Encoding: chunked", path=path)
                answer = client.ask(head + chunk(body) + b"0\r\n\r\n")
        return answer.status, "" if answer.status == 200 else json.loads(answer.body)["error"]["message"]

    assert ask(caps[setting]) == (200, "")
    status, message = ask(caps[setting] + 1)
    assert status == 413
    assert f"`{setting}`" in message
    assert [len(request.body) for request in upstream.requests] == [caps[setting]]


def held(gateway: Gateway) -> int:
    return gateway.run(lambda: gateway.worker.line.held_bytes)


def test_bodies_in_memory_have_a_common_cap(line: Bench) -> None:
    go = threading.Event()

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            assert go.wait(10)
            connection.answer()

    gateway, upstream = line.pair(script, max_held_bytes=1_048_576)
    body = b"x" * 1_000_000
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        first.send(post(body))
        gateway.until(lambda: upstream.requests)
        assert held(gateway) == len(body)
        answer = second.ask(post(body))
        assert (answer.status, answer.values(b"retry-after")) == (529, [b"1"])
        assert b"max_held_bytes" in answer.body
        head = b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
        with RawClient(gateway.port) as third:
            assert third.ask(head + chunk(body)).status == 529
        go.set()
        assert first.response().status == 200
        assert held(gateway) == 0
        with RawClient(gateway.port) as fourth:
            assert fourth.ask(post(body)).status == 200


def test_body_in_tiny_chunks_takes_no_more_memory_than_its_bytes(line: Bench) -> None:
    gateway, upstream = line.pair()
    body = b"0123456789" * 3_000
    head = b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawClient(gateway.port) as client:
        client.send(head + b"".join(chunk(body[at : at + 1]) for at in range(len(body))))
        gateway.until(lambda: gateway.worker.line.held_bytes == len(body))
        (exchange,) = gateway.run(lambda: list(gateway.worker.line.live))
        assert exchange.body == body
        assert isinstance(exchange.body, bytearray), "one buffer, not a list of pieces"
        client.send(b"0\r\n\r\n")
        assert client.response().status == 200
    assert upstream.requests[0].body == body


@pytest.mark.parametrize(
    ("answered", "settings"), [(False, {}), (True, {}), (True, {"on_disconnect": "drain"})]
)
def test_paid_request_is_finished_without_its_client(
    line: Bench, answered: bool, settings: dict[str, str]
) -> None:
    """Only the end of an answer that is no stream tells what it cost."""
    usage = b'{"usage":{"input_tokens":3,"output_tokens":4}}'
    go = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(usage)
        if answered:
            connection.send(head + usage[:5])
        assert go.wait(10)
        connection.send(usage[5:] if answered else head + usage)
        connection.request()

    gateway, upstream = line.pair(script, **settings)
    with RawClient(gateway.port) as client:
        client.send(post(b'{"model":"m"}'))
        gateway.until(lambda: upstream.requests)
        if answered:
            gateway.until(lambda: [one for one in gateway.worker.line.live if one.response_head is not None])
    gateway.until(lambda: gateway.worker.line.drains)
    go.set()
    entry = gateway.entry()
    assert (entry.ended, entry.usage_complete, entry.status) == ("client_gone", True, 200)
    assert entry.usage is not None
    assert entry.usage.output_tokens == 4
    line_ = gateway.worker.line
    assert gateway.run(lambda: (line_.drains, line_.live, line_.held_bytes)) == ({}, set(), 0)


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        (b'{"stream":true}', {}),
        (b"{}", {"on_disconnect": "cancel"}),
        (b"{}", {"max_drains": 0}),
    ],
)
def test_request_whose_client_left_is_cancelled(
    line: Bench, body: bytes, settings: dict[str, object]
) -> None:
    intake = Intake(until=body)
    gateway, _ = line.pair(intake.script, **settings)
    with RawClient(gateway.port) as client:
        client.send(post(body))
        assert intake.seen.wait(5)
    assert intake.closed.wait(1)
    assert (gateway.entry().ended, gateway.entry().usage_complete) == ("client_gone", False)


def test_request_without_a_client_has_a_time_limit(line: Bench, clock: HeldClock) -> None:
    intake = Intake(until=b"{}")
    gateway, _ = line.pair(intake.script, clock=clock, drain_timeout_seconds=20.0)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        assert intake.seen.wait(5)
    gateway.until(lambda: gateway.worker.line.drains)
    gateway.pass_time(19)
    assert not gateway.entries
    gateway.pass_time(2)
    assert intake.closed.wait(1)
    assert gateway.entry().ended == "timeout"


def test_accept_encoding_is_narrowed_to_what_is_read(line: Bench) -> None:
    gateway, upstream = line.pair()
    wanted = b"Accept-Encoding: zstd, gzip, br\r\n"
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=wanted))
        client.ask(get(b"/v1/messages/batches/b_1/results", headers=wanted))
        client.ask(get(b"/v1/files/f_1/content", headers=wanted))
    sent = [request.values(b"accept-encoding") for request in upstream.requests]
    assert sent == [[b"gzip"], [b"identity"], [b"zstd, gzip, br"]]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_call_in_a_compressed_body_is_read_and_the_body_untouched(line: Bench, coding: str) -> None:
    text = b'{"model":"claude-opus-5-5","stream":true}'
    body = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(body, headers=b"Content-Encoding: %b\r\n" % coding.encode()))
    assert answer.values(b"x-ferryman-model") == [b"claude-opus-5-5"]
    assert upstream.requests[0].body == body
    assert upstream.requests[0].values(b"content-encoding") == [coding.encode()]
    assert (gateway.entry().model, gateway.entry().stream) == ("claude-opus-5-5", True)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"gzip, gzip", b"zstd", b"identity"])
def test_body_that_cannot_be_decoded_goes_on_as_it_came(line: Bench, coding: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"\x1f\x8bno", headers=b"Content-Encoding: %b\r\n" % coding)).status == 200
    assert upstream.requests[0].body == b"\x1f\x8bno"
    assert gateway.entry().model is None


def test_compressed_body_that_becomes_too_large_is_413(line: Bench) -> None:
    gateway, upstream = line.pair(max_body_bytes=100_000)
    bomb = gzip.compress(bytes(100_001))
    with RawClient(gateway.port) as client:
        answer = client.ask(post(bomb, headers=b"Content-Encoding: gzip\r\n"))
    assert answer.status == 413
    assert b"decoded" in answer.body
    assert upstream.requests == []
    assert (gateway.entry().ended, held(gateway)) == ("refused", 0)
