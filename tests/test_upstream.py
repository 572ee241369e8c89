"""The way upstream: connections are reused, and what fails is told clearly."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from ferryman.relay.forward import may_ask_again
from tests.conftest import Bench
from tests.support.edge import Connection, answering
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, RawResponse, get, post


def message_of(answer: RawResponse) -> str:
    error = json.loads(answer.body)
    assert error["type"] == "error"
    assert error["request_id"].encode() in answer.values(b"x-ferryman-request-id")
    text: str = error["error"]["message"]
    return text


def type_of(answer: RawResponse) -> str:
    text: str = json.loads(answer.body)["error"]["type"]
    return text


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_upstream_connection_serves_many_requests(line: Bench, loop: str) -> None:
    gateway, upstream = line.pair(loop=loop)
    for _ in range(5):
        with RawClient(gateway.port) as client:
            for _ in range(20):
                assert client.ask(post(b"{}")).status == 200
    assert len(upstream.requests) == 100
    assert upstream.accepted == 1


def test_streams_give_their_connection_back(line: Bench) -> None:
    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.begin_stream()
            connection.chunk(b"data: {}\n\n")
            connection.chunk(b"")

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        for _ in range(20):
            assert client.ask(post(b"{}")).body == b"data: {}\n\n"
    assert upstream.accepted == 1


def test_connection_that_the_upstream_closes_is_not_reused(line: Bench) -> None:
    gateway, upstream = line.pair(answering(headers=b"Connection: close\r\n"))
    with RawClient(gateway.port) as client:
        for _ in range(3):
            assert client.ask(get()).status == 200
    assert upstream.accepted == 3


def test_idle_connection_ages_out(line: Bench, clock: HeldClock) -> None:
    gateway, upstream = line.pair(clock=clock, upstream_idle_seconds=50.0)
    with RawClient(gateway.port) as client:
        client.ask(get())
        gateway.pass_time(49)
        client.ask(get())
        assert upstream.accepted == 1
        gateway.pass_time(51)
        gateway.until(lambda: gateway.worker.line.targets[0].pool.open_count == 0)
        client.ask(get())
        assert upstream.accepted == 2


def test_request_into_a_connection_closed_meanwhile_is_sent_again(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer()
        if connection.number == 1:
            connection.request()
            connection.reset()
        else:
            connection.request()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(post(b'{"n":1}')).status == 200
        assert client.ask(post(b'{"n":2}')).status == 200
    assert [request.body for request in upstream.requests] == [b'{"n":1}', b'{"n":2}', b'{"n":2}']
    assert [entry.attempts for entry in (gateway.entry(1), gateway.entry(2))] == [1, 2]


def test_request_is_not_sent_again_on_a_fresh_connection(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.reset()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}"))
    assert (answer.status, type_of(answer)) == (502, "api_error")
    assert "without an answer" in message_of(answer)
    assert upstream.url in message_of(answer)
    assert len(upstream.requests) == 1
    assert gateway.entry().ended == "upstream_error"


def test_request_is_not_sent_again_once_a_byte_of_the_answer_came(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer()
        connection.request()
        connection.send(b"H")
        connection.reset()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.ask(get())
        answer = client.ask(get())
    assert answer.status == 502
    assert "before the end of its answer" in message_of(answer)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("attempts", "waited", "fresh", "answered", "expected"),
    [(1, 0.1, False, False, True), (2, 0.1, False, False, False), (1, 2.1, False, False, False),
     (1, 0.1, True, False, False), (1, 0.1, False, True, False)],
)  # fmt: skip
def test_second_try_only_where_nothing_can_be_billed_twice(
    attempts: int, waited: float, fresh: bool, answered: bool, expected: bool
) -> None:
    assert may_ask_again(attempts, waited, fresh=fresh, answered=answered) is expected


def test_refused_connection_is_502_that_says_where_and_what_to_do(line: Bench) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    gateway = line.gateway(f"http://127.0.0.1:{port}")
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}"))
        assert client.ask(get(b"/health")).status == 200
    assert (answer.status, type_of(answer)) == (502, "api_error")
    assert f"http://127.0.0.1:{port}" in message_of(answer)
    assert "upstream_url" in message_of(answer)
    assert "refused" in message_of(answer).lower()
    assert (gateway.entry().ended, gateway.entry().attempts) == ("upstream_error", 0)


def test_unknown_host_is_502_that_names_it(line: Bench) -> None:
    gateway = line.gateway("http://no-such-host.invalid")
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
    assert answer.status == 502
    assert "`no-such-host.invalid` does not resolve" in message_of(answer)


def test_connect_timeout_is_504(line: Bench) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # a full accept queue: further connects get no answer
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        gateway = line.gateway(f"http://127.0.0.1:{port}", connect_timeout_seconds=0.2)
        with RawClient(gateway.port) as client:
            answer = client.ask(get())
        for filler in fillers:
            filler.close()
    assert (answer.status, type_of(answer)) == (504, "timeout_error")
    assert "0.2 s (`connect_timeout_seconds`)" in message_of(answer)
    assert gateway.entry().ended == "timeout"


def test_slow_first_byte_is_504_and_closes_the_upstream(line: Bench, clock: HeldClock) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.wait_closed()
        closed.set()

    gateway, upstream = line.pair(script, clock=clock, first_byte_timeout_seconds=100.0)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        gateway.until(lambda: upstream.requests)
        gateway.pass_time(99)
        gateway.pass_time(2)
        answer = client.response()
    assert (answer.status, type_of(answer)) == (504, "timeout_error")
    assert "100 s (`first_byte_timeout_seconds`)" in message_of(answer)
    assert closed.wait(10)
    assert gateway.entry().ended == "timeout"


def test_full_pool_is_529_with_retry_after(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.wait_closed()

    gateway, upstream = line.pair(script, upstream_max_connections=1)
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        first.send(post(b"{}"))
        gateway.until(lambda: upstream.requests)
        answer = second.ask(post(b"{}"))
    assert (answer.status, type_of(answer)) == (529, "overloaded_error")
    assert answer.values(b"retry-after") == [b"1"]


BAD_ANSWERS = [
    pytest.param(b"HELLO\r\n\r\n", id="not-http"),
    pytest.param(b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="rtsp"),
    pytest.param(b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", id="http-0.9"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two-lengths"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", id="odd-length"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        id="length-and-chunked",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="unknown-coding"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", id="folded-header"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n", id="huge-head"
    ),
    pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="switch"),
    pytest.param(b"HTTP/1.1 099 X\r\nContent-Length: 6\r\n\r\nFORGED", id="status-below-100"),
    pytest.param(b"HTTP/1.1 103 X\r\n\r\n" * 50, id="interim-answers-without-end"),
]


@pytest.mark.parametrize("data", BAD_ANSWERS)
def test_answer_that_is_not_strict_http_is_502(line: Bench, data: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(data)
        connection.wait_closed()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
    assert (answer.status, type_of(answer)) == (502, "api_error")
    assert gateway.entry().ended == "upstream_error"


def test_second_answer_that_nobody_asked_for_reaches_nobody(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        if connection.number == 1:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + evil)
            connection.wait_closed()
        connection.answer(b"next")

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(get()).body == b"good"
        assert client.ask(get()).body == b"next"
    assert upstream.accepted == 2


def test_bytes_on_an_idle_connection_end_it(line: Bench) -> None:
    said = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"good")
        if connection.number == 1:
            assert said.wait(10)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            connection.wait_closed()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.ask(get())
        said.set()
        gateway.until(lambda: gateway.worker.line.targets[0].pool.open_count == 0)
        assert client.ask(get()).body == b"good"
    assert upstream.accepted == 2


def server_tls(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_trusted_tls_upstream_is_relayed_over_one_connection(
    line: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    upstream = line.upstream(tls=server_tls(authority))
    gateway = line.gateway(upstream.url, loop=loop)
    body = b"x" * 200_000
    with RawClient(gateway.port) as client:
        for _ in range(3):
            assert client.ask(post(body)).status == 200
    assert [request.body for request in upstream.requests] == [body] * 3
    assert upstream.accepted == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("trusted", [True, False])
def test_untrusted_or_misnamed_tls_upstream_is_502(
    line: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, loop: str
) -> None:
    authority = trustme.CA()
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    upstream = line.upstream(tls=server_tls(authority, "other.example"))
    gateway = line.gateway(upstream.url, loop=loop)
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
    assert answer.status == 502
    assert "its certificate is not trusted" in message_of(answer)
    assert upstream.requests == []


def test_upstream_that_resets_within_a_large_request_is_told_once(
    line: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def script(connection: Connection) -> None:
        connection.sock.recv(1000)
        connection.reset()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"x" * 8_000_000)).status == 502
    assert gateway.entry().ended == "upstream_error"
    assert not caplog.records  # asyncio's: one for each write into the lost connection


EARLY = b"HTTP/1.1 103 Early\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 26, 1000])
@pytest.mark.parametrize(
    "before", [b"\r\n", b"\r\n\r\n", b"\n", b"\r", EARLY + b"\r\n", EARLY + b"\r\r" + EARLY]
)
def test_blank_lines_before_an_answer_are_refused_however_they_come(
    line: Bench, before: bytes, size: int
) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        data = before + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        with suppress(ConnectionError):
            for at in range(0, len(data), size):
                connection.send(data[at : at + size])
        connection.wait_closed()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(get()).status == 502
    assert gateway.entry().ended == "upstream_error"


def test_beginning_of_a_second_answer_makes_the_connection_unusable(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        if connection.number == 1:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Le")
            connection.request()
        connection.answer(b"mine")

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(get()).body == b"{}"
        assert client.ask(get()).body == b"mine"
    assert upstream.accepted == 2
