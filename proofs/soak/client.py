"""A client that says what it wants of the upstream, and tells the log of each request it makes."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, Self

from proofs.soak.process import Failed, Log

RESET = struct.pack("ii", 1, 0)
_NUMBERS = itertools.count(1)


class Answer(NamedTuple):
    """An answer whose body has come whole; `tail` is its end."""

    status: int
    size: int
    tail: bytes
    closes: bool


class Client:
    """One connection to the gateway."""

    def __init__(self, log: Log, port: int) -> None:
        self._log = log
        self._port = port
        self._sent: list[str] = []

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def head(self, do: str, *, path: str = "/v1/messages", framing: str = "content-length: 0") -> bytes:
        """The head of a POST that asks the upstream to `do` something."""
        self._sent.append(str(next(_NUMBERS)))
        lines = [
            f"POST {path} HTTP/1.1", "host: gateway", f"x-do: {do}", "content-type: application/json",
            f"x-claude-code-session-id: {self._sent[-1]}", framing,
        ]  # fmt: skip
        return "\r\n".join([*lines, "", ""]).encode()

    def post(self, do: str, body: bytes = b"{}", *, path: str = "/v1/messages") -> bytes:
        """A whole request."""
        return self.head(do, path=path, framing=f"content-length: {len(body)}") + body

    async def send(self, data: bytes) -> None:
        """Send `data`, and wait until it is on its way."""
        self.writer.write(data)
        await self.writer.drain()

    async def send_slowly(self, parts: Iterable[bytes], pause_seconds: float) -> None:
        """Send part by part."""
        for part in parts:
            await self.send(part)
            await asyncio.sleep(pause_seconds)

    def reached(self) -> None:
        """The gateway has all requests so far: each has to be in its log."""
        for session in self._sent:
            self._log.made(session, whole=True)
        self._sent.clear()

    def reset(self) -> None:
        """Leave with a reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def answer(self, *, whole: bool = True) -> Answer:
        """Read an answer; with `whole` all requests so far have then reached the gateway."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if whole:
            self.reached()
        lower = head.lower()
        status = int(head[9:12])
        closes = b"\r\nconnection: close" in lower
        if b"\r\ntransfer-encoding: chunked" in lower:
            size, tail = await self._read_chunks()
        else:
            size, tail = await self._read(int(lower.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0]))
        return Answer(status, size, tail, closes)

    async def ask(self, data: bytes) -> Answer:
        """Send a whole request and read its answer."""
        await self.send(data)
        return await self.answer()

    async def _read(self, size: int) -> tuple[int, bytes]:
        left, tail = size, b""
        while left:
            data = await self.reader.read(min(left, 65_536))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            tail = (tail + data)[-2000:]
            left -= len(data)
        return size, tail

    async def _read_chunks(self) -> tuple[int, bytes]:
        total, tail = 0, b""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            if size:
                _, end = await self._read(size)
                tail = (tail + end)[-2000:]
            if await self.reader.readexactly(2) != b"\r\n":
                raise Failed("a chunk does not end with a line end")
            if not size:
                return total, tail
            total += size
