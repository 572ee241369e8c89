"""The control plane as a process: `python -m ferryman.control.process`, started by the supervisor alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from starlette.routing import BaseRoute

from ferryman.clock import Clock, SystemClock
from ferryman.console.site import Console
from ferryman.console.visit import Backing
from ferryman.control.access.counters import AuthorityRows, Spends
from ferryman.control.access.desk import Desk
from ferryman.control.access.openapi import documented
from ferryman.control.access.publish import Publisher, keep_published
from ferryman.control.app import Gate, create_app
from ferryman.control.authority import Authority
from ferryman.control.batches import poll
from ferryman.control.feed import FeedServer
from ferryman.control.govern import Governor, Machines, authority_of
from ferryman.control.kept import Kept, redactor_of
from ferryman.control.ledger import Bookkeeper, keep
from ferryman.control.metrics.counts import Counts
from ferryman.control.metrics.gauges import Gauges
from ferryman.control.metrics.page import Metrics
from ferryman.control.models import ModelLists
from ferryman.control.owners import Owners
from ferryman.control.prices import Prices, keep_told
from ferryman.control.processes import Processes
from ferryman.control.server import LogHandler, Server
from ferryman.control.sinks import Sinks, sinks_of
from ferryman.control.spend import Spend
from ferryman.control.traces import open_traces
from ferryman.control.usage_page import Usage
from ferryman.errors import SettingsError, StoreError, StoreUnavailable
from ferryman.process.child import Child, main
from ferryman.process.directory import RuntimeDirectory
from ferryman.process.messages import PRICES
from ferryman.settings import Settings
from ferryman.settings_limits import gateway_limits
from ferryman.settings_store import database, journal_directory
from ferryman.store.access_look import KEYS
from ferryman.store.store import Store
from ferryman.store.write import New
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.control")

NICENESS = 10
"""A report or a full batch never takes the core from a worker; the journals wait (a ninth of its share)."""

STORE_SECONDS = 10.0
"""How long the end waits for what the workers wrote last to be stored; the journals keep the rest."""

WORKERS_SECONDS = 10.0
"""How much longer than `shutdown_grace_seconds` workers may take to end: their log and their clients have
a few seconds each."""


async def work(child: Child) -> None:
    """Serve until the supervisor says so or has gone, and the workers have ended.

    Raises:
        SettingsError: a port cannot be listened on, or the database not be used.
    """
    clock = SystemClock()
    feed = FeedServer(clock)
    processes = Processes(feed)
    await child.begin(processes.take)
    os.nice(NICENESS)
    logging.getLogger("uvicorn").addHandler(LogHandler())
    settings = processes.settings = child.handover.settings
    directory = RuntimeDirectory(Path(child.handover.directory))
    ports = _ports(settings)
    prices = Prices(settings, child.handover.rereads)
    store = Store(database(settings))
    bookkeeper, authority = _accounting(settings, store, clock, prices, directory)
    await _migrate(bookkeeper)
    await _check_keys(store, settings)
    limits = gateway_limits(settings)
    lists, rows = ModelLists(settings, feed, clock), AuthorityRows(authority, store)
    publisher = Publisher(store, feed, limits, rows, lambda: {PRICES: prices.part, **lists.parts})
    governor = _governor(authority, publisher, store, clock)
    feed.on_wanted, feed.on_gone = governor.want, governor.look
    gauges = Gauges(processes, bookkeeper, authority, store.access, tells_end_users=settings.counts_end_users)
    metrics, sinks = _telemetry(settings, store, clock, gauges, bookkeeper)
    stored = asyncio.Event()
    tasks = TaskOwner("control")
    tasks.spawn(keep(bookkeeper, stored), "ledger")
    tasks.spawn(governor.run(stored), "budgets")
    tasks.spawn(poll(settings, store, clock, child.stopping, lambda: prices.catalog), "batches")
    spends = Spends(authority, store, clock, limits.time_zone)
    desk = _desk(store, publisher, spends, settings, clock)
    parts = (*_told(settings, store, prices), desk, Usage(store, spends, clock), metrics, lists)
    console = Console(
        Backing(settings, store, desk, spends, processes, lambda: prices.catalog, clock, lambda: lists.told)
    )
    routes = [*processes.routes(), *(route for part in parts for route in part.routes())]
    servers = _servers([*documented(routes), *console.routes()], metrics.routes(), desk, settings, clock)
    _clear(directory)
    await feed.start(str(directory.feed))
    watch = await _published(publisher, feed, prices, lists)
    for server, sockets in zip(servers, _listening(directory, ports), strict=True):
        await server.listen(sockets)
    _tune_collector()
    child.ready()
    await child.stopping.wait()
    await _workers_gone(child, processes, feed)
    _end(stored, governor)
    await watch.close()
    await tasks.finish(STORE_SECONDS)
    await asyncio.to_thread(sinks.close)
    await asyncio.gather(*(server.stop() for server in servers))
    for part in parts:
        part.close()
    await console.close()
    await publisher.close()
    await feed.close()


def _accounting(
    settings: Settings, store: Store, clock: Clock, prices: Prices, directory: RuntimeDirectory
) -> tuple[Bookkeeper, Authority]:
    """What brings the journals into the store, and what keeps the budgets that workers spend.

    Raises:
        SettingsError: the table of counters cannot be used, or traces not be made.
    """
    authority = authority_of(settings, store, clock, directory.counters, lambda: not bookkeeper.stands_by)
    bookkeeper = Bookkeeper(
        journal_directory(settings),
        store,
        clock,
        retention_days=settings.entries_retention_days,
        bodies_days=settings.bodies_retention_days,
        catalog=lambda: prices.catalog,
        on_stored=authority.fold,
        follower=open_traces(settings, clock),
    )
    return bookkeeper, authority


def _told(settings: Settings, store: Store, prices: Prices) -> tuple[Spend, Kept, Owners]:
    """What serves the ledger, bodies, and who made what."""
    return (
        Spend(store.read, lambda: prices.catalog, store.access),
        Kept(store, redactor_of(settings)),
        Owners(store.owners.lookup),
    )


def _desk(store: Store, publisher: Publisher, spends: Spends, settings: Settings, clock: Clock) -> Desk:
    """What serves keys; without a master key nobody is asked for one."""
    key = settings.master_key
    return Desk(store, publisher, spends, clock, key, asks_for_keys=key is not None)


def _telemetry(
    settings: Settings, store: Store, clock: Clock, gauges: Gauges, bookkeeper: Bookkeeper
) -> tuple[Metrics, Sinks]:
    """What hears of each entry that is stored: Prometheus, and sinks.

    Raises:
        SettingsError: a sink cannot be used.
    """
    counts = Counts(tells_end_users=settings.counts_end_users)
    sinks = Sinks(sinks_of(settings, clock), store, clock, lambda: bookkeeper.stands_by)
    gauges.runners = sinks.runners

    def stored(new: New) -> None:  # on a thread
        counts.count(new.rows, new.sums)
        sinks.wake()

    store.write.on_stored = stored
    sinks.start()
    return Metrics(counts, gauges), sinks


def _governor(authority: Authority, publisher: Publisher, store: Store, clock: Clock) -> Governor:
    """What lets the authority work, and tells workers of end users and sessions that come up."""
    loop = asyncio.get_running_loop()

    def meet(scope_ids: list[str]) -> None:  # on the governor's thread
        today = datetime.fromtimestamp(clock.now(), UTC).date().isoformat()
        loop.call_soon_threadsafe(publisher.meet, scope_ids, today)

    machines = Machines(store, clock, store.write.machine)
    return Governor(authority, clock, on_scopes=meet, on_sweep=machines.tell)


def _tune_collector() -> None:
    """Leave what was made at start out of the collector's passes, and make them rarer, as in a worker.

    What is read of journals holds no cycles, and is much.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _servers(
    routes: Iterable[BaseRoute],
    open_routes: Iterable[BaseRoute],
    desk: Desk,
    settings: Settings,
    clock: Clock,
) -> tuple[Server, Server, Server]:
    """One that asks for keys, one that trusts whoever reaches it, and one with what is open to anybody."""
    app = create_app(routes, clock)
    guarded = Gate(app, settings.master_key, clock, desk.caller_of)
    return Server(guarded), Server(app), Server(create_app(open_routes, clock))


async def _migrate(bookkeeper: Bookkeeper) -> None:
    """Bring the database to this version now, if it is there: what it refuses is to be seen at the start.

    Raises:
        SettingsError: it was made by a newer version, or is no database that we could use.
    """
    try:
        await asyncio.to_thread(bookkeeper.migrate)
    except StoreUnavailable as error:
        log.warning("database away", reason=str(error), now="it is tried again")
    except StoreError as error:
        raise SettingsError([f"database_url: {error}."]) from error


async def _check_keys(store: Store, settings: Settings) -> None:
    """See that keys are asked for where there are some.

    Raises:
        SettingsError: there are keys, and no master key, so that anybody could do without one.
    """
    if settings.master_key is not None:
        return
    try:
        number = await asyncio.to_thread(_number_of_keys, store)
    except StoreUnavailable:
        return  # it was said already
    if number:
        problem = (
            f"the database has {number} virtual keys, and without a master key nobody would be asked for one"
        )
        way_out = "set it again, or use another database"
        raise SettingsError([f"master_key: {problem}; {way_out}."])


def _number_of_keys(store: Store) -> int:
    with store.access.look() as look:
        return look.count(KEYS)


async def _published(publisher: Publisher, feed: FeedServer, prices: Prices, lists: ModelLists) -> TaskOwner:
    """Tell the workers all that there is; while the database is away they go on with what they hold.

    Returns:
        What looks for changes as long as the control plane lives.
    """
    watch = TaskOwner("control.watch")
    watch.spawn(lists.keep(), "models")
    await lists.first()
    try:
        await publisher.begin()
    except StoreUnavailable as error:
        log.warning("keys not read", reason=str(error), now="it is tried again")
    if prices.may_change:
        watch.spawn(keep_told(prices, feed), "prices")
    watch.spawn(keep_published(publisher), "keys")
    return watch


def _end(stored: asyncio.Event, governor: Governor) -> None:
    """Let the journals and the budgets come to their ends: the workers have gone."""
    stored.set()
    governor.look()


async def _workers_gone(child: Child, processes: Processes, feed: FeedServer) -> None:
    """Wait for the workers: what they write at their end is still to be stored.

    The supervisor stops us when they have gone. After a signal to all processes we hear it of the supervisor,
    and after its own death we see it by their connections.
    """
    seconds = child.grace_seconds + WORKERS_SECONDS
    try:
        async with asyncio.timeout(seconds):
            while not (feed.all_gone if child.orphaned else processes.workers_gone).is_set():  # noqa: ASYNC110  # which of the two may change
                await asyncio.sleep(0.02)
    except TimeoutError:
        log.warning("workers have not ended in time", seconds=seconds)


def _clear(directory: RuntimeDirectory) -> None:
    """Remove what a killed control plane has left; the supervisor sees to it that there is one at a time."""
    for path in (directory.control, directory.relayed, directory.feed):
        path.unlink(missing_ok=True)


def _listen_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    return sock


class _Ports(NamedTuple):
    """Sockets on the ports that are set, each listening already."""

    admin: list[socket.socket]
    metrics: list[socket.socket]


def _ports(settings: Settings) -> _Ports:
    """Those of `settings`; errors as of `_listen`."""
    admin = _listen(settings.admin_port, "admin_port")
    return _Ports(admin, _listen(settings.metrics_port, "metrics_port", settings.host))


def _listening(directory: RuntimeDirectory, ports: _Ports) -> tuple[list[socket.socket], ...]:
    """The sockets of each of `_servers`."""
    relayed, trusting = _listen_unix(directory.relayed), _listen_unix(directory.control)
    return [relayed, *ports.admin], [trusting], ports.metrics


def _listen(port: int | None, name: str, host: str = "127.0.0.1") -> list[socket.socket]:
    """A socket on the port of the setting `name`, none if it has no value.

    Raises:
        SettingsError: it cannot be listened on.
    """
    if port is None:
        return []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol: asyncio sets TCP_NODELAY only on sockets that name it.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise SettingsError([f"{name}: cannot listen on `{host}:{port}`: {reason}."]) from error
    return [sock]


if __name__ == "__main__":
    main(work, None)
