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
from ferryman.control.ledger import Bookkeeper, keep
from ferryman.control.owners import Owners
from ferryman.control.prices import Prices, keep_told
from ferryman.control.processes import Processes
from ferryman.control.server import LogHandler, Server
from ferryman.control.spend import Spend
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
        SettingsError: `admin_port` cannot be listened on, or the database not be used.
    """
    clock = SystemClock()
    feed = FeedServer(clock)
    processes = Processes(feed)
    await child.begin(processes.take)
    os.nice(NICENESS)
    logging.getLogger("uvicorn").addHandler(LogHandler())
    settings = child.handover.settings
    directory = RuntimeDirectory(Path(child.handover.directory))
    admin = [] if settings.admin_port is None else [_listen_admin(settings.admin_port)]
    prices = Prices(settings, child.handover.rereads)
    store = Store(database(settings))
    bookkeeper, authority = _accounting(settings, store, clock, prices, directory)
    await _migrate(bookkeeper)
    await _check_keys(store, settings)
    limits = gateway_limits(settings)
    publisher = Publisher(store, feed, limits, AuthorityRows(authority, store), lambda: {PRICES: prices.part})
    governor = _governor(authority, publisher, store, clock)
    feed.on_wanted = governor.want
    stored = asyncio.Event()
    tasks = TaskOwner("control")
    tasks.spawn(keep(bookkeeper, stored), "ledger")
    tasks.spawn(governor.run(stored), "budgets")
    tasks.spawn(poll(settings, store, clock, child.stopping, lambda: prices.catalog), "batches")
    spends = Spends(authority, store, clock, limits.time_zone)
    desk = _desk(store, publisher, spends, clock, settings.master_key)
    reports, owners = Spend(store.read, lambda: prices.catalog, store.access), Owners(store.owners.lookup)
    parts = (reports, owners, desk, Usage(store, spends, clock))
    routes = [*processes.routes(), *(route for part in parts for route in part.routes())]
    console = Console(Backing(settings, store, desk, spends, processes, lambda: prices.catalog, clock))
    guarded, trusting = _servers([*documented(routes), *console.routes()], desk, settings, clock)
    _clear(directory)
    await feed.start(str(directory.feed))
    await _publish(publisher)
    watch = TaskOwner("control.watch")
    watch.spawn(keep_told(prices, feed), "prices")
    watch.spawn(keep_published(publisher), "keys")
    await guarded.listen([_listen_unix(directory.relayed), *admin])
    await trusting.listen([_listen_unix(directory.control)])
    _tune_collector()
    child.ready()
    await child.stopping.wait()
    await _workers_gone(child, processes, feed)
    stored.set()
    await watch.close()
    await tasks.finish(STORE_SECONDS)
    await asyncio.gather(guarded.stop(), trusting.stop())
    for part in (*parts, console):
        part.close()
    await publisher.close()
    await feed.close()


def _accounting(
    settings: Settings, store: Store, clock: Clock, prices: Prices, directory: RuntimeDirectory
) -> tuple[Bookkeeper, Authority]:
    """What brings the journals into the store, and what keeps the budgets that workers spend.

    Raises:
        SettingsError: the table of counters cannot be used.
    """
    authority = authority_of(settings, store, clock, directory.counters, lambda: not bookkeeper.stands_by)
    bookkeeper = Bookkeeper(
        journal_directory(settings),
        store,
        clock,
        retention_days=settings.entries_retention_days,
        catalog=lambda: prices.catalog,
        on_stored=authority.fold,
    )
    return bookkeeper, authority


def _governor(authority: Authority, publisher: Publisher, store: Store, clock: Clock) -> Governor:
    """What lets the authority work, and tells workers of end users and sessions that come up."""
    loop = asyncio.get_running_loop()

    def meet(scope_ids: list[str]) -> None:  # on the governor's thread
        today = datetime.fromtimestamp(clock.now(), UTC).date().isoformat()
        loop.call_soon_threadsafe(publisher.meet, scope_ids, today)

    machines = Machines(store, clock, store.write.machine)
    return Governor(authority, clock, on_scopes=meet, on_sweep=machines.tell)


def _desk(store: Store, publisher: Publisher, spends: Spends, clock: Clock, master_key: str | None) -> Desk:
    """Keys are made only where somebody is asked for one."""
    return Desk(store, publisher, spends, clock, master_key, asks_for_keys=master_key is not None)


def _tune_collector() -> None:
    """Leave what was made at start out of the collector's passes, and make them rarer, as in a worker.

    What is read of journals holds no cycles, and is much.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _servers(
    routes: Iterable[BaseRoute], desk: Desk, settings: Settings, clock: Clock
) -> tuple[Server, Server]:
    """One that asks for keys, and one that trusts whoever reaches it."""
    app = create_app(routes, clock)
    return Server(Gate(app, settings.master_key, clock, desk.caller_of)), Server(app)


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


async def _publish(publisher: Publisher) -> None:
    """Tell the workers all that there is; while the database is away they go on with what they hold."""
    try:
        await publisher.begin()
    except StoreUnavailable as error:
        log.warning("keys not read", reason=str(error), now="it is tried again")


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


def _listen_admin(port: int) -> socket.socket:
    # With the protocol: asyncio sets TCP_NODELAY only on sockets that name it.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise SettingsError([f"admin_port: cannot listen on `127.0.0.1:{port}`: {reason}."]) from error
    return sock


if __name__ == "__main__":
    main(work, None)
