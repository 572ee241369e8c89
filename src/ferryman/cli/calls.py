"""Calls to a control plane: over the Unix socket of this machine, or over the network."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the path in the place of the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def connection_to(url: str, timeout_seconds: float) -> http.client.HTTPConnection:
    """A connection to the gateway at `url`; nothing is connected yet.

    Raises:
        ValueError: it is no URL of a gateway; the sentence says what is wanted.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("wanted one such as `https://gateway.example.com`")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a credential in it can be read by every user of this machine")
    if parts.path.strip("/"):
        raise ValueError("Ferryman's own paths are at the root of its host; leave the path out")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_seconds)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """The status and the body of an answer.

    Raises:
        OSError: nobody answers, or not in HTTP.
    """
    try:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(f"its answer is no HTTP ({error})") from error
