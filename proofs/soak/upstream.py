"""An upstream with faults, as a process: `python -m proofs.soak.upstream`. It prints its port.

What it does is said by each request, in a header that the gateway passes on:
`x-do: KIND [NUMBER]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import zlib

from ferryman.tasks import TaskOwner

BLOCK = bytes(range(256)) * 256  # 64 KiB
USAGE = {"input_tokens": 9, "output_tokens": 5}
ANSWER = json.dumps({"type": "message", "content": [{"text": "x" * 700}], "usage": USAGE}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nRequest-Id: req_1\r\nContent-Type: %b\r\n"
STREAM = HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9}}}\n\n'
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","text":"%b"}\n\n' % (b"x" * 40)
STOP = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESET = struct.pack("ii", 1, 0)
SILENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.02


class Cut(Exception):
    """This connection ends here."""


def chunk(data: bytes) -> bytes:
    """`data` as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Serving:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def serve(self) -> None:
        """Answer requests until either side ends it."""
        try:
            while True:
                await self._answer_one()
        except (OSError, EOFError, Cut):
            pass
        finally:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()

    async def _answer_one(self) -> None:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        kind, _, number = fields.get(b"x-do", b"json").partition(b" ")
        count = int(number or 0)
        if kind == b"early":  # an answer that does not wait for the body, and an end that cuts it off
            await self._send(HEAD % b"application/json" + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
            raise Cut
        size, check = await self._read_body(fields)
        if kind == b"sink":
            body = json.dumps({"bytes": size, "crc": check}).encode()
            await self._send(HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif kind in {b"sse", b"flood", b"error", b"break", b"pause"}:
            await self._stream(kind, count)
        elif kind in {b"length", b"chunks"}:
            await self._bytes(count, chunked=kind == b"chunks")
        else:
            await self._whole(kind)

    async def _whole(self, kind: bytes) -> None:
        if kind == b"slow":
            await asyncio.sleep(0.3)
        elif kind == b"silent":
            await asyncio.sleep(SILENCE_SECONDS)
            raise Cut
        elif kind == b"reset":
            self._reset()
        elif kind == b"garbage":
            await self._send(b"this is no answer\r\n\r\n")
            raise Cut
        answer = HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
        if kind == b"part":
            await self._send(answer[:-100])
            self._reset()
        await self._send(answer * 2 if kind == b"twice" else answer)
        if kind == b"close":  # as an upstream does whose time for idle connections is over
            raise Cut

    async def _stream(self, kind: bytes, events: int) -> None:
        await self._send(STREAM + chunk(START))
        if kind == b"flood":  # as fast as the gateway takes them
            for _ in range(events // 1000):
                await self._send(chunk(DELTA) * 1000)
            events = 0
        for number in range(events):
            await self._send(chunk(DELTA))
            if number % 8 == 0:
                await asyncio.sleep(PAUSE_SECONDS)
        if kind == b"break":
            self._reset()
        if kind == b"pause":
            await asyncio.sleep(SILENCE_SECONDS)
            raise Cut
        if kind == b"error":
            await self._send(chunk(b'event: error\ndata: {"type":"error","error":{}}\n\n') + chunk(b""))
            return
        await self._send(chunk(STOP) + chunk(b""))

    async def _bytes(self, count: int, *, chunked: bool) -> None:
        kind = HEAD % b"application/octet-stream"
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % count
        await self._send(kind + framing + b"\r\n\r\n")
        while count:
            part = BLOCK[:count]
            await self._send(chunk(part) if chunked else part)
            count -= len(part)
        if chunked:
            await self._send(chunk(b""))

    async def _read_body(self, fields: dict[bytes, bytes]) -> tuple[int, int]:
        """Length and checksum of the body."""
        size = check = 0
        left = int(fields.get(b"content-length", b"0"))
        chunked = b"transfer-encoding" in fields
        while left or chunked:
            if not left:
                left = int(await self.reader.readuntil(b"\r\n"), 16)
                if not left:
                    await self.reader.readexactly(2)
                    break
            data = await self.reader.read(min(left, len(BLOCK)))
            if not data:
                raise Cut
            size, check, left = size + len(data), zlib.crc32(data, check), left - len(data)
            if chunked and not left:
                await self.reader.readexactly(2)
        return size, check

    async def _send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def _reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()
        raise Cut


async def main() -> None:
    """Serve until standard input ends, which it does with whoever started us."""
    owner = TaskOwner("upstream")

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owner.spawn(Serving(reader, writer).serve(), "connection")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()
    await owner.close()


if __name__ == "__main__":
    asyncio.run(main())
