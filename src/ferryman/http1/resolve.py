"""The addresses of a host, looked up now and then and not with every connection."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.http1")

Address = tuple[int, int, int, str, Any]
"""Family, type, protocol, canonical name, and address, as `socket.getaddrinfo` has it."""

Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]

PATIENCE_SECONDS = 1.0
"""How long a connect with known addresses waits for newer ones. Resolvers answer within 0.1 s; the
system's gives up a silent server only after 5 (resolv.conf(5)), half of the whole time for a connect.
"""


class Resolver:
    """The addresses of one host.

    Connects share one lookup. When it fails or is slow, those that were found last are used on.
    What is kept is one answer, and one lookup runs at a time.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        refresh_seconds: float,
        monotonic: Callable[[], float],
        lookup: Lookup | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Look up nothing yet.

        Args:
            host: a name, or an address, for which nothing is looked up.
            port: goes into the addresses.
            refresh_seconds: how long an answer is used; after 0, each connect looks up.
            monotonic: the clock for the age of an answer, in seconds.
            lookup: finds the addresses, or raises OSError; by default the system's resolver.
            patience_seconds: how long newer addresses are waited for where older ones are known.
        """
        self.host = host
        self.port = port
        self._refresh_seconds = refresh_seconds
        self._monotonic = monotonic
        self._lookup = lookup if lookup is not None else _system_lookup
        self._patience_seconds = patience_seconds
        self._known: Sequence[Address] = _literal(host, port)
        self._fresh_until = math.inf if self._known else -math.inf
        self._failure: OSError | None = None
        self._warned = False  # of the streak of failures that lasts
        self._running: asyncio.Event | None = None
        self._tasks = TaskOwner("resolver")

    def __repr__(self) -> str:
        return f"<Resolver {self.host}: {len(self._known)} addresses>"

    async def addresses(self) -> Sequence[Address]:
        """The addresses in the order of preference, at least one.

        The caller bounds the wait for the first answer.

        Raises:
            OSError: the name cannot be looked up, and never could; mostly a `socket.gaierror`.
        """
        if self._fresh_until > self._monotonic():
            return self._known
        if self._running is None:
            self._running = asyncio.Event()
            self._tasks.spawn(self._look_up(self._running), "lookup")
        if not self._known:
            await self._running.wait()
        else:
            try:
                async with asyncio.timeout(self._patience_seconds):
                    await self._running.wait()
            except TimeoutError:
                self._use_on(f"no answer within {self._patience_seconds:g} s")
        if not self._known:
            failure = self._failure or OSError("the lookup was broken off")
            raise type(failure)(*failure.args)
        return self._known

    async def close(self) -> None:
        """Give up the lookup that runs."""
        running = self._running
        await self._tasks.close()
        if running is not None:
            running.set()  # a lookup that had not begun has not done it

    async def _look_up(self, done: asyncio.Event) -> None:
        try:
            found = await self._lookup(self.host, self.port)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "it has no address")
        except OSError as error:
            self._failure = error
            if self._known:
                self._use_on(error.strerror or str(error))
        else:
            self._known = found
            self._fresh_until = self._monotonic() + self._refresh_seconds
            if self._warned:
                self._warned = False
                log.info("upstream's name is looked up again", host=self.host)
        finally:
            self._running = None
            done.set()

    def _use_on(self, reason: str) -> None:
        """Go on with what is known, and don't ask again at once."""
        self._fresh_until = self._monotonic() + self._refresh_seconds
        if not self._warned:
            self._warned = True
            log.warning(
                "upstream's name cannot be looked up; its last addresses are used on",
                host=self.host,
                reason=reason,
            )


async def _system_lookup(host: str, port: int) -> Sequence[Address]:
    # With the protocol in the answer: asyncio sets TCP_NODELAY only on sockets that name it.
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


def _literal(host: str, port: int) -> Sequence[Address]:
    """The address that `host` is, if it is one; one with a zone is left to the system."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    if address.version == 4:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    if address.scope_id is not None:
        return ()
    return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]
