"""A wire tap between a client and the gateway: it passes bytes on and keeps them, in both directions."""

import contextlib
import http.client
import io
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.02
READ_BYTES = 65_536
CONNECT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: `start` is its first line, and `body` is without chunk framing."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def target(self) -> str:
        """Path and query of a request."""
        return self.start.split()[1]

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start.split()[1])


@dataclass(frozen=True, slots=True)
class _Connection:
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class Tee:
    """Listens on a port of its own and passes everything on to `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self.connections: list[_Connection] = []
        tee = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                kept = _Connection()
                tee.connections.append(kept)
                with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as gateway:
                    gateway.settimeout(None)
                    back = threading.Thread(target=_pump, args=(gateway, self.request, kept.received))
                    back.start()
                    _pump(self.request, gateway, kept.sent)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # a client that has ended holds no connection
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def exchanges(self) -> list[tuple[Message, Message]]:
        """Each request with its answer; those of one connection in their order."""
        found: list[tuple[Message, Message]] = []
        for connection in self.connections:
            pair = (_messages(bytes(connection.sent)), _messages(bytes(connection.received)))
            found += zip(*pair, strict=True)
        return found


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):  # either side may go away at any time
        while data := source.recv(READ_BYTES):
            kept += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _messages(data: bytes) -> list[Message]:
    stream = io.BytesIO(data)
    found: list[Message] = []
    while start := stream.readline():
        headers = http.client.parse_headers(stream)
        found.append(Message(start.decode().rstrip(), tuple(headers.items()), _body(stream, headers)))
    return found


def _body(stream: io.BytesIO, headers: http.client.HTTPMessage) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return stream.read(int(headers.get("content-length", "0")))
    parts: list[bytes] = []
    while size := int(stream.readline().partition(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    http.client.parse_headers(stream)  # the trailer
    return b"".join(parts)
