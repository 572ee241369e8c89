"""The way into the database, for the control plane and the command line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ferryman.settings_store import Postgres, SqliteFile
from ferryman.store import keep
from ferryman.store.batches import Batches
from ferryman.store.engine import open_engines
from ferryman.store.migrate import migrate, revision
from ferryman.store.read import Reader
from ferryman.store.write import Writer


class Store:
    """One database. Everything may wait for it, and may be called from any thread.

    What is read is in `read`, what is written in `write`, batches that are not settled in `batches`. Methods
    raise StoreUnavailable when the database is away: nothing was done then, and the same call may be made
    again. Any other StoreError is a fault that asking again will not mend.
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

    def delete_before(self, moment: datetime, *, at_most: int = keep.MAX_STEP) -> int:
        """Delete some of the oldest entries (see `ferryman.store.keep.delete_before`)."""
        return keep.delete_before(self._engines, moment, at_most=at_most)

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
