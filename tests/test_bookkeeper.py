"""The bookkeeper between real journals and a real database: each entry once, whoever dies in between."""

from __future__ import annotations

import asyncio
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from ferryman.control.ledger import Bookkeeper, keep
from ferryman.errors import JournalUnreadable, StoreError, StoreUnavailable
from ferryman.ledger.files import segment_numbers
from ferryman.ledger.format import VERSION
from ferryman.ledger.records import encode
from ferryman.ledger.writer import JournalWriter
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import load_catalog
from ferryman.settings_prices import PriceOverride
from ferryman.store import schema
from ferryman.store.read import Filter
from ferryman.store.store import Store
from tests.support.gateway import HeldClock
from tests.support.journal import entry, opened, seen
from tests.support.stores import opened as opened_store
from tests.support.stores import sqlite_url


class Office:
    """A directory of journals and a database, with whoever works on them."""

    def __init__(self, directory: Path, clock: HeldClock, stack: ExitStack) -> None:
        self.root = directory / "journal"
        self.url = sqlite_url(directory)
        self.clock = clock
        self._stack = stack

    def writer(self, name: str = "1-a", **options: int) -> JournalWriter:
        """A worker's journal; its death is `kill`."""
        return JournalWriter(self.root / name, self.clock, **options)

    def bookkeeper(self, url: str = "", **options: Any) -> Bookkeeper:
        one = Bookkeeper(self.root, opened_store(url or self.url), self.clock, **options)
        self._stack.callback(one.close)
        return one

    def work(self, bookkeeper: Bookkeeper) -> None:
        """Until nothing is left."""
        while bookkeeper.work():
            pass

    def rows(self, store: Store | None = None) -> dict[str, str]:
        """How the entries in the database ended, by id."""
        one = store or opened_store(self.url)
        with one._engines.read.connect() as connection:
            found = connection.execute(select(schema.entries.c.id, schema.entries.c.ended)).all()
            requests = sum(connection.execute(select(schema.rollups.c.requests)).scalars())
        one.close()
        assert requests == len(found)
        return {row[0]: row[1] for row in found}

    def checkpoints(self) -> list[str]:
        store = opened_store(self.url)
        found = list(store.write.checkpoints())
        store.close()
        return found


@pytest.fixture
def office(tmp_path: Path, clock: HeldClock) -> Iterator[Office]:
    with ExitStack() as stack:
        yield Office(tmp_path, clock, stack)


def kill(writer: JournalWriter) -> None:
    """Let the lock go without a word, as the kernel does."""
    writer._syncer.close()
    os.close(writer._descriptor)


def refused_url() -> str:
    """A PostgreSQL on a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"postgresql://ferryman@127.0.0.1:{free.getsockname()[1]}/none"


def test_entries_arrive_once_while_they_are_written(office: Office) -> None:
    writer, bookkeeper = office.writer(), office.bookkeeper()
    for number in range(50):
        writer.opened(encode(opened(number)))
        writer.closed(encode(entry(number)))
        if number % 7 == 0:
            office.work(bookkeeper)
    office.work(bookkeeper)
    assert office.rows() == {str(number): "done" for number in range(50)}
    writer.close()
    office.work(bookkeeper)
    assert len(office.rows()) == 50
    assert not (office.root / "1-a").exists()
    assert office.checkpoints() == []


def test_segments_are_deleted_once_they_are_stored(office: Office) -> None:
    writer, bookkeeper = office.writer(segment_bytes=4096), office.bookkeeper()
    for number in range(100):
        writer.closed(encode(entry(number)))
    assert len(segment_numbers(writer.directory)) > 5
    office.work(bookkeeper)
    assert len(segment_numbers(writer.directory)) == 1
    assert len(office.rows()) == 100
    writer.close()


def test_interrupted_exchange_costs_what_is_known_of_it(office: Office) -> None:
    writer = office.writer()
    for name in ("seen", "unseen"):
        writer.opened(encode(opened(name)))
    writer.seen(encode(seen("seen")))
    kill(writer)
    overrides = [PriceOverride("claude-sonnet-5", {"input": 3_000_000})]
    bookkeeper = office.bookkeeper(catalog=lambda: adjusted(load_catalog(), overrides, []))
    office.work(bookkeeper)
    store = opened_store(office.url)
    found = {one.id: one for one in store.read.page(Filter()).entries}
    (sums,) = store.read.sums(date(2020, 1, 1), date(2030, 1, 1), by=())
    store.close()
    cost = found["seen"].cost
    assert cost is not None
    assert (cost.estimated, cost.price_source, cost.model) == (True, "override", "claude-sonnet-5")
    assert cost.nanousd == 17 * 3_000 + 4 * 200 + 1 * 10_000
    assert (found["unseen"].cost, sums.cost_nanousd) == (None, cost.nanousd)


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
def test_what_is_deleted_survives_a_power_cut_in_the_database(
    dead: bool, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself syncs its write-ahead log only now and then."""
    sizes: list[int] = []  # of the write-ahead log, as often as it was synced
    segments: list[int] = []  # that there were then
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == "test.db-wal":
            sizes.append(path.stat().st_size)
            segments.append(len(segment_numbers(writer.directory)))
        fsync(descriptor)

    writer, bookkeeper = office.writer(segment_bytes=4096), office.bookkeeper()
    for number in range(100):
        writer.closed(encode(entry(number)))
    if dead:
        kill(writer)
    before = len(segment_numbers(writer.directory))
    monkeypatch.setattr(os, "fsync", watch)
    bookkeeper.work()
    assert segments[0] == before, "it was synced before anything was deleted"
    wal = Path(f"{office.url.removeprefix('sqlite:///')}-wal")
    if dead:
        assert not writer.directory.exists()
        assert segments[-1] == 1, "and once more before the last segment"
    else:
        assert sizes[-1] == wal.stat().st_size, "with all that was stored"
        writer.close()


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
def test_crash_between_storing_and_deleting_doubles_nothing(
    dead: bool, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError("killed")

    writer, first = office.writer(segment_bytes=4096), office.bookkeeper()
    for number in range(100):
        writer.closed(encode(entry(number)))
    writer.opened(encode(opened("open")))
    if dead:
        kill(writer)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree" if dead else "ferryman.control.ledger.deletable", crash)
        with pytest.raises(OSError, match="killed"):
            office.work(first)
    first.close()
    before = office.rows()
    assert len(before) == 100 + dead
    second = office.bookkeeper()
    office.work(second)
    assert office.rows() == before
    assert writer.directory.exists() is not dead
    if not dead:
        writer.closed(encode(entry("open")))
        office.work(second)
        assert office.rows() == before | {"open": "done"}
        writer.close()


@pytest.mark.parametrize("step", ["rename", "forget_checkpoint", "rmtree"])
def test_crash_within_the_removal_of_a_directory_leaves_nothing_behind(
    step: str, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any, **_: object) -> None:
        if step == "rmtree":
            next(arguments[0].glob("*.jnl")).unlink()
        raise OSError("killed")

    names = {
        "rename": "pathlib.Path.rename",
        "forget_checkpoint": "ferryman.store.write.Writer.forget_checkpoint",
        "rmtree": "shutil.rmtree",
    }
    writer, first = office.writer(), office.bookkeeper()
    writer.opened(encode(opened("open")))
    kill(writer)
    with monkeypatch.context() as patched:
        patched.setattr(names[step], crash)
        with pytest.raises(OSError, match="killed"):
            office.work(first)
    first.close()
    office.work(office.bookkeeper())
    assert office.rows() == {"open": "interrupted"}
    assert [path.name for path in office.root.iterdir() if path.is_dir()] == []
    assert office.checkpoints() == []


def test_journal_that_cannot_be_read_keeps_up_no_other(office: Office) -> None:
    bad, good = office.writer("1-a"), office.writer("2-b")
    for writer in (bad, good):
        writer.closed(encode(entry(writer.directory.name)))
    (segment,) = bad.directory.glob("*.jnl")
    data = bytearray(segment.read_bytes())
    data[8] = VERSION + 1
    data[28:32] = zlib.crc32(data[:28]).to_bytes(4, "little")
    segment.write_bytes(data)
    with pytest.raises(JournalUnreadable, match="version `2`"):
        office.work(office.bookkeeper())
    assert office.rows() == {"2-b": "done"}
    assert segment.exists()
    bad.close()
    good.close()


def test_dead_workers_open_exchange_becomes_interrupted_and_its_directory_goes(office: Office) -> None:
    writer, bookkeeper = office.writer(), office.bookkeeper()
    writer.opened(encode(opened("done")))
    writer.opened(encode(opened("open")))
    writer.seen(encode(seen("open")))
    writer.closed(encode(entry("done")))
    office.work(bookkeeper)
    assert office.rows() == {"done": "done"}, "its worker lives"
    kill(writer)
    office.work(bookkeeper)
    assert office.rows() == {"done": "done", "open": "interrupted"}
    store = opened_store(office.url)
    found = store.read.entry("open")
    assert found is not None
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage_complete) == (17, False)
    store.close()
    assert [path.name for path in office.root.iterdir() if path.is_dir()] == []
    assert office.checkpoints() == []


def test_fresh_directory_without_segments_is_left_alone(office: Office) -> None:
    """A worker makes its directory before it has its lock."""
    bookkeeper = office.bookkeeper()
    fresh = office.root / "1-a"
    fresh.mkdir(parents=True)
    os.utime(fresh, (office.clock.now() - 59,) * 2)
    office.work(bookkeeper)
    assert fresh.exists()
    office.clock.seconds += 2
    office.work(bookkeeper)
    assert not fresh.exists()


def test_one_of_two_works_and_the_other_stands_by(office: Office) -> None:
    writer, first, second = office.writer(), office.bookkeeper(), office.bookkeeper()
    writer.closed(encode(entry(1)))
    office.work(first)
    writer.closed(encode(entry(2)))
    office.work(second)
    assert (first.stands_by, second.stands_by) == (False, True)
    assert office.rows() == {"1": "done"}
    first.close()
    office.work(second)
    assert not second.stands_by
    assert office.rows() == {"1": "done", "2": "done"}
    writer.close()


def test_one_that_stands_by_stores_what_another_leaves_at_its_end(office: Office) -> None:
    """Two control planes end at once: the first has looked for the last time, and not let go yet."""
    writer, first, second = office.writer(), office.bookkeeper(), office.bookkeeper()
    office.work(first)
    writer.closed(encode(entry(1)))
    writer.close()

    async def end_both() -> None:
        stopping = asyncio.Event()
        stopping.set()
        asyncio.get_running_loop().call_later(0.3, first.close)
        await keep(second, stopping)

    asyncio.run(end_both())
    assert office.rows() == {"1": "done"}


def test_one_that_stands_by_ends_though_the_other_stays(office: Office) -> None:
    first, second = office.bookkeeper(), office.bookkeeper()
    office.work(first)

    async def end() -> None:
        stopping = asyncio.Event()
        stopping.set()
        async with asyncio.timeout(5):
            await keep(second, stopping)

    asyncio.run(end())
    assert not first.stands_by


def test_database_that_is_away_is_told_and_loses_nothing(office: Office) -> None:
    writer, away = office.writer(), office.bookkeeper(refused_url())
    writer.closed(encode(entry(1)))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            away.work()
    away.close()
    office.work(office.bookkeeper())
    assert office.rows() == {"1": "done"}
    writer.close()


@pytest.mark.parametrize("error", [StoreUnavailable, StoreError])
def test_batch_that_could_not_be_stored_comes_again(
    error: type[StoreError], office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error("not now")

    writer, bookkeeper = office.writer(), office.bookkeeper()
    writer.closed(encode(entry(1)))
    office.work(bookkeeper)
    writer.closed(encode(entry(2)))
    with monkeypatch.context() as patched:
        patched.setattr(bookkeeper._store.write, "insert", refuse)
        with pytest.raises(error):
            bookkeeper.work()
    writer.closed(encode(entry(3)))
    office.work(bookkeeper)
    assert set(office.rows()) == {"1", "2", "3"}
    writer.close()


def test_retention_deletes_what_is_older(office: Office) -> None:
    writer, bookkeeper = office.writer(), office.bookkeeper(retention_days=30)
    store = opened_store(office.url)
    bookkeeper.migrate()
    now = datetime.fromtimestamp(office.clock.now(), UTC)
    for days in (29, 31):
        writer.closed(encode(msgspec.structs.replace(entry(days), started_at=now - timedelta(days=days))))
    office.work(bookkeeper)
    with store._engines.read.connect() as connection:
        assert connection.execute(select(schema.entries.c.id)).scalars().all() == ["29"]
        assert sum(connection.execute(select(schema.rollups.c.requests)).scalars()) == 2
    store.close()
    writer.close()
