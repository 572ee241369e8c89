"""The server side: strict about what it reads, patient about how it comes."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from tests.conftest import Bench
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, get, post

HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: g\r\n"

AMBIGUOUS = [
    pytest.param(
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="length-and-chunked"
    ),
    pytest.param(
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", id="chunked-and-length"
    ),
    pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", id="same-length-twice"),
    pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two-lengths"),
    pytest.param(HEAD + b"Content-Length: 2, 2\r\n\r\n{}", id="length-list"),
    pytest.param(HEAD + b"Content-Length: +2\r\n\r\n{}", id="signed-length"),
    pytest.param(HEAD + b"Content-Length: -2\r\n\r\n{}", id="negative-length"),
    pytest.param(HEAD + b"Content-Length: 4 2\r\n\r\n{}", id="length-with-space"),
    pytest.param(HEAD + b"Content-Length: 0x2\r\n\r\n{}", id="hex-length"),
    pytest.param(HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}", id="huge-length"),
    pytest.param(HEAD + b"Content-Length:\r\n\r\n", id="empty-length"),
    pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip-chunked"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", id="chunked-chunked"),
    pytest.param(
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        id="chunked-twice",
    ),
    pytest.param(HEAD + b"Transfer-Encoding: identity\r\n\r\n", id="identity"),
    pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
    pytest.param(HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", id="space-before-colon"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", id="hex-chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", id="negative-chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}", id="huge-chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n", id="chunk-too-long"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", id="bare-lf-in-chunks"),
    pytest.param(
        b"POST /v1/messages HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked-in-1.0"
    ),
    pytest.param(HEAD + b"A: b\r\n c: d\r\n\r\n", id="folded-header"),
    pytest.param(HEAD + b"A: b\x00c\r\n\r\n", id="nul-in-value"),
    pytest.param(HEAD + b"A: b\rc\r\n\r\n", id="cr-in-value"),
    pytest.param(HEAD + b"A b: c\r\n\r\n", id="space-in-name"),
    pytest.param(HEAD + b": c\r\n\r\n", id="empty-name"),
    pytest.param(HEAD + b"no-colon\r\n\r\n", id="no-colon"),
    pytest.param(b"GET /v1/models HTTP/1.1\r\n\r\n", id="no-host"),
    pytest.param(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="two-hosts"),
    pytest.param(b"GET /v1/models HTTP/1.1\nHost: a\n\n", id="bare-lf"),
    pytest.param(b"GET /v1/models\r\n\r\n", id="http-0.9"),
    pytest.param(b"GET  /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", id="two-spaces"),
    pytest.param(b"GET /v1/mod els HTTP/1.1\r\nHost: a\r\n\r\n", id="space-in-path"),
    pytest.param(b"GET v1/models HTTP/1.1\r\nHost: a\r\n\r\n", id="no-slash"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2-preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls-hello"),
    pytest.param(
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        id="websocket",
    ),
]


@pytest.mark.parametrize("data", AMBIGUOUS)
def test_ambiguous_request_is_refused_and_the_connection_closed(line: Bench, data: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(data)
        assert client.read_to_end() == b""
    error = json.loads(answer.body)
    assert (answer.status, error["error"]["type"]) == (400, "invalid_request_error")
    assert answer.values(b"connection") == [b"close"]
    assert upstream.requests == []


def test_ambiguous_request_with_a_second_one_behind_it_reaches_nobody(line: Bench) -> None:
    gateway, upstream = line.pair()
    smuggled = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get(b"/v1/evil")
    with RawClient(gateway.port) as client:
        assert client.ask(HEAD + smuggled).status == 400
        assert client.read_to_end() == b""
    assert upstream.requests == []


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_blank_lines_before_a_request_pass_and_a_lone_cr_does_not(line: Bench, size: int) -> None:
    gateway, upstream = line.pair()
    for blank, status in ((b"\r\n\n\r\n", 200), (b"\r\r\n", 400), (b"\r", 400)):
        data = blank + get()
        with RawClient(gateway.port) as client:
            with suppress(ConnectionError):
                for at in range(0, len(data), size):
                    client.send(data[at : at + size])
            assert client.response().status == status
    assert {request.line for request in upstream.requests} == {b"GET /v1/models HTTP/1.1"}


@pytest.mark.parametrize("first", [b"GET /v1/models HTTP/0.9", b"GET /v1/models HTTP/2.0"])
def test_other_http_version_is_505(line: Bench, first: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(first + b"\r\nHost: g\r\n\r\n").status == 505
        assert client.read_to_end() == b""
    assert upstream.requests == []


@pytest.mark.parametrize("first", [b"CONNECT api.anthropic.com:443", b"TRACE /v1/models"])
def test_method_that_is_not_served_is_405(line: Bench, first: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(first + b" HTTP/1.1\r\nHost: g\r\n\r\n")
    assert (answer.status, answer.values(b"allow")) == (
        405,
        [b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"],
    )
    assert upstream.requests == []


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_offer_of_http_2_is_declined_by_ignoring_it(line: Bench, size: int) -> None:
    """Java's own client makes it with each first request."""
    gateway, upstream = line.pair()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    data = post(b'{"model":"m"}', headers=offer) + get(headers=offer)
    with RawClient(gateway.port) as client:
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
        assert [client.response().status, client.response().status] == [200, 200]
    assert [request.body for request in upstream.requests] == [b'{"model":"m"}', b""]
    for request in upstream.requests:
        assert request.values(b"upgrade") == request.values(b"http2-settings") == []


def test_asterisk_is_no_path_here(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(get(b"*", method=b"OPTIONS")).status == 400


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_request_that_comes_byte_by_byte_is_the_same_request(line: Bench, loop: str) -> None:
    gateway, upstream = line.pair(loop=loop)
    with RawClient(gateway.port) as client:
        for byte in post(b'{"model":"m"}', headers=b"X-Empty:\r\nX-Two: a b\r\n"):
            client.send(bytes([byte]))
        assert client.response().status == 200
    (request,) = upstream.requests
    assert request.body == b'{"model":"m"}'
    assert (request.values(b"x-empty"), request.values(b"x-two")) == ([b""], [b"a b"])


def test_http_1_0_is_answered_without_chunks_and_closed(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert answer.values(b"connection") == [b"close"]
        assert client.read_to_end() == b""
        assert answer.body == b'{"ok":true}'
    assert upstream.requests[0].line.endswith(b" HTTP/1.1")


def test_http_1_0_with_keep_alive_goes_on(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        for _ in range(2):
            answer = client.ask(b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert answer.values(b"connection") == [b"keep-alive"]


def test_expected_continue_is_given_before_the_body(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.send(HEAD + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        assert client.response().status == 100
        assert client.ask(b"{}").status == 200
    assert upstream.requests[0].values(b"expect") == []


def test_refused_request_that_expects_continue_is_answered_at_once(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(
            b"POST /nope HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
    assert (answer.status, answer.values(b"connection")) == (404, [b"close"])


def test_other_expectation_is_417(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(HEAD + b"Expect: miracles\r\nContent-Length: 2\r\n\r\n{}").status == 417


def test_small_refused_request_keeps_its_connection(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"{}", path=b"/nope")).status == 404
        assert client.ask(post(b"{}")).status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_beyond_the_cap_is_413_and_the_client_can_read_it(line: Bench, framing: str) -> None:
    gateway, upstream = line.pair(max_body_bytes=100_000)
    body = b"x" * 3_000_000
    if framing == "length":
        request = post(body)
    else:
        request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    with RawClient(gateway.port) as client:
        answer = client.ask(request)
        assert client.read_to_end() == b""
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"]) == (413, "request_too_large")
    assert "100000 bytes" in error["message"]
    assert "max_body_bytes" in error["message"]
    assert upstream.requests == []
    assert (gateway.entry().ended, gateway.entry().status) == ("refused", 413)


def test_body_at_the_cap_passes(line: Bench) -> None:
    gateway, upstream = line.pair(max_body_bytes=100_000)
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"x" * 100_000)).status == 200
    assert len(upstream.requests[0].body) == 100_000


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"A: " + b"x" * 40_000 + b"\r\n\r\n", id="one-long-value"),
        pytest.param(b"A: " + b"x" * 400_000, id="a-value-without-end"),
        pytest.param(b"A: b\r\n" * 500 + b"\r\n", id="many-lines"),
        pytest.param(b"a" * 40_000 + b": b\r\n\r\n", id="long-name"),
    ],
)
def test_head_beyond_the_cap_is_431(line: Bench, head: bytes) -> None:
    gateway, upstream = line.pair(max_header_bytes=32_768)
    with RawClient(gateway.port) as client:
        answer = client.ask(get()[:-2] + head)
        assert client.read_to_end() == b""
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (431, "invalid_request_error")
    assert upstream.requests == []


def test_head_below_the_cap_passes_whatever_body_came_with_it(line: Bench) -> None:
    gateway, _ = line.pair(max_header_bytes=32_768)
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"x" * 200_000, headers=b"A: %b\r\n" % (b"x" * 32_000))).status == 200


def test_client_that_half_closes_has_gone(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        client.send(get()[:-2])
        client.sock.shutdown(1)
        assert client.read_to_end() == b""


def test_head_that_does_not_come_is_408(line: Bench, clock: HeldClock) -> None:
    gateway, _ = line.pair(clock=clock, client_read_timeout_seconds=60.0)
    with RawClient(gateway.port) as client:
        for byte in get()[:40]:
            client.send(bytes([byte]))
        gateway.until(lambda: [c for c in gateway.worker.server.connections if c._parser.in_head])  # type: ignore[attr-defined]
        gateway.pass_time(61)
        answer = client.response()
        assert client.read_to_end() == b""
    assert (answer.status, answer.values(b"connection")) == (408, [b"close"])


def test_body_that_stops_coming_is_408(line: Bench, clock: HeldClock) -> None:
    gateway, upstream = line.pair(clock=clock, client_read_timeout_seconds=60.0)
    with RawClient(gateway.port) as client:
        client.send(post(b"{}")[:-1])
        gateway.until(lambda: [e for e in gateway.worker.line.live if e.body_bytes])
        gateway.pass_time(61)
        answer = client.response()
    assert answer.status == 408
    assert upstream.requests == []
    assert gateway.entry().ended == "refused"


@pytest.mark.parametrize("used", [True, False])
def test_idle_connection_is_closed_in_the_end(line: Bench, clock: HeldClock, used: bool) -> None:
    gateway, _ = line.pair(clock=clock, client_idle_seconds=75.0, client_read_timeout_seconds=60.0)
    with RawClient(gateway.port) as client:
        if used:
            client.ask(get(b"/health"))
            gateway.pass_time(70)
            client.ask(get(b"/health"))
        gateway.until(lambda: gateway.worker.server.connections)
        gateway.pass_time(76)
        with suppress(ConnectionResetError):
            assert client.read_to_end() == b""
    gateway.until(lambda: not gateway.worker.server.connections)


def test_refused_client_that_goes_on_sending_is_cut_in_the_end(line: Bench, clock: HeldClock) -> None:
    gateway, _ = line.pair(clock=clock, max_body_bytes=1024)
    with RawClient(gateway.port) as client:
        assert client.ask(HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * 5000).status == 413
        gateway.pass_time(31)
        gateway.until(lambda: not gateway.worker.server.connections)


def test_blank_lines_are_no_request_and_keep_no_connection(line: Bench, clock: HeldClock) -> None:
    gateway, _ = line.pair(clock=clock, client_idle_seconds=75.0, client_read_timeout_seconds=60.0)
    with RawClient(gateway.port) as client:
        client.ask(get(b"/health"))
        for _ in range(2):
            gateway.pass_time(37)
            client.send(b"\r\n\r\n")
            gateway.until(lambda: True)
        gateway.pass_time(2)
        assert client.read_to_end() == b""


@pytest.mark.parametrize(
    "endless",
    [b"2;" + b"x" * 700_000, b"0\r\n" + b"X-Trailer: y\r\n" * 50_000],
    ids=["extension", "trailers"],
)
def test_chunked_body_without_content_has_an_end(line: Bench, endless: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + endless)
        assert client.response().status in {400, 431}
        assert client.read_to_end() == b""
    assert upstream.requests == []


def test_tiny_chunks_of_one_read_are_handed_on_together(line: Bench) -> None:
    gateway, upstream = line.pair()
    count = 100_000
    head = b"POST /v1/files HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawClient(gateway.port) as client:
        client.send(head + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        assert client.response().status == 200
    assert upstream.requests[0].body == b"x" * count
