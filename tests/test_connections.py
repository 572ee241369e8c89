"""How many connections there may be, and what those beyond it get."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest

from ferryman.http1.server import MAX_REFUSED
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, get, post


@pytest.mark.parametrize("setting", ["max_connections", "max_connections_per_address"])
def test_connection_beyond_the_bound_is_told_to_try_again(line: Bench, setting: str) -> None:
    gateway, upstream = line.pair(None, **{setting: 2})
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        assert (first.ask(get()).status, second.ask(get()).status) == (200, 200)
        with RawClient(gateway.port) as third:
            answer = third.ask(post(b"{}"))
            assert third.read_to_end() == b""
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["type"]) == (529, "overloaded_error")
        assert f"`{setting}`" in error["message"]
        assert answer.values(b"retry-after") == [b"1"]
        assert second.ask(get()).status == 200
    gateway.until(lambda: not gateway.worker.server.connections)
    with RawClient(gateway.port) as fourth:
        assert fourth.ask(get()).status == 200
    assert len(upstream.requests) == 4


def test_connection_beyond_the_bound_that_asks_nothing_is_closed_soon(line: Bench, clock: HeldClock) -> None:
    gateway, _ = line.pair(clock=clock, max_connections=1)
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        first.ask(get())
        second.send(b"GET /v1/mod")
        gateway.until(lambda: len(gateway.worker.server.connections) == 2)
        gateway.pass_time(4)
        second.send(b"els")
        gateway.pass_time(2)
        assert b" 408 " in second.read_to_end()
        assert first.ask(get()).status == 200


def test_flood_of_connections_is_cut_and_leaves_nothing(line: Bench) -> None:
    gateway, _ = line.pair(max_connections=1)
    server = gateway.worker.server
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(RawClient(gateway.port))
        first.ask(get())
        for _ in range(MAX_REFUSED + 50):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(RawClient(gateway.port))
        gateway.until(lambda: len(server.connections) == MAX_REFUSED + 1)
        assert first.ask(get()).status == 200
    gateway.until(lambda: not server.connections)
    with RawClient(gateway.port) as later:
        assert later.ask(get()).status == 200


def test_trusted_proxy_may_bring_many(line: Bench) -> None:
    gateway, _ = line.pair(max_connections_per_address=1, trusted_proxies="127.0.0.1")
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        assert (first.ask(get()).status, second.ask(get()).status) == (200, 200)


def test_upload_takes_the_place_of_an_idle_connection(line: Bench) -> None:
    """It needs a connection of its own, and the pool is full of idle ones."""
    gateway, upstream = line.pair(upstream_max_connections=1)
    body = b"x" * 100_000
    with RawClient(gateway.port) as client:
        assert client.ask(get()).status == 200
        assert client.ask(post(body, path=b"/v1/files")).status == 200
    assert (upstream.accepted, len(upstream.requests)) == (2, 2)


def test_full_pool_of_busy_connections_refuses_an_upload(line: Bench) -> None:
    go = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        assert go.wait(10)
        connection.answer()

    gateway, upstream = line.pair(script, upstream_max_connections=1)
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        first.send(get())
        gateway.until(lambda: upstream.requests)
        assert second.ask(post(b"x" * 100_000, path=b"/v1/files")).status == 529
        go.set()
        assert first.response().status == 200
