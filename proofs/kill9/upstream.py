"""An upstream that remembers every request that reached it, on a thread of its own.

`x-do: json SECONDS | stream EVENTS | sink | error STATUS` says how it answers. Each answer has an id and
a usage that no other has.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import Self

from ferryman.tasks import TaskOwner
from proofs.soak.upstream import DELTA, STREAM, Serving, chunk

SESSION = "x-claude-code-session-id"
PAUSE_SECONDS = 0.01
OUTPUT_MODULUS = 997


def usage_of(number: int) -> tuple[int, int]:
    """Input and output tokens of the answer to request `number`."""
    return 1_000 + number, number % OUTPUT_MODULUS + 2


def name_of(number: int) -> str:
    """The id of the answer to request `number`."""
    return f"req_{number}"


class _Serving(Serving):
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: Upstream
    ) -> None:
        super().__init__(reader, writer)
        self._upstream = upstream

    async def _answer_one(self) -> None:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        number = self._upstream.reach(fields[SESSION.encode()].decode())
        await self._read_body(fields)
        kind, _, argument = fields[b"x-do"].partition(b" ")
        head_id = f"Request-Id: {name_of(number)}\r\n".encode()
        if kind == b"stream":
            await self._tell(head_id, number, int(argument))
            return
        if kind == b"json":
            await asyncio.sleep(float(argument))
        if kind == b"error":
            body = b'{"type":"error","error":{"type":"api_error","message":"as you wished"}}'
            head = b"HTTP/1.1 %b Wished\r\nContent-Type: application/json\r\n" % argument
            await self._send(head + head_id + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        counts, output = usage_of(number)
        usage = {"input_tokens": counts, "output_tokens": output}
        body = json.dumps({"type": "message", "content": [{"text": "x" * 700}], "usage": usage}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        await self._send(head + head_id + b"\r\n" + body)

    async def _tell(self, head_id: bytes, number: int, events: int) -> None:
        counts, output = usage_of(number)
        start = {"type": "message_start", "message": {"usage": {"input_tokens": counts, "output_tokens": 1}}}
        delta = {"type": "message_delta", "usage": {"output_tokens": output}}
        head = STREAM.replace(b"Request-Id: req_1\r\n", head_id)
        await self._send(head + chunk(b"event: message_start\ndata: %b\n\n" % json.dumps(start).encode()))
        for _ in range(events):
            await asyncio.sleep(PAUSE_SECONDS)
            await self._send(chunk(DELTA))
        stop = b'event: message_delta\ndata: %b\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        await self._send(chunk(stop % json.dumps(delta).encode()) + chunk(b""))


class Listening:
    """Listens between `with` and its end, on a thread of its own.

    Attributes:
        url: where.
    """

    def __init__(self) -> None:
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="upstream")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection, which is closed behind it."""
        raise NotImplementedError

    async def _serve_and_close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        finally:
            # One left open is closed by the garbage collector, in whichever thread it runs: that closes the
            # descriptor, and then takes its number from this loop's selector, where it may be the next
            # connection's by now, which nobody reads from then on.
            writer.close()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        owner = TaskOwner("upstream")

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            owner.spawn(self._serve_and_close(reader, writer), "connection")

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=2048)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()
        await owner.close()


class Upstream(Listening):
    """Remembers what has reached it.

    Attributes:
        reached: how often each session's request came.
        sessions: the session of each request, by the id of its answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached: Counter[str] = Counter()
        self.sessions: dict[str, str] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer as each request says."""
        await _Serving(reader, writer, self).serve()

    def reach(self, session: str) -> int:
        """A request has come; its number."""
        self.reached[session] += 1
        number = len(self.sessions) + 1
        self.sessions[name_of(number)] = session
        return number
