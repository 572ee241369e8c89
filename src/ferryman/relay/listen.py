"""Where clients come in: a TCP address or a Unix socket, with TLS where a certificate is set."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ferryman.errors import SettingsError
from ferryman.relay.tls import ServerTls, server_tls
from ferryman.settings import Settings
from ferryman.wording import shown

BACKLOG = 2048
"""Connections the kernel holds while a burst is accepted; it caps this at somaxconn (4096)."""

TLS_SHUTDOWN_SECONDS = 10.0
"""How long a TLS client may take to answer our goodbye, and to read what is left, before it is cut.

Clients that rest in a pool never answer it, and each would hold up a stop for as long.
"""


class Place(NamedTuple):
    """Where a worker listens beside others.

    Attributes:
        inherited: the Unix socket of all workers, `None` where each opens a socket on the shared port.
    """

    inherited: socket.socket | None


class Listener:
    """The listening socket of a worker.

    Attributes:
        port: that is listened on once open; it tells nothing for a Unix socket.
        tls: `None` without a certificate.
    """

    def __init__(self, settings: Settings, place: Place | None = None) -> None:
        """Open nothing yet; `place` is `None` for a worker that is alone."""
        self.port = settings.port
        self._place = place
        self.tls: ServerTls | None = None
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._file: tuple[int, int] | None = None  # device and inode of our Unix socket

    def __repr__(self) -> str:
        return f"<Listener {self._settings.unix_socket or f'{self._settings.host}:{self.port}'}>"

    async def open(self, new_connection: Callable[[], asyncio.Protocol]) -> None:
        """Listen, and give each connection to what `new_connection` makes.

        Raises:
            SettingsError: the address cannot be listened on, or the certificate not be used.
        """
        loop = asyncio.get_running_loop()
        settings = self._settings
        self.tls = server_tls(settings)
        options: dict[str, Any] = {"backlog": BACKLOG}
        if self.tls is not None:
            options["ssl"] = self.tls.context
            options["ssl_handshake_timeout"] = settings.client_read_timeout_seconds
            options["ssl_shutdown_timeout"] = TLS_SHUTDOWN_SECONDS
        if self._place is not None:
            options["reuse_port"] = True
            if self._place.inherited is not None:
                del options["reuse_port"]
                sock = self._place.inherited
                self._server = await loop.create_unix_server(new_connection, sock=sock, **options)
                return
        if settings.unix_socket is not None:
            bound, self._file = bind_unix(settings.unix_socket, int(settings.unix_socket_mode, 8))
            self._server = await loop.create_unix_server(new_connection, sock=bound, **options)
            return
        try:
            self._server = await loop.create_server(new_connection, settings.host, settings.port, **options)
        except OSError as error:
            raise _unusable(settings, error) from error
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take no more connections, and remove the file of our Unix socket."""
        if self._server is not None:
            self._server.close()
        identity, self._file = self._file, None
        if identity is not None:
            remove_unix(self._settings.unix_socket or "", identity)


class Entrance:
    """The address of all workers of this machine, kept for them by the supervisor, which takes no connection.

    Attributes:
        port: of all workers; it tells nothing for a Unix socket.
        inherited: the listening Unix socket, `None` where each worker opens a socket on the port.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the address.

        Raises:
            SettingsError: it cannot be had.
        """
        self.port = settings.port
        self.inherited: socket.socket | None = None
        self._path = settings.unix_socket or ""
        self._file: tuple[int, int] | None = None
        self._reserved: list[socket.socket] = []
        if settings.unix_socket is not None:
            self.inherited, self._file = bind_unix(settings.unix_socket, int(settings.unix_socket_mode, 8))
            return
        try:
            self._reserve(settings.host)
        except OSError as error:
            self.close()
            raise _unusable(settings, error) from error

    def __repr__(self) -> str:
        return f"<Entrance {self._path or self.port}>"

    def close(self) -> None:
        """Give the address up."""
        for sock in self._reserved:
            sock.close()
        if self.inherited is not None:
            self.inherited.close()
        identity, self._file = self._file, None
        if identity is not None:
            remove_unix(self._path, identity)

    def _reserve(self, host: str) -> None:
        # As asyncio does it, for every address of the name.
        found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            self._reserved.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], self.port, *address[2:]))
            self.port = sock.getsockname()[1]
            # Only now: with it, bind(2) would let us in beside whoever listens there already.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def bind_unix(path: str, mode: int) -> tuple[socket.socket, tuple[int, int]]:
    """A Unix socket at `path`, which does not listen yet, and the device and inode of its file.

    Args:
        path: a file that nobody listens on is replaced if it is a socket.
        mode: permission bits of the file. They are set before anybody can connect.

    Raises:
        SettingsError: the path is in use, or cannot be bound to.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        bound.bind(path)
        Path(path).chmod(mode)
        status = os.lstat(path)
    except OSError as error:
        bound.close()
        raise _problem(path, f"cannot be listened on: {error.strerror or error}") from error
    except SettingsError:
        bound.close()
        raise
    return bound, (status.st_dev, status.st_ino)


def remove_unix(path: str, identity: tuple[int, int]) -> None:
    """Remove the socket file at `path` unless another process has put its own there."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == identity:
            Path(path).unlink()


def _clear(path: str) -> None:
    """Remove the socket file that a killed process has left at `path`."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise _problem(path, "is there and is not a socket; remove it, or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener whose backlog is full would keep us waiting
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass
    raise _problem(path, "is in use: another process listens on it")


def _unusable(settings: Settings, error: OSError) -> SettingsError:
    where = f"{settings.host}:{settings.port}"
    reason = error.strerror or str(error)
    return SettingsError([f"host, port: cannot listen on `{where}`: {reason}."])


def _problem(path: str, what: str) -> SettingsError:
    return SettingsError([f"unix_socket: {shown(Path(path))} {what}."])
