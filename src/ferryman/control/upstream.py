"""Questions of the control plane's own to upstreams. They wait, and are asked on threads."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ferryman import __version__
from ferryman.http1.origin import Proxy, origin_of
from ferryman.settings import Settings
from ferryman.settings_upstream import tls_context
from ferryman.wire.names import DEFAULT_VERSION

ANSWER_SECONDS = 30.0
"""For an upstream to connect, to begin an answer, and between two parts of it."""


class Response(NamedTuple):
    """An answer: its status, and its body to be read."""

    status: int
    body: http.client.HTTPResponse


class Questions:
    """Asks upstreams, on the way that `settings` tell of."""

    def __init__(self, settings: Settings) -> None:
        """Ask nothing yet.

        Raises:
            SettingsError: a file for TLS cannot be used.
        """
        self._settings = settings
        self._tls = tls_context(settings)
        self._open: set[http.client.HTTPConnection] = set()

    def __repr__(self) -> str:
        return f"<Questions {len(self._open)} open>"

    def stop(self) -> None:
        """Break off what is under way."""
        for connection in list(self._open):
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """Ask for `url`; redirects are not followed, since the headers hold a credential.

        Raises:
            OSError, HTTPException: the upstream cannot be reached, or breaks off.
        """
        parts = urlsplit(url)
        origin = origin_of(parts)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        way = self._settings.proxy_to(origin.host)
        proxy = Proxy(way) if way is not None else None
        first = origin if proxy is None else proxy.origin
        every = {
            "anthropic-version": DEFAULT_VERSION.decode(),
            "accept-encoding": "identity",
            "user-agent": f"ferryman/{__version__}",
            "host": origin.authority,
            "connection": "close",
            **headers,
        }
        name, _, value = proxy.header.decode().strip().partition(": ") if proxy is not None else ("", "", "")
        credential = {name: value} if name else {}
        connection: http.client.HTTPConnection
        if origin.scheme == "https":
            connection = http.client.HTTPSConnection(
                first.host, first.port, timeout=ANSWER_SECONDS, context=self._tls
            )
            if proxy is not None:
                connection.set_tunnel(origin.host, origin.port, credential)
        else:
            connection = http.client.HTTPConnection(first.host, first.port, timeout=ANSWER_SECONDS)
            if proxy is not None:
                every |= credential
                target = f"{origin}{target}"
        self._open.add(connection)
        try:
            connection.request("GET", target, headers=every)
            response = connection.getresponse()
            yield Response(response.status, response)
        finally:
            self._open.discard(connection)
            connection.close()
