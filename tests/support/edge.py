"""A scripted upstream: accepts connections and does byte for byte what a test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.raw import RawRequest, read_request, receive

DEADLINE_SECONDS = 10.0


class Connection:
    """One accepted connection, in the hands of a script."""

    def __init__(self, sock: socket.socket, number: int, upstream: Upstream) -> None:
        sock.settimeout(DEADLINE_SECONDS)
        self.sock = sock
        self.number = number
        self.upstream = upstream
        self._buffer = b""

    def request(self) -> RawRequest:
        """Read one whole request. ConnectionError when the gateway closed instead.

        The deadline counts from its first byte: between requests a connection may lie idle for as long as
        the tests that share it take, and ends with the upstream at the latest.
        """
        if not self._buffer:
            self.sock.settimeout(None)
            self._buffer = receive(self.sock)
            self.sock.settimeout(DEADLINE_SECONDS)
        request, self._buffer = read_request(self.sock, self._buffer)
        self.upstream.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Send exactly `data`."""
        self.sock.sendall(data)

    def answer(self, body: bytes = b'{"ok":true}', *, status: int = 200, headers: bytes = b"") -> None:
        """Send a JSON answer with `Content-Length`; `headers` are further lines with CRLF."""
        head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" % status
        self.send(head + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def begin_stream(self, headers: bytes = b"") -> None:
        """Send the head of an event stream."""
        self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            + headers
            + b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def chunk(self, data: bytes) -> None:
        """Send one chunk; an empty one ends the body."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def reset(self) -> None:
        """Close with a reset in place of a clean end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_closed(self) -> None:
        """Wait until the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(65536):
                pass


Script = Callable[[Connection], None]


class Upstream:
    """Runs `script` for each accepted connection, on a thread each. What scripts raise fails the test.

    A ConnectionError ends a script without harm: the gateway closed, which is its right.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[RawRequest] = []
        self.accepted = 0
        self.ended = threading.Semaphore(0)
        self._script = script
        self._tls = tls
        self._errors: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept, name="upstream", daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        for sock in self._sockets:
            sock.close()
        if self._errors and error is None:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(sock)
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.accepted), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._script(Connection(sock, number, self))
        except (ConnectionError, ssl.SSLError):
            pass
        except BaseException as error:  # noqa: BLE001  # raised again where the test ends
            self._errors.append(error)
        finally:
            sock.close()
            self.ended.release()


def answering(body: bytes = b'{"ok":true}', *, status: int = 200, headers: bytes = b"") -> Script:
    """Answers every request on a connection alike."""

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.answer(body, status=status, headers=headers)

    return script
