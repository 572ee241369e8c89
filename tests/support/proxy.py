"""An HTTP proxy, as a script for `tests.support.edge.Upstream`: whatever is asked for, it has one target."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.support.edge import DEADLINE_SECONDS, Connection, Script

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def tunnel_to(port: int, answer: bytes = ESTABLISHED) -> Script:
    """Answer CONNECT with `answer`, and carry bytes from and to `port` of this machine."""

    def script(connection: Connection) -> None:
        assert connection.request().line.startswith(b"CONNECT ")
        connection.send(answer)
        with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as target:
            back = threading.Thread(target=_carry, args=(target, connection.sock), daemon=True)
            back.start()
            _carry(connection.sock, target)
            back.join(DEADLINE_SECONDS)

    return script


def saying(answer: bytes) -> Script:
    """Answer CONNECT with `answer`, and wait for the end."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(answer)
        connection.wait_closed()

    return script


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
