"""What happens ten thousand times leaves nothing behind, and a thousand streams at once all hold."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from ferryman.http1.client import ClientConnection
from ferryman.http1.connection import ServerConnection
from ferryman.http1.parser import RequestParser
from ferryman.model import Ended, Entry
from ferryman.relay.exchange import Exchange
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, get, post

STREAMS = 10_000
WARM_UP = 1_000
AT_ONCE = 50
GROWTH_BYTES = 8 << 20

PACED = 1_000
EVENTS = 5
PACE_SECONDS = 0.1

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9}}}\n\n'
STOP = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESET = struct.pack("ii", 1, 0)
OURS = (Exchange, ServerConnection, ClientConnection, RequestParser)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(name: bytes, number: int) -> bytes:
    """An event that differs from stream to stream, and in length from its neighbours."""
    return b'event: content_block_delta\ndata: {"text":"%b-%d%b"}\n\n' % (name, number, b"x" * number * 7)


class StreamServer(asyncio.Protocol):
    """Begins a stream for each request; with `paced`, goes on with it and ends it."""

    def __init__(self, upstream: AsyncUpstream) -> None:
        self.upstream = upstream
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.upstream.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < len(ASK.partition(b"\r\n\r\n")[2]):
            return
        self.received = b""
        self.transport.write(HEAD + chunk(START))
        if self.upstream.paced:
            name = head.partition(b"X-Name: ")[2].partition(b"\r\n")[0]
            asyncio.get_running_loop().call_later(PACE_SECONDS, self.go_on, name, 0)

    def go_on(self, name: bytes, number: int) -> None:
        if number == EVENTS:
            self.transport.write(chunk(STOP) + b"0\r\n\r\n")
            return
        self.transport.write(chunk(event(name, number)))
        asyncio.get_running_loop().call_later(PACE_SECONDS, self.go_on, name, number + 1)


class AsyncUpstream:
    """A fast upstream on a thread of its own."""

    def __init__(self, *, paced: bool) -> None:
        self.paced = paced
        self.open: set[StreamServer] = set()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: StreamServer(self), "127.0.0.1", 0, backlog=2048)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for connection in list(self.open):
            connection.transport.abort()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


ASK = post(b'{"model":"m","stream":true}')


class Leaver(asyncio.Protocol):
    """Asks, and goes as soon as the first event is there: with a reset, or with a clean close."""

    def __init__(self, *, reset: bool) -> None:
        self.gone = asyncio.get_running_loop().create_future()
        self.reset = reset
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(ASK)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if START in self.received:
            if self.reset:
                sock: socket.socket = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(START in self.received)


async def leave_often(port: int, count: int) -> None:
    """Begin and abort `count` streams, some at a time."""
    numbers: Iterator[int] = iter(range(count))
    loop = asyncio.get_running_loop()

    async def one_after_another() -> None:
        for number in numbers:
            _, leaver = await loop.create_connection(lambda: Leaver(reset=number % 2 == 0), "127.0.0.1", port)  # noqa: B023  # called at once
            assert await leaver.gone

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())


def ours_alive() -> Counter[type]:
    """How many objects of ours there are, by their type: those that wait for the collector, too."""
    return Counter(type(one) for one in gc.get_objects() if type(one) in OURS)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def nothing_left(gateway: Gateway) -> bool:
    worker = gateway.worker
    return not (worker.line.live or worker.server.connections or worker.line.targets[0].pool.open_count)


NOTHING_OF_IT = Entry(
    id="", started_at=datetime.fromtimestamp(0, UTC), method="", path="", request_bytes=0, ended=Ended.DONE,
    attempts=0, usage_complete=True, response_bytes=0, duration_seconds=0.0,
)  # fmt: skip


def counted(seen: Counter[tuple[str, bool, bool]], entry: Entry) -> Entry:
    """Count `entry` in place of keeping it: ten thousand of them would take more than what is looked for."""
    seen[entry.ended.value, entry.usage is not None, entry.usage_complete] += 1
    return NOTHING_OF_IT


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize(("loop", "streams"), [("asyncio", STREAMS), ("uvloop", STREAMS // 5)])
def test_ten_thousand_aborted_streams_leave_nothing_behind(line: Bench, loop: str, streams: int) -> None:
    with AsyncUpstream(paced=False) as upstream:
        gateway = line.gateway(upstream.url, loop=loop)
        gc.collect()
        gc.disable()  # what refers to itself would stay
        try:
            asyncio.run(leave_often(gateway.port, WARM_UP))
            gateway.until(lambda: nothing_left(gateway))
            alive = ours_alive()
        finally:
            gc.enable()
        assert alive.total() < AT_ONCE, "each connection waits for the garbage collector"
        gateway.entries.clear()
        seen: Counter[tuple[str, bool, bool]] = Counter()
        gateway.keeps = lambda entry: counted(seen, entry)
        resident = resident_bytes()
        asyncio.run(leave_often(gateway.port, streams))
        gateway.until(lambda: nothing_left(gateway))
        assert seen == {("client_gone", True, False): streams}
        gateway.until(lambda: not upstream.open)
        gateway.entries.clear()  # kept by the test, not by the gateway
        gc.collect()
        assert ours_alive().total() <= alive.total()
        assert resident_bytes() - resident < GROWTH_BYTES


def test_refused_request_does_not_wait_for_the_garbage_collector(line: Bench) -> None:
    gateway, _ = line.pair()
    gc.collect()
    gc.disable()  # what refers to itself would stay
    try:
        for _ in range(5):
            with RawClient(gateway.port) as client:
                assert client.ask(post(b"{}", path=b"/nowhere")).status == 404
        gateway.until(lambda: nothing_left(gateway))
        alive = ours_alive()
    finally:
        gc.enable()
    assert alive[Exchange] == 0


async def read_paced(port: int, number: int) -> bytes:
    """All that one paced stream brings, without its head."""
    name = b"%d" % number
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b'{"model":"m","stream":true}', headers=b"X-Name: %b\r\nConnection: close\r\n" % name))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


def without_chunks(data: bytes) -> bytes:
    """A chunked body as one."""
    body = b""
    while True:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert rest == b"\r\n"
            return body
        body, data = body + rest[:length], rest[length + 2 :]


async def read_all_paced(port: int) -> list[bytes]:
    return await asyncio.gather(*(read_paced(port, number) for number in range(PACED)))


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_thousand_paced_streams_all_come_through_whole(line: Bench, loop: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * PACED + 500  # each stream has four sockets in this process
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with AsyncUpstream(paced=True) as upstream:
            gateway = line.gateway(upstream.url, loop=loop)
            answers = asyncio.run(read_all_paced(gateway.port))
            gateway.until(lambda: not gateway.worker.server.connections)
            gateway.stop(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for number, answer in enumerate(answers):
        events = b"".join(event(b"%d" % number, at) for at in range(EVENTS))
        assert without_chunks(answer) == START + events + STOP
    assert Counter(entry.ended.value for entry in gateway.entries) == {"done": PACED}
    assert all(entry.usage_complete and entry.attempts == 1 for entry in gateway.entries)


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_client_that_reads_slowly_has_its_time_for_the_end_of_an_answer_too(
    line: Bench, clock: HeldClock, close: bytes
) -> None:
    """All has come from the upstream; what the client has not read yet waits for it here."""
    piece = b"x" * 48_000  # below asyncio's high-water mark, so that the upstream is not made to wait
    go = threading.Semaphore(0)
    pieces = 0

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        while go.acquire(timeout=10) and pieces:
            connection.chunk(piece)
        connection.chunk(b"")
        connection.wait_closed()

    gateway, _ = line.pair(script, clock=clock, client_stall_timeout_seconds=300.0)
    with RawClient(gateway.port) as client:
        client.send(get(b"/v1/files", headers=close))
        client.read_until(b"\r\n\r\n")
        (exchange,) = gateway.until(lambda: gateway.worker.line.live)
        transport: asyncio.Transport = exchange.client._transport  # type: ignore[assignment]
        sent = 0
        while not gateway.run(transport.get_write_buffer_size):
            pieces = sent = sent + 1
            go.release()
            gateway.until(lambda: exchange.response_bytes == sent * len(piece))  # noqa: B023  # called at once
        pieces = 0
        go.release()
        assert gateway.entry().ended == "done"
        gateway.pass_time(100)
        data = client.read_until(b"\r\n0\r\n\r\n")
    assert data.count(b"x") == sent * len(piece)
