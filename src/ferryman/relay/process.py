"""A worker as a process: `python -m ferryman.relay.process`, started by the supervisor alone."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from ferryman.clock import SystemClock
from ferryman.errors import JournalUnwritable, SettingsError
from ferryman.ids import Ids
from ferryman.ledger.writer import JournalWriter
from ferryman.limits.admission import Admission
from ferryman.limits.table import CounterTable, TableUnusable
from ferryman.limits.windows import Calendar
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import Catalog
from ferryman.process.child import Child, main
from ferryman.process.directory import RuntimeDirectory
from ferryman.process.messages import MODELS, PRICES, PoolState, WorkerState
from ferryman.relay.ask import Asker
from ferryman.relay.bodies import Bodies, telling
from ferryman.relay.feed import Feed
from ferryman.relay.gate import Gate
from ferryman.relay.keyring import keyring_part
from ferryman.relay.line import KEYS_NOT_KNOWN, Line
from ferryman.relay.listen import Place
from ferryman.relay.models import models_part
from ferryman.relay.owners import asking
from ferryman.relay.worker import Worker
from ferryman.settings_prices import PriceRules
from ferryman.settings_store import journal_directory
from ferryman.tasks import TaskOwner
from ferryman.telemetry.lines import LineLog, json_line
from ferryman.telemetry.log import text_line
from ferryman.telemetry.writer import BackgroundWriter

log = structlog.get_logger("ferryman.worker")

KEYS_SECONDS = 5.0
"""How long a worker waits with listening for the keys. With the database away none come; then it listens,
says so in its readiness, and turns callers away until they do."""

COLUMN_SECONDS = 1.0
"""Between two looks for a column: a dead worker's journal is stored within seconds."""

_M_TRIM_THRESHOLD = -1  # mallopt(3)
_M_MMAP_THRESHOLD = -3


async def work(child: Child) -> None:
    """Serve until the supervisor says so, or has gone.

    Raises:
        SettingsError: the address cannot be listened on, or a certificate not be used.
    """
    await child.begin()
    raise_file_limit()
    settings = child.handover.settings
    loop = asyncio.get_running_loop()
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stdout.isatty())
    with io.FileIO(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        writer = BackgroundWriter(stdout, "ferryman.log", shared=settings.workers > 1)
        lines = LineLog(writer, render=text_line if text else json_line, call_later=loop.call_later)
        try:
            quiet = settings.log_level in {"warning", "error"}
            place = _place(child)
            directory = RuntimeDirectory(Path(child.handover.directory))
            journal = open_journal(child)
            claim = partial(counters_of, child, journal)
            counters = claim()
            if counters is None:
                log.error("no column for this worker", now="callers with limits or budgets are refused")
            worker = Worker(
                settings,
                journal=journal,
                record=(lambda _: None) if quiet else lines.write,
                place=place,
                control_socket=str(directory.relayed),
                counters=counters,
                ask=asking(Asker(str(directory.control))),
                images_directory=directory.images,
                bodies=Bodies(
                    telling(str(directory.control)), settings.log_bodies, settings.log_bodies_max_bytes
                ),
            )
            try:
                await serve(child, worker, str(directory.feed), claim)
            finally:
                journal.close()
        finally:
            lines.close()


def open_journal(child: Child) -> JournalWriter:
    """The journal of this worker, under a name that no other has had: none is taken for another's.

    Raises:
        SettingsError: it cannot be written where it should be.
    """
    clock = SystemClock()
    name = f"{child.handover.number}-{Ids().next(clock.now())}"
    try:
        return JournalWriter(journal_directory(child.handover.settings) / name, clock)
    except JournalUnwritable as error:
        raise SettingsError([f"data_dir: {error}"]) from error


def counters_of(child: Child, journal: JournalWriter) -> Admission | None:
    """Where this worker counts what its calls use up; `None` if there is no column for it.

    Whoever has limits or a budget is refused then: nobody would see what this worker counts. That happens
    when workers have died so often that the control plane is not done with their journals; see `find_column`.

    Args:
        child: this process.
        journal: its journal, which is open already: the column is free again when that is stored.

    Raises:
        SettingsError: the table cannot be used.
    """
    path = RuntimeDirectory(Path(child.handover.directory)).counters
    try:
        table = CounterTable.open(path)
        column = table.claim(journal.directory.name)
    except (OSError, TableUnusable) as error:
        raise SettingsError([f"runtime_directory: the table of counters cannot be used: {error}."]) from error
    if column is None:
        table.close()
        return None
    return Admission(table, column, Calendar(child.handover.settings.time_zone))


async def find_column(gate: Gate, claim: Callable[[], Admission | None]) -> None:
    """Look for a column until there is one: the control plane gives back those of the dead.

    Args:
        gate: that counts there from then on.
        claim: see `counters_of`.
    """
    while not gate.counts:
        await asyncio.sleep(COLUMN_SECONDS)
        try:
            counters = await asyncio.to_thread(claim)  # which may have to wait for a lock
        except SettingsError as error:
            log.warning("no column yet", reason=str(error))
            continue
        if counters is not None:
            gate.count_by(counters)
            log.info("column found", now="callers with limits or budgets are served")


async def serve(child: Child, worker: Worker, feed_path: str, claim: Callable[[], Admission | None]) -> None:
    """Start `worker`, and stop it with the child; `claim` as of `find_column`."""
    feed = Feed(
        feed_path,
        lambda: state_of(child, worker, feed),
        made_of=partial(part_of, worker.line.catalog),
        on_snapshot=worker.take,
    )
    looking = TaskOwner("column")
    if worker.line.gate is not None:
        worker.line.gate.wants = feed.ask
        looking.spawn(find_column(worker.line.gate, claim), "find")
    grace_seconds = 0.0
    feed.start()
    await keys_told(child, worker)
    await worker.start()
    try:
        child.on_hangup(worker.reload)
        tune_allocator()
        tune_collector()
        child.ready()
        await child.stopping.wait()
        grace_seconds = child.grace_seconds
        log.info("stopping", running=len(worker.line.live), grace_seconds=grace_seconds)
    finally:  # whatever happens, what runs has its record before the journal is closed
        await looking.close()
        await worker.stop(grace_seconds)
        await feed.close()


async def keys_told(child: Child, worker: Worker) -> None:
    """Wait a little for the virtual keys, if there are to be any: nobody should be turned away meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KEYS_SECONDS
    while worker.line.state == KEYS_NOT_KNOWN and loop.time() < deadline and not child.stopping.is_set():  # noqa: ASYNC110  # once, at the start
        await asyncio.sleep(0.01)


def part_of(catalog: Catalog, name: str, data: msgspec.Raw) -> object:
    """What a part of a snapshot is made into: prices into a catalog, of the same as `catalog`; models; keys.

    Raises:
        ValueError: it cannot be read.
    """
    if name == PRICES:
        return adjusted(Catalog(catalog.file), *msgspec.json.decode(data, type=PriceRules))
    return models_part(data) if name == MODELS else keyring_part(name, data)


def state_of(child: Child, worker: Worker, feed: Feed) -> WorkerState:
    """How the worker fares."""
    line = worker.line
    return WorkerState(
        number=child.handover.number,
        pid=os.getpid(),
        live=len(line.live),
        pool_open=sum(target.pool.open_count for target in line.targets),
        held_bytes=line.held_bytes,
        snapshot_version=feed.snapshot.version if feed.snapshot is not None else 0,
        pools=tuple(_pools(line)),
        ready=line.state == "ready",
        journal_healthy=line.recorder.healthy,
        bodies_dropped=0 if worker.bodies is None else worker.bodies.dropped,
    )


def _pools(line: Line) -> Iterator[PoolState]:
    """Those to upstreams, without that to the control plane."""
    beside = [] if line.control is None else line.control.pools
    for pool in line.pools:
        if pool not in beside:
            yield PoolState(str(pool.origin), pool.open_count, pool.idle_count, pool.opened_total)


def _place(child: Child) -> Place:
    number = child.handover.listen_fd
    return Place(None if number is None else socket.socket(fileno=number))


def raise_file_limit() -> None:
    """Allow as many open sockets as the system lets us have: each exchange takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tune_allocator() -> None:
    """Keep freed memory for the next read, where the C library is glibc.

    Each read of a busy stream takes and frees up to 256 KiB. By default glibc gives that back to the
    system and takes it anew each time: 11,000 calls of brk and an eighth of the CPU time in a
    stream at full speed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 16 << 20)
        mallopt(_M_MMAP_THRESHOLD, 16 << 20)


def tune_collector() -> None:
    """Leave what was made at start out of the garbage collector's passes, and make them rarer.

    Exchanges hold no reference cycles, so nearly all is freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def new_loop() -> Any:  # noqa: ANN401  # uvloop has no types
    """Uvloop's event loop where it is installed: it saves a fifth of the cost of TLS."""
    try:
        import uvloop  # noqa: PLC0415  # an optional extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    main(work, new_loop)
