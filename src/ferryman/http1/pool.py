"""Upstream connections, kept open between exchanges."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ferryman.errors import Overloaded, RelayError, UpstreamUnreachable
from ferryman.http1.client import ClientConnection
from ferryman.http1.dial import Dialer, UnixDialer, connect_error
from ferryman.http1.fields import FieldReader
from ferryman.tasks import TaskOwner


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
        age_seconds: an older connection takes no new request, so that one to a host whose address
            has changed ends. The last tenth is spread: what opened in one burst does not end in one.
    """

    connections: int
    connect_seconds: float
    idle_seconds: float
    age_seconds: float


class Pool:
    """The connections to one origin.

    The most recently used idle connection is taken first, so that a burst's surplus ages out.
    """

    def __init__(
        self,
        dialer: Dialer | UnixDialer,
        limits: PoolLimits,
        *,
        monotonic: Callable[[], float],
        reader: FieldReader,
    ) -> None:
        """Make an empty pool; nothing is opened before it is asked for.

        Args:
            dialer: makes its connections.
            limits: its bounds.
            monotonic: the clock for ages, in seconds.
            reader: reads response headers; see `ferryman.http1.client.ClientConnection`.
        """
        self.origin = dialer.origin
        self.limits = limits
        self.opened_total = 0
        self._dialer = dialer
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

    @property
    def idle_count(self) -> int:
        """Those that wait for a request."""
        return len(self._idle)

    def take(self) -> ClientConnection | None:
        """An idle connection, `None` if there is none."""
        now = self._monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_deadline > now and connection.usable:
                connection.reused = True
                return connection
            connection.abort()
        return None

    def open(self, waiter: ConnectionWaiter) -> None:
        """Open a connection for `waiter`.

        Raises:
            Overloaded: the pool is at its bound.
        """
        if self._open >= self.limits.connections and self._idle:
            self._idle.pop(0).abort()  # its place is free a moment later
        elif self._open >= self.limits.connections:
            raise Overloaded(
                f"All {self.limits.connections} connections to {self.origin} are in use "
                "(`upstream_max_connections`); try again in a moment."
            )
        self._open += 1
        self._tasks.spawn(self._connect(waiter), "connect")

    def give_back(self, connection: ClientConnection) -> None:
        """Keep `connection` for the next exchange, or close it if it is too old for one."""
        now = self._monotonic()
        if connection.retires_at <= now:
            connection.abort()
            return
        connection.idle_deadline = min(now + self.limits.idle_seconds, connection.retires_at)
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
        await self._dialer.close()

    async def _connect(self, waiter: ConnectionWaiter) -> None:
        slot = _Slot(self)
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                connection = await self._dialer.dial(
                    lambda: ClientConnection(self.give_back, slot.release, self._reader)
                )
        except Exception as error:
            slot.release()
            waiter.on_connect_failed(connect_error(error, self._dialer, self.limits.connect_seconds))
            if not isinstance(error, OSError | ssl.CertificateError | RelayError):
                raise  # a mistake of ours, which the task's owner logs
            return
        except asyncio.CancelledError:
            slot.release()
            raise
        spread = 1 - 0.1 * (self.opened_total * 0.618 % 1)  # by the golden ratio: even, however many
        connection.retires_at = self._monotonic() + self.limits.age_seconds * spread
        self.opened_total += 1
        if connection.usable:
            waiter.on_connected(connection)
        else:
            waiter.on_connect_failed(
                UpstreamUnreachable(
                    f"The upstream {self.origin} accepted a connection and closed it at once."
                )
            )

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
