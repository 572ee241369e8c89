"""What the worker answers itself, and what it refuses by its path."""

from __future__ import annotations

import json

import pytest

from ferryman import __version__
from tests.conftest import Bench
from tests.support.raw import RawClient, get, post

OWN = [
    b"/",
    b"/api/hello",
    b"/health",
    b"/health/liveliness",
    b"/health/liveness",
    b"/health/readiness",
    b"/version",
]


@pytest.mark.parametrize("path", OWN)
def test_own_path_is_answered_here_and_leaves_no_record(line: Bench, path: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(get(path + b"?x=1"))
        assert answer.status == 200
        assert isinstance(json.loads(answer.body), dict)
        head = client.ask(get(path, method=b"HEAD"), head_only=True)
        assert (head.status, head.values(b"content-length")) == (200, answer.values(b"content-length"))
        assert client.ask(get(path)).body == answer.body
    assert (upstream.requests, gateway.entries) == ([], [])


def test_version_tells_the_version(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert json.loads(client.ask(get(b"/version")).body) == {"version": __version__}


@pytest.mark.parametrize(
    "path", [b"/nope", b"/v1", b"/v2/messages", b"/anthropic", b"/anthropicx/v1", b"/healthy"]
)
def test_unknown_path_gets_404_that_names_the_prefixes(line: Bench, path: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(get(path))
        assert client.ask(get(b"/health")).status == 200
    error = json.loads(answer.body)
    assert (answer.status, error["type"], error["error"]["type"]) == (404, "error", "not_found_error")
    assert "/anthropic/" in error["error"]["message"]
    assert "/v1/" in error["error"]["message"]
    assert answer.values(b"x-should-retry") == [b"false"]
    assert (
        answer.values(b"request-id")
        == [error["request_id"].encode()]
        == answer.values(b"x-ferryman-request-id")
    )
    assert upstream.requests == []
    assert (gateway.entry().ended, gateway.entry().status) == ("refused", 404)


def test_own_path_with_another_method_is_not_ours(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"{}", path=b"/health")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        b"//v1/messages",
        b"/v1//messages",
        b"/v1/./messages",
        b"/v1/../admin",
        b"/v1/x/..",
        b"/v1/%2e%2e/admin",
        b"/v1/.%2E/admin",
        b"/v1/x%2Fy",
        b"/v1/x%2fy",
        b"/v1/x%5cy",
        b"/anthropic/../v1/messages",
        b"http:///v1/messages",
    ],
)
def test_path_that_can_be_read_in_two_ways_is_refused(line: Bench, path: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(get(path))
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"
    assert upstream.requests == []


def test_dots_within_a_name_are_fine(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(get(b"/v1/models/claude-3.5..x/.hidden?p=../x")).status == 200
    assert upstream.requests[0].line == b"GET /v1/models/claude-3.5..x/.hidden?p=../x HTTP/1.1"


def test_absolute_target_is_read_as_its_path(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(get(b"http://gateway:80/v1/models?x=1")).status == 200
    assert upstream.requests[0].line == b"GET /v1/models?x=1 HTTP/1.1"


def test_readiness_is_lost_while_draining(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        client.send(get(b"/health/readiness")[:-2])  # a request that has begun keeps its connection
        gateway.until(lambda: any(c._parser.in_head for c in gateway.worker.server.connections))  # type: ignore[attr-defined]
        stopping = gateway.begin_stop(5)
        gateway.until(lambda: gateway.worker.line.draining)
        answer = client.ask(b"\r\n")
        stopping.result(10)
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "draining")
    assert answer.values(b"connection") == [b"close"]


@pytest.mark.parametrize(
    "target",
    [b"/foo?key=SECRET", b"/v1/m?key=SECRET#f", b"http://u:SECRET@h/foo", b"/v1/messages?a=SECRET#f"],
)
def test_query_and_user_of_a_refused_target_are_told_to_nobody(line: Bench, target: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}", path=target))
    assert answer.status in {400, 404}
    assert b"SECRET" not in answer.body
    assert "SECRET" not in repr(gateway.entry())
    assert upstream.requests == []


@pytest.mark.parametrize("size", [100, 200_000])
def test_body_of_a_request_for_an_own_path_is_read_and_dropped(line: Bench, size: int) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        for _ in range(2):
            client.send(get(b"/health", headers=b"Content-Length: %d\r\n" % size) + b"x" * size)
            assert client.response().body == b'{"status":"healthy"}'
    assert upstream.accepted == 0
    assert gateway.run(lambda: gateway.worker.line.held_bytes) == 0
