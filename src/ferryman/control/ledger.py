"""From the workers' journals into the store: each entry once, whoever dies in between."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from ferryman.errors import JournalUnreadable, StoreError, StoreUnavailable
from ferryman.ledger.checkpoint import Checkpoint
from ferryman.ledger.files import is_written, segment_numbers
from ferryman.ledger.segment import Problem, ProblemKind
from ferryman.ledger.tail import Batch, Shape, Tail, deletable
from ferryman.model import Entry
from ferryman.pricing.anew import priced_anew
from ferryman.pricing.catalog import Catalog, load_catalog
from ferryman.store.flat import Row
from ferryman.store.rows import id_of, row_of
from ferryman.store.write import Checkpoint as Stored

if TYPE_CHECKING:
    from ferryman.clock import Clock
    from ferryman.store.store import Store

log = structlog.get_logger("ferryman.ledger")

POLL_SECONDS = 0.5
"""Between two looks at journals that have been read to their ends. A transaction costs as much as dozens of
entries, and an entry is to be seen within a second."""

RETRY_SECONDS = 1.0
"""Between two attempts while the database is away; the journals keep what comes meanwhile."""

LAST_LOOKS = 5
"""How often one that stands by looks once more at its end, `POLL_SECONDS` apart: the control plane that has
the work may be ending too, past its own last look. If it is not, it has stored everything meanwhile."""

STORED_SUFFIX = ".stored"
"""Of a dead worker's directory of which all is in the store: it goes with its checkpoint, in whatever step
the control plane dies. That a directory is missing tells nothing: it may be another machine's."""

NEW_SECONDS = 60.0
"""A directory without a segment may be that of a worker which is just starting."""

BODIES_DAYS = 7

RETENTION_SECONDS = 60.0
"""Between two steps of deleting what is older than `entries_retention_days`, or has no use any more."""

_decode = msgspec.json.Decoder(Checkpoint).decode
_encode = msgspec.json.Encoder().encode


class Follower(Protocol):
    """Whoever is told of each entry, once it is stored."""

    def take(self, rows: Sequence[Row]) -> None:
        """Take what was just stored, after a crash perhaps some of it again; neither wait nor raise."""

    def close(self) -> None:
        """There is no more to come."""


class Bookkeeper:
    """Reads all journals under one directory into the store. Its methods wait: call them on a thread.

    Of several control planes that share the directory one does the work; the others stand by.

    Attributes:
        problems: what was wrong with journals, by kind.
        lost: records among them that never came, or that cannot be read.
        database_away: the last pass did not reach the database.
    """

    def __init__(  # noqa: PLR0913  # one a part
        self,
        root: Path,
        store: Store,
        clock: Clock,
        *,
        retention_days: int | None = None,
        bodies_days: int = BODIES_DAYS,
        catalog: Callable[[], Catalog] = load_catalog,
        on_stored: Callable[[str], None] = lambda _: None,
        follower: Follower | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            root: holds a directory for each worker.
            store: where entries go; it is migrated with the first pass.
            clock: the time.
            retention_days: older entries are deleted, and their bodies; `None` keeps all.
            bodies_days: older bodies are deleted.
            catalog: tells the prices in force, for exchanges that their worker did not live to price.
            on_stored: is told of each journal of a dead worker, by its name, when all of it is in the store
                and before it is removed. What it raises is raised; it is told again then.
            follower: is told of what is stored, and closed with us; `None` for none.
        """
        self._root = root
        self._store = store
        self._clock = clock
        self._retention_days = retention_days
        self._bodies_days = bodies_days if retention_days is None else min(bodies_days, retention_days)
        self._retention_at = 0.0
        self._lock = -1
        self._catalog = catalog
        self._on_stored = on_stored
        self._follower = follower
        # Entries are read as rows, which saves a third of the time.
        self._shape = Shape(row_of, id_of, self._priced)
        self._tails: dict[str, Tail[Row]] = {}
        self._stored: dict[str, Checkpoint] | None = None
        self._migrated = False
        self._caught_up_at = clock.monotonic()
        self.problems: Counter[str] = Counter()
        self.lost = 0
        self.database_away = False

    def __repr__(self) -> str:
        return f"<Bookkeeper of {self._root}: {len(self._tails)} journals>"

    @property
    def stands_by(self) -> bool:
        """Whether another control plane does the work, as far as this one has looked."""
        return self._lock < 0

    @property
    def lag_seconds(self) -> float:
        """Since when the journals have not been read to their ends and stored; 0 while another does that."""
        return (
            0.0 if self.stands_by and not self.database_away else self._clock.monotonic() - self._caught_up_at
        )

    def migrate(self) -> None:
        """Bring the database to this version.

        Raises:
            SettingsError: it was made by a newer version, or its file cannot be made.
            StoreUnavailable: it is away.
        """
        if not self._migrated:
            self._store.migrate()
            self._migrated = True

    def work(self) -> bool:
        """Store what is new, a batch of each journal; whether there may be more.

        Raises:
            StoreUnavailable: the database is away; call again.
            StoreError, OSError, JournalUnreadable: see the store and `ferryman.ledger.tail`.
        """
        try:
            more = self._pass()
        except StoreUnavailable:
            self.database_away = True
            raise
        self.database_away = False
        if not more:
            self._caught_up_at = self._clock.monotonic()
        return more

    def _pass(self) -> bool:
        self.migrate()
        if not self._is_ours():
            return False
        if self._stored is None:
            found = self._store.write.checkpoints()
            self._stored = {name: _decode(one.position) for name, one in found.items()}
        more, failure = False, None
        for directory in sorted(path for path in self._root.iterdir() if path.is_dir()):
            if directory.suffix == STORED_SUFFIX:
                self._forget(directory)
                continue
            try:
                more |= self._follow(directory)
            except StoreUnavailable:
                raise
            except (StoreError, JournalUnreadable, OSError) as error:  # one journal keeps up no other
                failure = error
        if failure is not None:
            raise failure
        self._retain()
        return more

    def close(self) -> None:
        """Let go of the journals and of the database."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._store.close()
        if self._follower is not None:
            self._follower.close()

    def _is_ours(self) -> bool:
        if self._lock >= 0:
            return True
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _follow(self, directory: Path) -> bool:
        name = directory.name
        try:
            tail = self._tails.get(name)
            if tail is None:
                tail = self._tails[name] = Tail(directory, self._known.get(name), self._shape)
            batch = tail.read()
            self._store_batch(directory, batch)
            if batch.caught_up and not is_written(directory) and self._is_settled(directory):
                for last in tail.finish(self._clock.now()):
                    self._store_batch(directory, last)
                self._remove(directory)
                return False
        except (StoreError, JournalUnreadable, OSError):
            self._drop(name)  # begun again from what is stored
            raise
        return not batch.caught_up

    def _priced(self, interrupted: Entry) -> Entry:
        return msgspec.structs.replace(interrupted, cost=priced_anew(interrupted, self._catalog()))

    @property
    def _known(self) -> dict[str, Checkpoint]:
        return self._stored if self._stored is not None else {}

    def _store_batch(self, directory: Path, batch: Batch[Row]) -> None:
        for problem in batch.problems:
            log.error("journal damaged", worker=directory.name, problem=str(problem))
            self._count(problem)
        checkpoint = batch.checkpoint
        before = self._known.get(directory.name)
        moved = before is None or before.segment != checkpoint.segment or checkpoint.finished
        if not batch.entries and not moved:
            return
        position = _encode(checkpoint).decode()
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        stored = Stored(directory.name, position, checkpoint.sequence, now)
        self._store.write.insert(batch.entries, stored)
        self._known[directory.name] = checkpoint
        if self._follower is not None:
            self._follower.take(batch.entries)
        unneeded = deletable(directory, checkpoint)
        if unneeded:
            self._store.sync()
        for path in unneeded:
            path.unlink(missing_ok=True)

    def _count(self, problem: Problem) -> None:
        self.problems[problem.kind] += 1
        if problem.kind in {ProblemKind.MISSING, ProblemKind.UNDECODABLE}:
            self.lost += problem.size

    def _is_settled(self, directory: Path) -> bool:
        """Whether `directory` is not that of a worker which is about to begin."""
        return bool(segment_numbers(directory)) or (
            directory.stat().st_mtime < self._clock.now() - NEW_SECONDS
        )

    def _remove(self, directory: Path) -> None:
        """All of a dead worker's journal is in the store."""
        self._drop(directory.name)
        self._on_stored(directory.name)
        self._store.sync()
        self._forget(directory.rename(directory.with_name(directory.name + STORED_SUFFIX)))

    def _forget(self, directory: Path) -> None:
        """Remove the checkpoint of a directory with `STORED_SUFFIX`, then the directory."""
        name = directory.name.removesuffix(STORED_SUFFIX)
        self._store.spends.forget_journal(name)
        self._store.write.forget_checkpoint(name)
        self._known.pop(name, None)
        shutil.rmtree(directory)

    def _drop(self, name: str) -> None:
        tail = self._tails.pop(name, None)
        if tail is not None:
            tail.close()

    def _retain(self) -> None:
        if self._clock.monotonic() < self._retention_at:
            return
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        deleted = self._store.owners.expire(now)
        deleted += self._store.bodies.delete_before(now - timedelta(days=self._bodies_days))
        if self._retention_days is not None:
            deleted += self._store.delete_before(now - timedelta(days=self._retention_days))
        self._retention_at = 0.0 if deleted else self._clock.monotonic() + RETENTION_SECONDS


async def keep(bookkeeper: Bookkeeper, stopping: asyncio.Event) -> None:
    """Let `bookkeeper` work until `stopping` is set and nothing is left to be stored."""
    away, told = False, ""
    looks_left = LAST_LOOKS
    while True:
        last = stopping.is_set()
        try:
            more = await asyncio.to_thread(bookkeeper.work)
        except StoreUnavailable as error:
            if not away:
                log.warning("database away", reason=str(error), now="the journals keep what comes")
            away, more, pause = True, False, RETRY_SECONDS
        except Exception as error:  # noqa: BLE001  # it is logged there, and what is next may be stored
            told = _told(error, told)
            more, pause = False, RETRY_SECONDS
        else:
            if away or told:
                log.info("database back" if away else "journals stored again")
            away, told, pause = False, "", POLL_SECONDS
        if more:
            continue
        if last and (away or not looks_left or not bookkeeper.stands_by):
            break
        looks_left -= last
        await _rest(stopping, pause)
    await asyncio.to_thread(bookkeeper.close)


def _told(error: Exception, before: str) -> str:
    """Log `error` unless it is what was told `before`: once, not every second."""
    if str(error) != before:
        log.error("journals not stored", now="it is tried again every second", exc_info=error)
    return str(error)


async def _rest(stopping: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until `stopping` is set meanwhile."""
    if stopping.is_set():
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        pass
