"""Promise 1: a relayed request and its answer keep their bytes."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, Bench
from tests.support.edge import Connection, answering
from tests.support.raw import RawClient, get, post

ODD_BODY = (
    b'{ "model" :\t"claude-opus-5-5",\n  "max_tokens": 3e5, "temperature":1.0, "big": 12345678901234567890,'
    b'\r\n "text":"\\u00e9 \\/ \\ud83d\\ude00 \xc3\xa9", "unknown_field": {"a":[ ],"a":1} , "stream":false,'
    b'"messages":[{"role":"user","content":"hi"}]   }  \n'
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_request_body_arrives_with_every_byte(line: Bench, loop: str) -> None:
    gateway, upstream = line.pair(loop=loop)
    with RawClient(gateway.port) as client:
        assert client.ask(post(ODD_BODY)).status == 200
    assert upstream.requests[0].body == ODD_BODY


def test_large_request_body_arrives_with_every_byte(line: Bench) -> None:
    body = bytes(range(256)) * 4096 * 4
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(post(body)).status == 200
    assert upstream.requests[0].body == body


def test_chunked_request_body_arrives_whole(line: Bench) -> None:
    gateway, upstream = line.pair()
    head = b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawClient(gateway.port) as client:
        assert client.ask(head + b"3\r\n{ }\r\n2;ext=1\r\n \n\r\n0\r\nTrailer: x\r\n\r\n").status == 200
    (request,) = upstream.requests
    assert request.body == b"{ } \n"
    assert request.values(b"content-length") == [b"5"]
    assert request.values(b"trailer") == []


def test_request_headers_arrive_in_order_with_duplicates_and_spelling(line: Bench) -> None:
    gateway, upstream = line.pair()
    sent = (
        b"anthropic-version: 2026-10-21\r\nAnthropic-Beta: one,two\r\nanthropic-beta: three\r\n"
        b"anthropic-future-header: x  y\r\nX-Stainless-Lang: python\r\nX-Empty:\r\n"
        b"User-Agent: caf\xc3\xa9 / \xe9\r\nCookie: a=b\r\n"
    )
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=sent))
    assert [(name, value) for name, value in upstream.requests[0].headers if name != b"host"] == [
        (b"Content-Type", b"application/json"),
        (b"anthropic-version", b"2026-10-21"),
        (b"Anthropic-Beta", b"one,two"),
        (b"anthropic-beta", b"three"),
        (b"anthropic-future-header", b"x  y"),
        (b"X-Stainless-Lang", b"python"),
        (b"X-Empty", b""),
        (b"User-Agent", b"caf\xc3\xa9 / \xe9"),
        (b"Cookie", b"a=b"),
        (b"x-api-key", KEY.encode()),
        (b"content-length", b"2"),
    ]


def test_hop_by_hop_request_headers_stay_behind(line: Bench) -> None:
    gateway, upstream = line.pair()
    sent = (
        b"anthropic-version: 2023-06-01\r\nConnection: keep-alive, X-Mine , te\r\nConnection: x-more\r\n"
        b"X-Mine: 1\r\nX-More: 2\r\nX-Kept: 3\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Authorization: Basic eDp5\r\nProxy-Connection: close\r\nTrailer: x\r\n"
    )
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=sent))
    names = {name.lower() for name, _ in upstream.requests[0].headers}
    assert names == {
        b"host",
        b"content-type",
        b"anthropic-version",
        b"x-kept",
        b"x-api-key",
        b"content-length",
    }


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
def test_every_method_path_and_query_is_relayed(line: Bench, method: bytes) -> None:
    gateway, upstream = line.pair()
    target = b"/files/a%20b%C3%A9/x?beta=true&a[]=1&a[]=%2F&empty=&q=a+b"
    with RawClient(gateway.port) as client:
        for prefix, expected in ((b"/v1", b"/v1"), (b"/anthropic/v1", b"/v1"), (b"/anthropic/x", b"/x")):
            assert client.ask(get(prefix + target, method=method)).status == 200
            assert upstream.requests[-1].line == method + b" " + expected + target + b" HTTP/1.1"


def test_path_prefix_of_the_upstream_is_kept(line: Bench) -> None:
    upstream = line.upstream()
    gateway = line.gateway(upstream.url + "/argoapi/")
    with RawClient(gateway.port) as client:
        client.ask(get(b"/v1/models?limit=1"))
    assert upstream.requests[0].line == b"GET /argoapi/v1/models?limit=1 HTTP/1.1"
    assert upstream.requests[0].values(b"host") == [f"127.0.0.1:{upstream.port}".encode()]


@pytest.mark.parametrize("status", [200, 201, 400, 404, 413, 429, 500, 529, 599])
def test_answer_comes_back_with_every_byte(line: Bench, status: int) -> None:
    body = b'{"type":"error",\n "error" : {"message":"\\u00e9 1.0 3e5 \xff\xfe"}}\r\n'
    headers = (
        b"Request-Id: req_1\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nretry-after: 7\r\n"
        b"x-should-retry: true\r\nanthropic-ratelimit-unified-status: allowed\r\n"
        b"Server: cloudflare\r\nVia: 1.1 x\r\n"
    )
    gateway, _ = line.pair(answering(body, status=status, headers=headers))
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}"))
    assert (answer.status, answer.body) == (status, body)
    own = [(n, v) for n, v in answer.headers if n.startswith(b"x-ferryman-")]
    assert [(n, v) for n, v in answer.headers if (n, v) not in own] == [
        (b"Content-Type", b"application/json"),
        (b"Request-Id", b"req_1"),
        (b"set-cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"retry-after", b"7"),
        (b"x-should-retry", b"true"),
        (b"anthropic-ratelimit-unified-status", b"allowed"),
        (b"Server", b"cloudflare"),
        (b"Via", b"1.1 x"),
        (b"content-length", str(len(body)).encode()),
    ]
    assert (b"x-ferryman-mutations", b"none") in own


def test_hop_by_hop_answer_headers_stay_behind(line: Bench) -> None:
    hop = b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n"
    headers = hop + b"X-End: 2\r\nx-ferryman-request-id: fake\r\n"
    gateway, _ = line.pair(answering(headers=headers))
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
    assert answer.values(b"x-hop") == answer.values(b"keep-alive") == answer.values(b"connection") == []
    assert answer.values(b"x-end") == [b"2"]
    assert answer.values(b"x-ferryman-request-id") == [gateway.entry().id.encode()]


STREAM = (
    b": a comment\n\nevent: ping\ndata: {}\n\n"
    b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\r\n\r\n'
    b"event: of_tomorrow\ndata: \xf0\x9f\x98\x80\n\n"
    b'event: message_delta\ndata:{"type":"message_delta","usage":{"output_tokens":7}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n\n: the end'
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_stream_comes_back_with_every_byte(line: Bench, size: int, loop: str) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        for start in range(0, len(STREAM), size):
            connection.chunk(STREAM[start : start + size])
        connection.chunk(b"")

    gateway, _ = line.pair(script, loop=loop)
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b'{"model":"m","stream":true}'))
    assert answer.body == STREAM
    usage = gateway.entry().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 7)


def test_answer_without_framing_is_relayed_to_its_end(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello ")
        connection.send(b"world")

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
        assert answer.body == b"hello world"
        assert answer.values(b"transfer-encoding") == [b"chunked"]


@pytest.mark.parametrize("status", [204, 304])
def test_answer_without_a_body_keeps_the_connection(line: Bench, status: int) -> None:
    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(b"HTTP/1.1 %d X\r\nETag: x\r\n\r\n" % status)

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        for _ in range(3):
            answer = client.ask(get())
            assert (answer.status, answer.values(b"etag")) == (status, [b"x"])
            assert answer.values(b"content-length") == answer.values(b"transfer-encoding") == []
    assert upstream.accepted == 1


def test_answer_to_head_has_a_length_and_no_body(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        for _ in range(2):
            answer = client.ask(get(method=b"HEAD"), head_only=True)
            assert answer.values(b"content-length") == [b"500"]
            assert client.buffer == b""


def test_interim_answers_of_the_upstream_are_not_the_answer(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        connection.answer(b"{}")

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        answer = client.ask(get())
    assert (answer.status, answer.body, answer.values(b"link")) == (200, b"{}", [])


def test_missing_version_is_added_and_named(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}", headers=b""))
    assert upstream.requests[0].values(b"anthropic-version") == [b"2023-06-01"]
    assert answer.values(b"x-ferryman-mutations") == [b"anthropic-version"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(b"gzip, deflate, br, zstd", b"gzip", id="claude-code"),
        pytest.param(b"gzip, deflate", b"gzip", id="sdk"),
        pytest.param(b"br;q=1.0, GZIP;q=0.8, identity;q=0", b"GZIP;q=0.8, identity;q=0", id="weights"),
        pytest.param(b"br", b"identity", id="nothing-left"),
        pytest.param(b"*", b"identity", id="any"),
    ],
)
def test_accept_encoding_is_narrowed_to_what_the_meter_reads(
    line: Bench, sent: bytes, expected: bytes
) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=b"Accept-Encoding: %b\r\n" % sent))
        client.ask(get(headers=b"Accept-Encoding: %b\r\n" % sent))
    assert upstream.requests[0].values(b"accept-encoding") == [expected]
    assert upstream.requests[1].values(b"accept-encoding") == [sent]


def test_model_with_line_breaks_cannot_add_a_header(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b'{"model":"a\\r\\nx-evil: 1\\u00e9"}'))
    assert answer.values(b"x-evil") == []
    assert answer.values(b"x-ferryman-model") == [b"a\\r\\nx-evil: 1\\xe9"]
