"""Sending a body to a server and waiting for its word, on the thread of a sink."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from ferryman import __version__
from ferryman.errors import SinkFailed

ANSWER_SECONDS = 30.0
"""For the server to connect, to take a piece, and to answer."""

MAX_ANSWER_BYTES = 4_096
"""Nobody needs more of it, and a connection with more to come is not used again."""

REFUSALS = frozenset({400, 413, 415, 422})
"""The server has read these entries and does not want them."""


class Poster:
    """Posts to one URL; the connection is kept."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Connect to nobody yet; `url` may have a user and a password, which go as `Authorization`."""
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self._port = parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {
            "user-agent": f"ferryman/{__version__}",
            "content-type": "application/json",
            **headers,
        }
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        self._connection: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        return f"<Poster to {self.host}>"

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send `body`. Redirects are not followed: they could lead a secret elsewhere.

        Raises:
            SinkFailed: the server was not reached, or has not said 2xx.
        """
        try:
            status, after = self._sent(body, {**self._headers, **headers})
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = str(error) or type(error).__name__
            raise SinkFailed(f"{self.host} cannot be reached: {reason}") from error
        if not 200 <= status < 300:
            raise SinkFailed(
                f"{self.host} answered {status}", refused=status in REFUSALS, after_seconds=after
            )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sent(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connected()
        try:
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            # It may have been closed since it was used last; a second time means what it says.
            connection.close()
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
        answer.read(MAX_ANSWER_BYTES)
        if not answer.isclosed():
            self.close()
        after = answer.headers.get("retry-after", "")
        return answer.status, float(after) if after.isascii() and after.isdigit() else 0.0

    def _connected(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self.host, self._port, timeout=ANSWER_SECONDS)
        return http.client.HTTPSConnection(self.host, self._port, timeout=ANSWER_SECONDS, context=self._tls)
