"""The way into the database, for the control plane and the command line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from ferryman.model import Cost, Entry
from ferryman.settings_store import Postgres, SqliteFile
from ferryman.store import keep, reprice
from ferryman.store.access import Access
from ferryman.store.access_parts import PartReader, reading
from ferryman.store.batches import Batches
from ferryman.store.bodies import Bodies
from ferryman.store.engine import open_engines
from ferryman.store.migrate import migrate, revision
from ferryman.store.outbox import Outbox
from ferryman.store.owners import Owners
from ferryman.store.read import Filter, Reader
from ferryman.store.sessions import Sessions
from ferryman.store.spends import Spends
from ferryman.store.write import Writer


class Store:
    """One database. Everything may wait for it, and may be called from any thread.

    What is read is in `read`, what is written in `write`, batches that are not settled in `batches`, who made
    what in `owners`, keys and whom they belong to in `access`, what was spent of budgets in `spends`, what is
    to be sent to sinks in `outbox`, what sessions there were in `sessions`, what was asked and answered in
    `bodies`. Methods raise StoreUnavailable
    when the database is away: nothing was done then, and the same call may be made again. Any other
    StoreError is a fault that asking again will not mend.
    """

    def __init__(self, target: SqliteFile | Postgres) -> None:
        """Take the database of `ferryman.settings_store.database`; nothing is connected yet.

        Raises:
            SettingsError: the driver for PostgreSQL is missing, or the data directory cannot be made.
        """
        self._engines = open_engines(target)
        self.read = Reader(self._engines)
        self.write = Writer(self._engines)
        self.batches = Batches(self._engines)
        self.owners = Owners(self._engines)
        self.access = Access(self._engines)
        self.spends = Spends(self._engines)
        self.outbox = Outbox(self._engines, self.read)
        self.sessions = Sessions(self._engines)
        self.bodies = Bodies(self._engines)

    def __repr__(self) -> str:
        return f"Store({self._engines.write.url.render_as_string(hide_password=True)})"

    def migrate(self) -> None:
        """Bring the tables to this version; call it once, before anything else.

        Raises:
            SettingsError: the database was made by a newer version, or its file cannot be made.
            StoreUnavailable: it is away.
        """
        migrate(self._engines)

    def revision(self) -> str | None:
        """The newest migration that the database has seen, `None` if it has no tables yet."""
        return revision(self._engines)

    def reading_parts(self) -> AbstractContextManager[PartReader]:
        """Read what parts of the snapshot are made of (see `ferryman.store.access_parts`)."""
        return reading(self._engines)

    def delete_before(self, moment: datetime, *, at_most: int = keep.MAX_STEP) -> int:
        """Delete some of the oldest entries (see `ferryman.store.keep.delete_before`)."""
        return keep.delete_before(self._engines, moment, at_most=at_most)

    def span_of_time(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Where the entries of that time stand (see `ferryman.store.reprice.span_of_time`)."""
        return reprice.span_of_time(self._engines, start, end)

    def reprice_step(
        self,
        price: Callable[[Entry], Cost | None],
        wanted: Filter,
        span: tuple[int, int],
        *,
        dry_run: bool = False,
    ) -> reprice.Step:
        """Price some entries anew (see `ferryman.store.reprice.reprice_step`)."""
        return reprice.reprice_step(self._engines, price, wanted, span, dry_run=dry_run)

    def sync(self) -> None:
        """Let what is committed survive a power cut (see `ferryman.store.keep.sync`)."""
        keep.sync(self._engines)

    def backup(self, target: Path) -> None:
        """Copy a database of SQLite to a new file (see `ferryman.store.keep.backup`)."""
        keep.backup(self._engines, target)

    def close(self) -> None:
        """Close every connection."""
        self._engines.read.dispose()
        self._engines.write.dispose()
