"""Upstream connections, kept open between exchanges."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ferryman.errors import Overloaded, RelayError, UpstreamTimeout, UpstreamUnreachable
from ferryman.http1.client import ClientConnection
from ferryman.http1.fields import FieldReader
from ferryman.tasks import TaskOwner


class Origin(NamedTuple):
    """Where an upstream listens."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as in a `Host` header, which leaves out the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == (443 if self.scheme == "https" else 80)
        return host if default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class ConnectionWaiter(Protocol):
    """Who asked for a new connection."""

    def on_connected(self, connection: ClientConnection) -> None:
        """It is there; send now, or give it back."""

    def on_connect_failed(self, error: RelayError) -> None:
        """It could not be had."""


class PoolLimits(NamedTuple):
    """Bounds of a pool.

    Attributes:
        connections: open at once, idle ones included.
        connect_seconds: for name lookup, TCP and TLS together.
        idle_seconds: an idle connection older than this is closed. Below the server's own limit,
            or a request may be sent into a connection that is being closed.
    """

    connections: int
    connect_seconds: float
    idle_seconds: float


class Pool:
    """The connections to one origin.

    The most recently used idle connection is taken first, so that a burst's surplus ages out.
    """

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        *,
        tls: ssl.SSLContext | None,
        monotonic: Callable[[], float],
        reader: FieldReader,
    ) -> None:
        """Make an empty pool; nothing is opened before it is asked for.

        Args:
            origin: where to connect.
            limits: its bounds.
            tls: how to verify the server, `None` for plain TCP.
            monotonic: the clock for idle ages, in seconds.
            reader: reads response headers; see `ferryman.http1.client.ClientConnection`.
        """
        self.origin = origin
        self.limits = limits
        self.opened_total = 0
        self._tls = tls
        self._monotonic = monotonic
        self._reader = reader
        self._idle: list[ClientConnection] = []
        self._open = 0
        self._tasks = TaskOwner("pool")

    def __repr__(self) -> str:
        return f"<Pool {self.origin}: {self._open} open, {len(self._idle)} idle>"

    @property
    def open_count(self) -> int:
        """Connections open or being opened."""
        return self._open

    def take(self) -> ClientConnection | None:
        """An idle connection, `None` if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.reused = True
                return connection
        return None

    def open(self, waiter: ConnectionWaiter) -> None:
        """Open a connection for `waiter`.

        Raises:
            Overloaded: the pool is at its bound.
        """
        if self._open >= self.limits.connections:
            raise Overloaded(
                f"All {self.limits.connections} connections to {self.origin} are in use "
                "(`upstream_max_connections`); try again in a moment."
            )
        self._open += 1
        self._tasks.spawn(self._connect(waiter), "connect")

    def give_back(self, connection: ClientConnection) -> None:
        """Keep `connection` for the next exchange."""
        connection.idle_deadline = self._monotonic() + self.limits.idle_seconds
        self._idle.append(connection)

    def sweep(self, now: float) -> None:
        """Close the connections that have been idle for too long."""
        idle, self._idle = self._idle, []
        for connection in idle:
            if connection.idle_deadline > now and connection.usable:
                self._idle.append(connection)
            else:
                connection.abort()

    async def close(self) -> None:
        """Close what is idle and give up what is being opened."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()
        await self._tasks.close()

    async def _connect(self, waiter: ConnectionWaiter) -> None:
        slot = _Slot(self)
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                connection = await self._dial(slot)
        except Exception as error:
            slot.release()
            waiter.on_connect_failed(connect_error(error, self.origin, self.limits.connect_seconds))
            if not isinstance(error, OSError | ssl.CertificateError):
                raise  # a mistake of ours, which the task's owner logs
            return
        except asyncio.CancelledError:
            slot.release()
            raise
        self.opened_total += 1
        if connection.usable:
            waiter.on_connected(connection)
        else:
            waiter.on_connect_failed(
                UpstreamUnreachable(
                    f"The upstream {self.origin} accepted a connection and closed it at once."
                )
            )

    async def _dial(self, slot: _Slot) -> ClientConnection:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop):  # uvloop tries one address after the other
            options["happy_eyeballs_delay"] = 0.25  # RFC 8305, section 8
        _, connection = await loop.create_connection(
            lambda: ClientConnection(self.give_back, slot.release, self._reader),
            self.origin.host,
            self.origin.port,
            ssl=self._tls,
            **options,
        )
        return connection

    def _freed(self) -> None:
        self._open -= 1


class _Slot:
    """One place among the connections of a pool, given back once.

    A connect that is given up in the moment in which it succeeds ends twice: as a failed attempt,
    and as a connection that closes.
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool

    def release(self) -> None:
        """Give the place back; only the first call counts."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool._freed()  # noqa: SLF001  # the pool's own helper


def connect_error(error: Exception, origin: Origin, connect_seconds: float) -> RelayError:
    """What a failed connect is to the client: which upstream, what happened, what to do."""
    check = "check `upstream_url` and that this machine reaches it"
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(
            f"No connection to the upstream {origin} within {connect_seconds:g} s "
            f"(`connect_timeout_seconds`); {check}."
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted ({error.verify_message})"
        check = "check `upstream_url` and this machine's CA store"
        return UpstreamUnreachable(f"No connection to the upstream {origin}: {reason}; {check}.")
    if isinstance(error, ssl.SSLError):
        reason = f"TLS failed ({error.reason or error})"
    elif isinstance(error, socket.gaierror):
        reason = f"the name `{origin.host}` does not resolve ({error.strerror})"
    else:
        number = getattr(error, "errno", None)  # asyncio puts addresses in the place of the reason
        reason = os.strerror(number).lower() if number else str(error) or type(error).__name__
    return UpstreamUnreachable(f"No connection to the upstream {origin}: {reason}; {check}.")
