"""A new connection: the address that answers, and nothing left open of those that came to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import uvloop

from ferryman.errors import RelayError
from ferryman.http1.client import ClientConnection
from ferryman.http1.dial import Dialer
from ferryman.http1.fields import FieldReader
from ferryman.http1.origin import Origin, Proxy
from ferryman.http1.pool import Pool, PoolLimits
from ferryman.http1.resolve import Address, Resolver
from tests.conftest import Bench
from tests.support.edge import Upstream
from tests.support.gateway import HeldClock
from tests.support.proxy import tunnel_to

DEADLINE_SECONDS = 10
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Loop = Callable[[], Any]


def run(work: Coroutine[Any, Any, None], loop: Loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await work

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


def at(port: int) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))


class Names:
    """A name server, at the edge: the addresses are those of the listeners of a test."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports

    async def lookup(self, _host: str, _port: int) -> Sequence[Address]:
        return [at(port) for port in self.ports]


def dialer(names: Names, clock: HeldClock, scheme: str = "http", **options: Any) -> Dialer:
    origin = Origin(scheme, "api.example", 443 if scheme == "https" else 80)
    resolver = Resolver(
        origin.host, origin.port, refresh_seconds=30, monotonic=clock.monotonic, lookup=names.lookup
    )
    return Dialer(origin, resolver, **{"tls": None, **options})


class Waiter:
    """Who asked for a connection: has it, or why not."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()

    def on_connected(self, connection: ClientConnection) -> None:
        self.outcome.set_result(connection)

    def on_connect_failed(self, error: RelayError) -> None:
        self.outcome.set_exception(error)


def pool_of(made: Dialer, clock: HeldClock, *, age: float = 300.0, connect: float = 10.0) -> Pool:
    limits = PoolLimits(connections=50, connect_seconds=connect, idle_seconds=50, age_seconds=age)
    return Pool(made, limits, monotonic=clock.monotonic, reader=FieldReader(frozenset(), frozenset()))


async def opened(pool: Pool) -> ClientConnection:
    waiter = Waiter()
    pool.open(waiter)
    return await waiter.outcome


def port_of(connection: ClientConnection) -> int:
    assert connection._transport is not None
    port: int = connection._transport.get_extra_info("peername")[1]
    return port


@pytest.fixture
def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that answers no connect: its accept queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def descriptors() -> set[str]:
    """The open sockets of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {link for link in found if link.startswith("socket:")}


async def accepted(upstream: Upstream) -> None:
    """Wait until `upstream` has a connection."""
    while not upstream.accepted:  # noqa: ASYNC110  # it is on another thread
        await asyncio.sleep(0.01)


async def all_closed(before: set[str]) -> None:
    """Wait until no socket is open that was not `before`."""
    while descriptors() - before:  # noqa: ASYNC110  # nothing tells when
        await asyncio.sleep(0.01)


@LOOPS
def test_address_that_refuses_is_passed_over(line: Bench, clock: HeldClock, unused: int, loop: Loop) -> None:
    upstream = line.upstream()

    async def main() -> None:
        pool = pool_of(dialer(Names(unused, upstream.port), clock), clock)
        connection = await opened(pool)
        assert port_of(connection) == upstream.port
        connection.abort()
        await pool.close()

    run(main(), loop)


@LOOPS
def test_address_that_is_silent_costs_a_quarter_of_a_second(
    line: Bench, clock: HeldClock, silent: int, loop: Loop
) -> None:
    """Not the whole time for a connect: the next address is tried beside it."""
    upstream = line.upstream()

    async def main() -> None:
        before = descriptors()
        pool = pool_of(dialer(Names(silent, upstream.port), clock), clock)
        began = asyncio.get_running_loop().time()
        connection = await opened(pool)
        assert 0.2 < asyncio.get_running_loop().time() - began < 5
        assert port_of(connection) == upstream.port
        await accepted(upstream)
        assert len(descriptors() - before) == 2  # both ends of the one that won
        connection.abort()
        await pool.close()

    run(main(), loop)


@LOOPS
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_small_writes_are_not_held_back(line: Bench, clock: HeldClock, scheme: str, loop: Loop) -> None:
    """TCP_NODELAY: otherwise the end of a request waits for an acknowledgement (Nagle's algorithm)."""
    authority, tls = certified() if scheme == "https" else (None, None)
    upstream = line.upstream(tls=authority)

    async def main() -> None:
        pool = pool_of(dialer(Names(upstream.port), clock, scheme, tls=tls), clock)
        connection = await opened(pool)
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        connection.abort()
        await pool.close()

    run(main(), loop)


def certified() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for `api.example`: of the server, and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("api.example").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@LOOPS
@pytest.mark.parametrize("way", ["plain", "tls", "tunnel"])
def test_connect_that_is_given_up_leaves_nothing_open(
    line: Bench, clock: HeldClock, way: str, loop: Loop
) -> None:
    """At each step of it."""
    server, client = certified()
    upstream = line.upstream(tls=None if way == "plain" else server)
    proxy = line.upstream(tunnel_to(upstream.port)) if way == "tunnel" else None
    first = proxy or upstream

    async def give_up(after: int) -> bool:
        options: dict[str, Any] = {"tls": None if way == "plain" else client}
        if proxy is not None:
            options["proxy"] = Proxy(urlsplit(proxy.url))
        pool = pool_of(
            dialer(Names(first.port), clock, "http" if way == "plain" else "https", **options), clock
        )
        waiter = Waiter()
        pool.open(waiter)
        for _ in range(after):
            await asyncio.sleep(0)
        connected = waiter.outcome.done()
        await pool.close()
        if connected:
            (await waiter.outcome).abort()
        while pool.open_count:  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(0)
        return connected

    async def main() -> None:
        before = descriptors()
        after = tries = 1  # before its first step there is nothing to leave open
        while not await give_up(after):
            after += 1 + after // 8  # the first steps one by one; a handshake takes hundreds
            tries += 1
        assert tries > 3
        await all_closed(before)

    run(main(), loop)


@LOOPS
def test_tls_that_fails_leaves_nothing_open(line: Bench, clock: HeldClock, loop: Loop) -> None:
    server, _ = certified()
    upstream = line.upstream(tls=server)

    async def main() -> None:
        before = descriptors()
        pool = pool_of(dialer(Names(upstream.port), clock, "https", tls=ssl.create_default_context()), clock)
        for _ in range(3):
            with pytest.raises(RelayError, match="its certificate is not trusted"):
                await opened(pool)
        assert pool.open_count == 0
        await all_closed(before)

    run(main(), loop)


@LOOPS
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connect_that_takes_too_long_leaves_nothing_open(
    clock: HeldClock, silent: int, scheme: str, loop: Loop
) -> None:
    async def main() -> None:
        before = descriptors()
        with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
            port = silent if scheme == "http" else mute.getsockname()[1]
            tls = ssl.create_default_context() if scheme == "https" else None
            pool = pool_of(dialer(Names(port, port), clock, scheme, tls=tls), clock, connect=0.1)
            with pytest.raises(RelayError, match=r"within 0\.1 s"):
                await opened(pool)
            assert pool.open_count == 0
        await all_closed(before)

    run(main(), loop)


class TakenBack(asyncio.SelectorEventLoop):
    """A loop on which a connect is given up while the library ends the attempts that lost."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if address[1] != 1:
            return
        try:
            await self.create_future()
        except asyncio.CancelledError:
            (dialling,) = (task for task in asyncio.all_tasks() if task.get_name() == "dialling")
            dialling.cancel()
            raise


def test_connect_that_is_given_up_in_the_moment_it_wins_is_given_up(clock: HeldClock) -> None:
    async def main() -> None:
        before = descriptors()
        made = dialer(Names(1, 2), clock)
        reader = FieldReader(frozenset(), frozenset())
        dialling = asyncio.get_running_loop().create_task(
            made.dial(lambda: ClientConnection(lambda _: None, lambda: None, reader)), name="dialling"
        )
        with pytest.raises(asyncio.CancelledError):
            await dialling
        assert descriptors() == before

    run(main(), TakenBack)


@LOOPS
def test_changed_address_is_taken_up_when_connections_are_of_age(
    line: Bench, clock: HeldClock, loop: Loop
) -> None:
    old, new = line.upstream(), line.upstream()

    async def main() -> None:
        names = Names(old.port)
        pool = pool_of(dialer(names, clock), clock, age=100)
        first = await opened(pool)
        pool.give_back(first)
        names.ports = (new.port,)
        clock.seconds += 40
        assert pool.take() is first
        pool.give_back(first)
        clock.seconds += 40
        assert pool.take() is first  # still busy when its time comes
        clock.seconds += 20
        pool.give_back(first)
        assert pool.take() is None
        second = await opened(pool)
        assert (port_of(second), pool.open_count) == (new.port, 1)
        pool.give_back(second)
        clock.seconds += 49
        pool.give_back(pool.take() or second)
        clock.seconds += 49  # idle for less than its time, and of age: not the sweep, but the taking
        assert pool.take() is None
        await asyncio.sleep(0)
        assert pool.open_count == 0
        await pool.close()

    run(main(), loop)


def test_connections_of_one_burst_do_not_end_together(line: Bench, clock: HeldClock) -> None:
    upstream = line.upstream()

    async def main() -> None:
        pool = pool_of(dialer(Names(upstream.port), clock), clock, age=100)
        made = [await opened(pool) for _ in range(40)]
        ages = sorted(connection.retires_at - clock.seconds for connection in made)
        assert 90 <= ages[0] < ages[-1] == 100
        assert max(after - before for before, after in itertools.pairwise(ages)) < 0.5
        for connection in made:
            connection.abort()
        await pool.close()

    run(main(), asyncio.new_event_loop)
