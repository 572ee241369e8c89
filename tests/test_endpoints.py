"""Every endpoint of the Claude API, and every way to cut a request into pieces, passes through unchanged."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import Gateway
from tests.support.raw import Headers, RawClient, RawRequest

ODD_ID = b"id_-.~!$&'()*+,;=:@%20%E2%82%AC%25"
ODD_QUERY = b"?beta=true&a=%zz&b=%2F..%2f//&c=a+b&empty=&=x&%&d=?&e=caf%C3%A9"
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n\x00\xff\r\n--b--\r\n'
CONTENT = {
    "-": (b"", b""),
    "json": (b"application/json", b'{ "model" : "m",\n\t"\\u0061":1.0e+2, "a":[ ] }'),
    "multipart/form-data": (b'multipart/form-data; boundary="b"', MULTIPART),
}
ANSWERS = {
    b"JSON": (b"application/json; charset=utf-8", b'{ "type" : "x", "n":1.0e+2 }'),
    b"binary": (b"application/octet-stream", bytes(range(256)) * 9),
    b"JSONL": (b"application/x-jsonl", b'{"a":1}\n{"a": 2}\n\n'),
    b"SSE": (b"text/event-stream", b": hello\n\nevent: ping\r\ndata: {}\r\n\r\ndata: [DONE]\n\n"),
}
OURS = {b"host", b"x-api-key", b"content-length"}


class Endpoint(NamedTuple):
    """A line of `tests/data/endpoints.txt`."""

    method: str
    path: str
    body: str
    answer: str


LINES = Path(__file__).with_name("data").joinpath("endpoints.txt").read_text("utf-8").splitlines()
ENDPOINTS = [Endpoint(*line.split("\t")) for line in LINES if not line.startswith("#")]


def answer_as_asked(connection: Connection) -> None:
    while True:
        request = connection.request()
        kind, body = ANSWERS[request.values(b"x-kind")[0]]
        if kind == b"text/event-stream":
            connection.begin_stream()
            connection.chunk(body)
            connection.chunk(b"")
        else:
            head = b"HTTP/1.1 201 X\r\nContent-Type: %b\r\nrequest-id: req_1\r\n" % kind
            connection.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def headers_of(endpoint: Endpoint, kind: bytes) -> Headers:
    content_type = CONTENT[endpoint.body][0]
    typed = [(b"Content-Type", content_type)] if content_type else []
    return [
        (b"anthropic-version", b"2026-10-21"),
        (b"Anthropic-Beta", b"a-2026-01-01, b-2026-02-02"),
        *typed,
        (b"anthropic-beta", b"c"),
        (b"X-Kind", kind),
        (b"x-ODD", b'"\xe9",;='),
        (b"Accept", b"application/binary"),
    ]


def test_all_endpoints_are_listed() -> None:
    assert len(set(ENDPOINTS)) == 271


@pytest.mark.parametrize("prefix", [b"", b"/anthropic"])
def test_every_endpoint_passes_through_unchanged(line: Bench, prefix: bytes) -> None:
    gateway, upstream = line.pair(answer_as_asked)
    with RawClient(gateway.port) as client:
        for endpoint in ENDPOINTS:
            for kind in (word.encode() for word in re.findall("JSONL|JSON|binary|SSE", endpoint.answer)):
                _pass_through(client, upstream.requests, endpoint, kind, prefix)
    assert upstream.accepted == 1
    assert {entry.ended for entry in gateway.entries} <= {"done", "upstream_error"}  # streams have no end


def _pass_through(
    client: RawClient, seen: list[RawRequest], endpoint: Endpoint, kind: bytes, prefix: bytes
) -> None:
    target = re.sub(rb"\{\w+\}", lambda _: ODD_ID, endpoint.path.encode()) + ODD_QUERY
    headers, body = headers_of(endpoint, kind), CONTENT[endpoint.body][1]
    method = endpoint.method.encode()
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    framing = b"Content-Length: %d\r\n" % len(body) if body else b""
    answer = client.ask(
        b"%b %b%b HTTP/1.1\r\nHost: g\r\n%b%b\r\n" % (method, prefix, target, lines, framing) + body
    )
    request = seen[-1]
    assert request.line == b"%b %b HTTP/1.1" % (method, target)
    assert [header for header in request.headers if header[0].lower() not in OURS] == headers
    assert request.body == body
    expected_type, expected = ANSWERS[kind]
    assert answer.body == expected
    assert answer.values(b"content-type")[0].split(b";")[0] == expected_type.split(b";")[0]
    assert answer.status == (200 if kind == b"SSE" else 201)


def framed(body: bytes, pieces: list[int]) -> bytes:
    """`body` with its framing lines: chunked if there are `pieces`, else with a length."""
    if not pieces:
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks, at, turn = b"", 0, 0
    while at < len(body):
        piece = body[at : at + pieces[turn % len(pieces)]]
        chunks += b"%x\r\n%b\r\n" % (len(piece), piece)
        at, turn = at + len(piece), turn + 1
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


SIZES = st.sampled_from([0, 1, 2, 100, 65_535, 65_536, 65_537, 65_600, 131_073, 300_000])
PIECES = st.lists(st.sampled_from([1000, 4096, 65_535, 65_536, 65_537, 200_000]), max_size=3)
CUTS = st.lists(st.floats(0, 1, allow_nan=False), max_size=8)
PATHS = st.sampled_from([b"/v1/messages", b"/v1/files", b"/anthropic/v1/messages/batches", b"/v1/x?y=%zz"])


def test_any_cut_of_a_request_is_the_same_request_and_the_same_record(line: Bench) -> None:
    gateway, upstream = line.pair()

    @settings(max_examples=80)
    @given(
        method=st.sampled_from([b"POST", b"PUT", b"PATCH", b"DELETE"]),
        path=PATHS,
        size=SIZES,
        pieces=PIECES,
        cuts=CUTS,
        extra=st.sampled_from([b"", b"X-A: b\r\n", b"Expect: 100-continue\r\n", b"X-Empty:\r\n" * 50]),
    )
    def any_cut(
        method: bytes, path: bytes, size: int, pieces: list[int], cuts: list[float], extra: bytes
    ) -> None:
        body = (b'{"model":"m"}' + bytes(range(256)) * (size // 256 + 1))[:size]
        data = b"%b %b HTTP/1.1\r\nHost: g\r\n%b" % (method, path, extra) + framed(body, pieces)
        places = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
        before = len(gateway.entries)
        with RawClient(gateway.port) as client:
            for start, end in pairwise(places):
                client.send(data[start:end])
            answer = client.response()
            while answer.status == 100:
                answer = client.response()
            assert answer.status == 200
        request, entry = upstream.requests[-1], gateway.entry(before + 1)
        assert request.line == b"%b %b HTTP/1.1" % (method, path.removeprefix(b"/anthropic"))
        assert request.body == body
        assert (entry.method, entry.path) == (method.decode(), path.partition(b"?")[0].decode())
        assert (entry.request_bytes, entry.ended, entry.status) == (size, "done", 200)
        assert len(gateway.entries) == before + 1

    any_cut()
    _nothing_is_left(gateway)


def _nothing_is_left(gateway: Gateway) -> None:
    held = gateway.worker.line
    gateway.until(lambda: not (held.live or held.drains or held.held_bytes))
    gateway.until(lambda: not gateway.worker.server.connections)
