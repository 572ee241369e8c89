"""Bring a database to the tables of this version: at start, under a lock, in one transaction.

Processes that start together wait for the first of them. On a database that is up to date alembic is not
imported, which saves 12 MB of memory in a process that stays.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect

from ferryman.errors import SettingsError
from ferryman.store.engine import PAGE_BYTES, Engines, translated
from ferryman.store.schema import REVISION, VERSION_TABLE

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

DIRECTORY = Path(__file__).parent / "migrations"

LOCK = 0x46455252594D414E
"""Of PostgreSQL's advisory locks: `FERRYMAN` in ASCII."""

LOCK_WAIT_SECONDS = 600
"""Another process may be changing a large table."""

CHANGE_SECONDS = 6 * 3600.0
"""What PostgreSQL may take for one step: an index on hundreds of millions of rows, on a slow disk."""


def migrate(engines: Engines) -> None:
    """Bring the database to the newest revision; nothing if it is there.

    Raises:
        SettingsError: the database was made by a newer version, or its file cannot be.
        StoreUnavailable: it is away.
    """
    _make_file(engines)
    with translated():
        with engines.read.connect() as connection:
            if _revision(connection) == REVISION:
                return
        with _file_lock(engines), engines.write.begin() as connection:
            if not engines.is_sqlite:
                connection.connection.driver_connection.answer_seconds = CHANGE_SECONDS  # type: ignore[union-attr]  # see ferryman.store.postgres
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            upgrade(connection, REVISION)


def upgrade(connection: Connection, target: str) -> None:
    """Run the migrations up to the revision `target`, in the transaction of `connection`.

    Raises:
        SettingsError: the database is at a revision that this version does not know.
    """
    from alembic.operations import Operations  # noqa: PLC0415  # see above
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    current = _revision(connection)
    steps = scripts()
    known = {script.revision for script in steps.walk_revisions()}
    if current is not None and current not in known:
        newer = f"made by a newer Ferryman (revision `{current}`; this version knows `{REVISION}`)"
        way_out = "Start that version, or restore a backup from before it."
        raise SettingsError([f"database_url: the database was {newer}. {way_out}"])
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    pending = list(steps.iterate_revisions(target, current or "base"))
    with Operations.context(context):
        for script in reversed(pending):
            script.module.upgrade()
            context.stamp(steps, script.revision)


def scripts() -> ScriptDirectory:
    """The migrations of this version."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # see above

    return ScriptDirectory(str(DIRECTORY))


def revision(engines: Engines) -> str | None:
    """The newest migration that the database has seen, `None` if it has no tables yet."""
    with translated(), engines.read.connect() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608  # a name of our own
    return None if found is None else str(found)


def _make_file(engines: Engines) -> None:
    path = engines.write.url.database
    if not engines.is_sqlite or path is None:
        return
    try:
        for name in (path, f"{path}.lock"):
            Path(name).touch(mode=0o600)  # as SQLite would not: who used what is nobody else's business
    except OSError as error:
        raise SettingsError([f"database_url: `{path}` cannot be made: {error.strerror}."]) from error


@contextmanager
def _file_lock(engines: Engines) -> Iterator[None]:
    """Of SQLite: alone with the file, in the mode with a write-ahead log.

    SQLite itself gives up at once when two processes change the mode of a new file. The system releases
    the lock of a process that dies.
    """
    path = engines.write.url.database
    if not engines.is_sqlite or path is None:
        yield
        return
    with Path(f"{path}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with engines.write.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None  # noqa: S101  # for the checker
            driver.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # which only an empty file takes
            driver.execute("PRAGMA journal_mode = WAL")
        yield
