"""Several requests on one connection, sent without waiting for the answers."""

from __future__ import annotations

import time
from functools import partial

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, get, post


def test_pipelined_requests_are_answered_in_order(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.send(b"".join(post(b"%d" % n) + get(b"/health") for n in range(20)))
        for _ in range(20):
            assert client.response().body == b'{"ok":true}'
            assert client.response().body == b'{"status":"healthy"}'
    assert [request.body for request in upstream.requests] == [b"%d" % n for n in range(20)]
    assert upstream.accepted == 1


def test_thousands_of_pipelined_requests_are_answered_without_deep_recursion(line: Bench) -> None:
    gateway, _ = line.pair()
    count = 3000
    with RawClient(gateway.port) as client:
        client.send(get(b"/health") * count)
        for _ in range(count):
            assert client.response().status == 200


def test_pipelined_rubbish_does_not_spoil_the_answer_before_it(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        client.send(post(b"{}") + b"rubbish\r\n\r\n")
        assert client.response().body == b'{"ok":true}'
        assert client.response().status == 400
        assert client.read_to_end() == b""


def test_pipelined_requests_before_the_last_one_are_all_answered(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        client.send(get() * 3 + get(headers=b"Connection: close\r\n") + get())
        answers = [client.response() for _ in range(4)]
        assert client.read_to_end() == b""
    assert [answer.values(b"connection") for answer in answers] == [[], [], [], [b"close"]]


def sweep_until_ended(gateway: Gateway) -> None:
    deadline = time.monotonic() + 10
    while not gateway.entries:
        assert time.monotonic() < deadline
        gateway.pass_time(0)


def test_client_that_leaves_with_requests_waiting_is_noticed(line: Bench, clock: HeldClock) -> None:
    """Also with more of them than are read ahead: then nobody reads its end, and the sweep looks for it."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.wait_closed()

    for early in (get(), get(b"/v1/" + b"x" * 8_000) * 14):
        gateway, upstream = line.pair(script, clock=clock)
        (server, requests) = (gateway.worker.server, upstream.requests)
        with RawClient(gateway.port) as client:
            client.send(get())
            gateway.until(partial(list, requests))
            client.send(early)
            if len(early) > 100_000:
                gateway.until(lambda: any(c.unread_socket() for c in server.connections))  # noqa: B023
        sweep_until_ended(gateway)
        assert gateway.entry().ended == "client_gone"


def test_connection_close_of_the_client_is_honoured(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}", headers=b"Connection: close\r\n") + get(b"/health"))
        assert answer.values(b"connection") == [b"close"]
        assert client.read_to_end() == b""
