"""nginx and Caddy in front of a gateway, with the files of `deploy/`: nothing gets lost between them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bench
from tests.support.edge import Connection, Script
from tests.support.front import Front
from tests.support.gateway import Gateway
from tests.support.raw import get, post
from tests.support.tls import Authority
from tests.test_exchange_line import START, STOP
from tests.test_shutdown import ASK, Held

FORGED = b"anthropic-version: 2023-06-01\r\nX-Forwarded-For: 6.6.6.6\r\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class Place:
    """One kind of front, and one way from it to the gateway."""

    def __init__(self, line: Bench, kind: str, way: str, directory: Path) -> None:
        self._line, self._kind, self._way, self._directory = line, kind, way, directory

    def build(self, script: Script | None = None) -> tuple[Front, Gateway]:
        """The front, which trusts nobody's word, and the gateway, which trusts the front's."""
        upstream = self._line.upstream(script).url
        path = str(self._directory / "f.sock")
        if self._way == "unix":
            gateway = self._line.gateway(upstream, unix_socket=path, trusted_proxies="unix")
            return self._front(path), gateway
        gateway = self._line.gateway(upstream, trusted_proxies="127.0.0.1")
        return self._front(f"127.0.0.1:{gateway.port}"), gateway

    def _front(self, backend: str) -> Front:
        return self._line.enter(Front(self._kind, backend, Authority(self._directory)))


@pytest.fixture(params=["nginx-tcp", "nginx-unix", "caddy-tcp", "caddy-unix"])
def place(line: Bench, request: pytest.FixtureRequest) -> Iterator[Place]:
    kind, _, way = str(request.param).partition("-")
    with tempfile.TemporaryDirectory(prefix="ferryman-") as directory:  # short: a socket's path is bounded
        yield Place(line, kind, way, Path(directory))
        line.close()


def test_events_arrive_one_by_one(place: Place) -> None:
    """The upstream sends the next one when the client has the last one."""
    go = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        for event in (START, *[PING] * 5, STOP, b""):
            assert go.acquire(timeout=10)
            connection.chunk(event)
        connection.wait_closed()

    front, gateway = place.build(script)
    with front.client() as client:
        client.send(post(b'{"model":"m","stream":true}', headers=FORGED))
        for event in (START, *[PING] * 5, STOP):
            go.release()
            client.read_until(event)
        go.release()
        client.read_until(b"\r\n0\r\n\r\n")
    entry = gateway.entry()
    assert (entry.ended, entry.client_address) == ("done", "127.0.0.2")


def test_large_body_and_its_answer_pass_untouched(place: Place) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def script(connection: Connection) -> None:
        asked = connection.request()
        seen.append((asked.line, asked.body))
        connection.answer(b" " + asked.body)

    front, gateway = place.build(script)
    body = b'{"model":"m","x":"' + b"\xc3\xbc" * 4_000_000 + b'"}'
    with front.client() as client:
        answer = client.ask(post(body, path=b"/v1/a%20b;c?x=%2F&y=", headers=FORGED))
    assert answer.body == b" " + body
    assert seen == [(b"POST /v1/a%20b;c?x=%2F&y= HTTP/1.1", body)]
    assert gateway.entry().client_address == "127.0.0.2"


def test_client_that_leaves_ends_the_upstream(place: Place) -> None:
    held = Held()
    front, gateway = place.build(held.script)
    with front.client() as client:
        client.send(ASK)
        client.read_until(START)
    assert gateway.entry().ended == "client_gone"
    held.go.set()
    assert held.closed.wait(10)


def test_connection_to_the_gateway_is_kept_for_the_next_client(place: Place) -> None:
    front, gateway = place.build()
    for _ in range(3):
        with front.client() as client:
            assert client.ask(get()).status == 200
    assert [gateway.entry(number).status for number in (1, 2, 3)] == [200] * 3
    assert gateway.run(lambda: len(gateway.worker.server.connections)) == 1
