"""Large bodies both ways, and clients that stop reading: what they take of the gateway's memory."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from ferryman.tasks import TaskOwner
from proofs.soak.client import Client
from proofs.soak.kinds import blocks, expect
from proofs.soak.process import Failed, Gateway, Upstream, resident_bytes

BODY_GROWTH_BYTES = 20_000_000
"""What a body of any size may add while it passes: a few reads of 256 KiB each way, and what the
allocator keeps of them (`ferryman.cli.serve.tune_allocator` lets it keep 16 MiB)."""

STALLED = 16
STALLED_STREAM_EVENTS = 360_000  # of 115 bytes: 41 MB
STALLED_GROWTH_BYTES = 1_000_000
"""What one stalled client may add: asyncio stops at 64 KiB, one read of 256 KiB may stand behind it.
Measured as the mean of several, so that noise of some hundred kilobytes does not count."""

STALL_SECONDS = 3.0
"""Enough to fill every buffer: then the upstream is made to wait."""

WARM_UP_BYTES = 20_000_000
READ_EVERY_SECONDS = 0.02

T = TypeVar("T")


class Peak:
    """The most memory that the gateway's workers take, looked at now and then and asked of the kernel."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.before = self._now()
        self.most = self.before

    async def during(self, work: Awaitable[T]) -> T:
        """Await `work` and watch."""
        owner = TaskOwner("peak")
        owner.spawn(self._watch(), "watch")
        try:
            return await work
        finally:
            await owner.close()
            self._look()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(READ_EVERY_SECONDS)

    def _look(self) -> None:
        self.most = max(self.most, self._now())

    def _now(self) -> int:
        return sum(map(resident_bytes, self._gateway.workers()))

    @property
    def growth(self) -> int:
        """The most over what was before."""
        return self.most - self.before


async def upload(gateway: Gateway, size: int, *, chunked: bool) -> None:
    """Send a file of `size` bytes."""
    async with Client(gateway.log, gateway.port) as client:
        framing = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        await client.send(client.head("sink", path="/v1/files", framing=framing))
        for block in blocks(size):
            await client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            await client.send(b"0\r\n\r\n")
        expect(await client.answer(), 200, b'"bytes": %d,' % size)


async def download(gateway: Gateway, size: int, *, chunked: bool) -> None:
    """Receive a file of `size` bytes."""
    async with Client(gateway.log, gateway.port) as client:
        kind = "chunks" if chunked else "length"
        answer = await client.ask(client.post(f"{kind} {size}", path="/v1/files"))
        expect(answer, 200)
        if answer.size != size:
            raise Failed(f"{answer.size} bytes came in place of {size}")


async def stall(gateway: Gateway) -> None:
    """Begin streams and read nothing of them but their heads, on sockets that nobody drains."""
    loop = asyncio.get_running_loop()
    sockets = []
    for _ in range(STALLED):
        client = Client(gateway.log, gateway.port)
        sock = socket.socket()
        sock.setblocking(False)
        sockets.append(sock)
        await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
        body = b'{"model":"m","stream":true}'
        await loop.sock_sendall(sock, client.post(f"flood {STALLED_STREAM_EVENTS}", body))
        await loop.sock_recv(sock, 1024)
    await asyncio.sleep(STALL_SECONDS)
    for sock in sockets:
        sock.close()


def high_water_bytes(gateway: Gateway) -> int:
    """The kernel's own note of the most that was resident of the workers since the start."""
    total = 0
    for pid in gateway.workers():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total


async def measure(gateway: Gateway, size: int) -> list[tuple[str, int, int]]:
    """What each case adds, and may add."""
    for chunked in (False, True):
        await upload(gateway, WARM_UP_BYTES, chunked=chunked)
        await download(gateway, WARM_UP_BYTES, chunked=chunked)
    cold = high_water_bytes(gateway)
    rows = []
    for chunked in (False, True):
        how = "in chunks" if chunked else "by length"
        for name, work in (("up", upload), ("down", download)):
            peak, began = Peak(gateway), time.monotonic()
            await peak.during(work(gateway, size, chunked=chunked))
            rate = size / 1e6 / (time.monotonic() - began)
            what = f"{size / 1e6:.0f} MB {name}, {how} ({rate:.0f} MB/s)"
            rows.append((what, peak.growth, BODY_GROWTH_BYTES))
    rows.append(("the kernel's high-water mark", high_water_bytes(gateway) - cold, BODY_GROWTH_BYTES))
    peak = Peak(gateway)
    await peak.during(stall(gateway))
    what = f"a stalled client of a 41 MB stream, mean of {STALLED}"
    return [*rows, (what, peak.growth // STALLED, STALLED_GROWTH_BYTES)]


def prove(size: int) -> int:
    """Pass bodies of `size` bytes and tell what they take; the exit code."""
    with Upstream() as upstream, Gateway(upstream.url) as gateway:
        rows = asyncio.run(measure(gateway, size))
        gateway.stop()
        troubles = gateway.troubles()
    for what, growth, allowed in rows:
        print(f"{what:<50} {growth / 1e6:6.2f} MB; at most {allowed / 1e6:.0f} MB")
    problems = [what for what, growth, allowed in rows if growth > allowed] + troubles
    for problem in problems:
        print(f"WRONG: {problem}")
    return 1 if problems else 0
