"""The parts of the control plane and the way to it, in this process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ferryman.clock import SystemClock
from ferryman.control.app import Gate, create_app
from ferryman.control.feed import FeedServer
from ferryman.control.processes import Processes, resident_bytes
from ferryman.control.server import Server
from ferryman.process.messages import ProcessState
from ferryman.settings import Settings
from ferryman.supervisor import cause_of
from ferryman.telemetry.writer import ATOMIC_BYTES, _pieces
from tests.conftest import KEY, Bench
from tests.support.gateway import Gateway
from tests.support.raw import RawClient, RawRequest, get, post, read_request
from tests.test_feed import state

DEADLINE_SECONDS = 10.0

CONTROL_PATHS = [
    *(
        b"/metrics",
        b"/ui",
        b"/openapi.json",
        b"/ui/a",
        b"/control/processes",
        b"/key/generate",
        b"/v2/key/info",
        b"/audit",
    ),
    *(b"/user/new", b"/team/new", b"/customer/new", b"/end_user/new", b"/budget/new", b"/tag/new"),
    *(b"/spend/logs", b"/global/spend/report"),
]


# ── the way from a worker ──


class ControlPlane:
    """Listens on a Unix socket and does what a script says, once a connection."""

    def __init__(self, path: Path, answer: Callable[[socket.socket], None]) -> None:
        self.requests: list[RawRequest] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(DEADLINE_SECONDS)
                try:
                    request, _ = read_request(sock, b"")
                except ConnectionError:
                    continue
                self.requests.append(request)
                self._answer(sock)


def fine(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")


def gateway_with(line: Bench, path: Path, **more: Any) -> Gateway:
    """A worker whose control plane listens on `path`, if any does."""
    settings = Settings(port=0, upstream_url=line.upstream().url, **more)
    return line.enter(Gateway(settings, control_socket=str(path)))


@pytest.mark.parametrize("path", CONTROL_PATHS)
def test_path_of_the_control_plane_needs_one(line: Bench, path: bytes) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}", path=path))
        assert client.ask(get(b"/health")).status == 200
    assert (answer.status, answer.values(b"retry-after")) == (503, [b"1"])
    assert json.loads(answer.body)["error"]["type"] == "api_error"
    assert upstream.requests == []


@pytest.mark.parametrize("path", [b"/metric", b"/keys/x", b"/key", b"/uix", b"/controls/x", b"/v1/metrics"])
def test_path_that_only_resembles_one_does_not_go_there(line: Bench, short: Path, path: bytes) -> None:
    with ControlPlane(short / "c", fine) as control:
        gateway = gateway_with(line, short / "c")
        with RawClient(gateway.port) as client:
            assert client.ask(get(path)).status == (200 if path.startswith(b"/v1/") else 404)
    assert control.requests == []


@pytest.mark.parametrize("key", [None, KEY], ids=["passthrough", "open"])
def test_request_reaches_the_control_plane_as_it_came(line: Bench, short: Path, key: str | None) -> None:
    with ControlPlane(short / "c", fine) as control:
        gateway = gateway_with(line, short / "c", anthropic_api_key=key)
        credentials = b"Authorization: Bearer one\r\nX-Api-Key: two\r\nX-Ferryman-Key: three\r\n"
        with RawClient(gateway.port) as client:
            body = b'{"a": 1}'
            answer = client.ask(
                post(body, path=b"/key/generate?b=%20c", headers=credentials + b"X-Mine: 4\r\n")
            )
            head = client.ask(get(b"/metrics", method=b"HEAD"), head_only=True)
    assert (answer.status, answer.body, head.status) == (200, b"ok", 200)
    assert answer.values(b"x-ferryman-mutations") == [b"none"]
    request = control.requests[0]
    assert request.line == b"POST /key/generate?b=%20c HTTP/1.1"
    assert request.body == body
    for name, value in ((b"authorization", b"Bearer one"), (b"x-api-key", b"two"), (b"x-mine", b"4")):
        assert request.values(name) == [value]
    assert request.values(b"x-ferryman-key") == [b"three"]
    assert request.values(b"anthropic-version") == []
    assert KEY.encode() not in b"".join(value for _, value in request.headers)
    assert gateway.entries == [], "it is no exchange with the upstream: no record"


@pytest.mark.parametrize(
    ("trusted", "told"), [(None, b"127.0.0.1"), ("127.0.0.1", b"9.9.9.9")], ids=["direct", "behind a proxy"]
)
def test_control_plane_is_told_whom_the_client_called_and_who_it_is(
    line: Bench, short: Path, trusted: str | None, told: bytes
) -> None:
    """For the limit on sign-ins and for the audit log, so that no client may make it up."""
    with ControlPlane(short / "c", fine) as control:
        gateway = gateway_with(line, short / "c", trusted_proxies=trusted)
        forged = b"X-Ferryman-Client-Address: 1.1.1.1\r\nx-ferryman-client-address: 2.2.2.2\r\n"
        forwarded = b"X-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n"
        for _ in range(2):
            with RawClient(gateway.port) as client:
                for _ in range(2):  # the second time the head is known already
                    assert client.ask(get(b"/metrics", headers=forged + forwarded)).status == 200
    assert len(control.requests) == 4
    for request in control.requests:
        assert request.values(b"x-ferryman-client-address") == [told]
        assert request.values(b"host") == [b"gateway"]


def test_header_with_the_clients_address_never_goes_upstream(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.ask(get(b"/v1/models", headers=b"X-Ferryman-Client-Address: 1.1.1.1\r\n"))
    assert upstream.requests[0].values(b"x-ferryman-client-address") == []


def test_address_of_the_client_is_taken_of_workers_alone(short: Path) -> None:
    async def tell(request: Request) -> Response:
        assert "x-ferryman-client-address" not in request.headers
        return PlainTextResponse(f"{request.client.host if request.client else None} {request.base_url}")

    async def work() -> None:
        app = create_app([Route("/", tell)], SystemClock())
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(short / "s"))
        tcp = socket.create_server(("127.0.0.1", 0))
        server = Server(Gate(app, "sk-master", SystemClock()))
        await server.listen([unix, tcp])
        headers = {"x-api-key": "sk-master", "x-ferryman-client-address": "10.0.0.1", "host": "gw.example"}
        worker = httpx.AsyncHTTPTransport(uds=str(short / "s"))
        async with httpx.AsyncClient(transport=worker) as client:
            assert (await client.get("http://c/", headers=headers)).text == "10.0.0.1 http://gw.example/"
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{tcp.getsockname()[1]}/", headers=headers)
            assert answer.text == "127.0.0.1 http://gw.example/"
        await server.stop()

    asyncio.run(work())


def test_control_plane_that_is_away_is_told_and_comes_back(line: Bench, short: Path) -> None:
    gateway = gateway_with(line, short / "c")
    with RawClient(gateway.port) as client:
        away = client.ask(get(b"/metrics"))
        assert (away.status, away.values(b"retry-after")) == (503, [b"1"])
        assert client.ask(get(b"/v1/models")).status == 200
        with ControlPlane(short / "c", fine):
            assert client.ask(get(b"/metrics")).status == 200


def test_request_whose_control_plane_dies_is_not_made_twice(line: Bench, short: Path) -> None:
    with ControlPlane(short / "c", lambda _: None) as control:
        gateway = gateway_with(line, short / "c")
        with RawClient(gateway.port) as client:
            for _ in range(2):
                lost = client.ask(post(b"{}", path=b"/key/generate"))
                assert (lost.status, lost.values(b"retry-after")) == (503, [b"1"])
                assert "ended before its answer did" in json.loads(lost.body)["error"]["message"]
    assert len(control.requests) == 2


def test_answer_under_way_counts_as_live_and_is_drained(line: Bench, short: Path) -> None:
    go = threading.Event()

    def answer(sock: socket.socket) -> None:
        assert go.wait(DEADLINE_SECONDS)
        fine(sock)

    with ControlPlane(short / "c", answer) as control:
        gateway = gateway_with(line, short / "c")
        with RawClient(gateway.port) as client:
            client.send(get(b"/metrics"))
            gateway.until(lambda: control.requests)
            assert len(gateway.worker.line.live) == 1
            stopping = gateway.begin_stop(10)
            gateway.until(lambda: gateway.worker.line.draining)
            go.set()
            assert client.response().status == 200
            stopping.result(10)


# ── what is told of processes ──


def test_state_of_a_dead_worker_is_not_told_of_its_successor() -> None:
    feed = FeedServer(SystemClock())
    processes = Processes(feed, lambda pid: pid * 10)
    feed.states[1] = state(pid=7)
    told = [ProcessState("worker", 1, "running", pid, 1.0, 0) for pid in (7, 8)]
    processes.take([*told, ProcessState("control", 0, "waiting", None, None, 3)])
    same, other, control = processes.rows()
    assert (same["live"], same["memory_bytes"]) == (2, 70)
    assert (other["live"], other["memory_bytes"]) == (None, 80)
    assert (control["pid"], control["memory_bytes"], control["restarts"]) == (None, None, 3)
    assert "live" not in control


def test_workers_have_gone_when_none_has_a_process() -> None:
    processes = Processes(FeedServer(SystemClock()))
    assert not processes.workers_gone.is_set(), "nothing was told yet"
    for pid, gone in ((7, False), (None, True), (8, False)):
        processes.take(
            [ProcessState("control", 0, "running", 5, 1.0, 0), ProcessState("worker", 1, "x", pid, 1.0, 0)]
        )
        assert processes.workers_gone.is_set() is gone


def test_memory_of_a_process_that_has_gone_is_unknown() -> None:
    assert (resident_bytes(os.getpid()) or 0) > 10_000_000
    assert resident_bytes(2**22 + 1) is None


@pytest.mark.parametrize(
    ("code", "cause"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-99, "signal 99")]
)
def test_cause_of_an_end_is_named(code: int, cause: str) -> None:
    assert cause_of(code) == cause


@pytest.mark.parametrize("module", ["ferryman.relay.process", "ferryman.control.process"])
def test_process_that_nobody_has_started_says_so(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "ferryman: this process is started by `ferryman serve`, whose settings did not come\n"
    )


# ── lines of several writers ──


@pytest.mark.parametrize("size", [1, 100, ATOMIC_BYTES - 1, ATOMIC_BYTES, ATOMIC_BYTES + 1, 3 * ATOMIC_BYTES])
def test_what_is_written_at_once_is_whole_lines_and_short(size: int) -> None:
    data = b"".join(b"%d" % (number % 10) * (size - 1) + b"\n" for number in range(100))
    pieces = list(_pieces(data))
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= max(ATOMIC_BYTES, size) for piece in pieces)
    assert list(_pieces(b"x" * 10_000)) == [b"x" * 10_000]
