"""The control plane as a process: `python -m ferryman.control.process`, started by the supervisor alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from pathlib import Path

import structlog

from ferryman.clock import SystemClock
from ferryman.control.app import Gate, create_app
from ferryman.control.batches import poll
from ferryman.control.feed import FeedServer
from ferryman.control.govern import Governor, Machines, authority_of
from ferryman.control.ledger import Bookkeeper, keep
from ferryman.control.prices import Prices, keep_told
from ferryman.control.processes import Processes
from ferryman.control.server import LogHandler, Server
from ferryman.control.spend import Spend
from ferryman.errors import SettingsError, StoreError, StoreUnavailable
from ferryman.process.child import Child, main
from ferryman.process.directory import RuntimeDirectory
from ferryman.process.messages import PRICES
from ferryman.settings_store import database, journal_directory
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
    authority = authority_of(settings, store, clock, directory.counters, lambda: not bookkeeper.stands_by)
    bookkeeper = Bookkeeper(
        journal_directory(settings),
        store,
        clock,
        retention_days=settings.entries_retention_days,
        catalog=lambda: prices.catalog,
        on_stored=authority.fold,
    )
    await _migrate(bookkeeper)
    machines = Machines(store, clock, store.write.machine)
    governor = Governor(authority, clock, on_sweep=machines.tell)
    feed.on_wanted = governor.want
    stored = asyncio.Event()
    tasks = TaskOwner("control")
    tasks.spawn(keep(bookkeeper, stored), "ledger")
    tasks.spawn(governor.run(stored), "budgets")
    tasks.spawn(poll(settings, store, clock, child.stopping, lambda: prices.catalog), "batches")
    reports = Spend(store.read, lambda: prices.catalog)
    app = create_app([*processes.routes(), *reports.routes()], clock)
    guarded, trusting = Server(Gate(app, settings.master_key, clock)), Server(app)
    _clear(directory)
    await feed.start(str(directory.feed))
    feed.publish({PRICES: prices.part})
    watch = TaskOwner("control.watch")
    watch.spawn(keep_told(prices, feed), "prices")
    await guarded.listen([_listen_unix(directory.relayed), *admin])
    await trusting.listen([_listen_unix(directory.control)])
    gc.collect()
    gc.freeze()
    child.ready()
    await child.stopping.wait()
    await _workers_gone(child, processes, feed)
    stored.set()
    await watch.close()
    await tasks.finish(STORE_SECONDS)
    await asyncio.gather(guarded.stop(), trusting.stop())
    reports.close()
    await feed.close()


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
