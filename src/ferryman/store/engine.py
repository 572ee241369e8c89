"""Engines for both databases, and their errors as ours.

SQLite has one connection that writes and a few that read; PostgreSQL has a small pool for both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, Engine, create_engine, event, exc, make_url

from ferryman.errors import SettingsError, StoreError, StoreUnavailable
from ferryman.settings_store import Postgres, SqliteFile

BUSY_MILLISECONDS = 5_000
"""How long SQLite waits for another process that writes; a batch takes some milliseconds."""

READERS = 4
"""Connections for reading: as many reports at once as a machine of that size can serve."""

POOL_WAIT_SECONDS = 10.0
CONNECT_SECONDS = 5
STATEMENT_MILLISECONDS = 30_000
"""A statement of PostgreSQL that takes longer is given up."""

ANSWER_SECONDS = STATEMENT_MILLISECONDS / 1000 + 5
"""By then PostgreSQL has said that it gave up a statement; if not, it hangs or cannot be reached."""

PAGE_BYTES = 8_192
"""Of a new database of SQLite. With its default of 4,096 an entry costs 2 µs more (of 14) and 4 % more room;
with 16,384 it costs no less, and small batches cost more."""

CHECKPOINT_PAGES = 2_000
"""16 MB of write-ahead log before it is carried over: a page that many batches touch is carried once."""

CACHE_KIBIBYTES = 16_384
"""Of pages, for each connection of SQLite that needs them: the ends of all indexes stay in memory."""

_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_PERM,
}
_POSTGRES_AWAY = ("08", "28", "3D", "40", "53", "57", "58", "55P03", "25006")
"""SQLSTATEs, or their classes: connection, login, no such database, deadlock, resources, shutdown and
time-out, system, lock, and a server that only reads (after a fail-over).

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


class Engines(NamedTuple):
    """The two ways to one database.

    Attributes:
        write: begins transactions that hold the write lock from their start.
        read: for everything else.
    """

    write: Engine
    read: Engine

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.write.dialect.name == "sqlite"


def open_engines(target: SqliteFile | Postgres) -> Engines:
    """Engines for `target`; nothing is connected yet.

    Raises:
        SettingsError: the driver for PostgreSQL is not installed, or the directory cannot be made.
    """
    if isinstance(target, SqliteFile):
        _make_directory(target)
        return Engines(_sqlite(target.path, writes=True), _sqlite(target.path, writes=False))
    url = make_url(target.url).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            url,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"connect_timeout": CONNECT_SECONDS, "prepare_threshold": None},
        )
    except ImportError as error:
        hint = "PostgreSQL needs a driver; install it with `pip install 'ferryman[postgres]'`."
        raise SettingsError([f"database_url: {hint}"]) from error
    _bound_answers(engine)
    event.listen(engine, "connect", _prepare_postgres)
    return Engines(engine, engine)


def _bound_answers(engine: Engine) -> None:
    """Wait only so long for PostgreSQL: a little until it tells that it is there, then `ANSWER_SECONDS`."""
    from ferryman.store.postgres import PING_SECONDS, PatientConnection  # noqa: PLC0415  # an extra

    def connect(_: object, __: object, words: list[Any], options: dict[str, Any]) -> PatientConnection:
        return PatientConnection.connect(*words, **options)

    def set_seconds(connection: Any, seconds: float) -> None:  # noqa: ANN401  # of the driver
        if connection is not None:  # it was lost
            connection.answer_seconds = seconds

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", lambda connection, *_: set_seconds(connection, ANSWER_SECONDS))
    event.listen(engine, "checkin", lambda connection, *_: set_seconds(connection, PING_SECONDS))


def _make_directory(target: SqliteFile) -> None:
    if target.directory is None:
        return
    try:
        target.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"`{target.directory}` cannot be made: {error.strerror}."
        raise SettingsError([f"data_dir: {problem}"]) from error


def _sqlite(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1 if writes else READERS,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        hide_parameters=True,
        connect_args={
            "timeout": BUSY_MILLISECONDS / 1000,
            "check_same_thread": False,
            "isolation_level": None,
        },
    )

    def prepare(connection: Any, _: object) -> None:  # noqa: ANN401  # of the driver
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        if not writes:
            connection.execute("PRAGMA query_only = ON")

    def begin(connection: Any) -> None:  # noqa: ANN401  # of SQLAlchemy
        # The write lock at once: a transaction that reads first could not wait for it later.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _prepare_postgres(connection: Any, _: object) -> None:  # noqa: ANN401  # of the driver
    connection.autocommit = True
    connection.execute(
        f"SET statement_timeout = {STATEMENT_MILLISECONDS}; SET lock_timeout = {STATEMENT_MILLISECONDS}; "
        f"SET idle_in_transaction_session_timeout = {STATEMENT_MILLISECONDS}; "
        "SET application_name = 'ferryman'"
    )
    # What is committed is deleted from the journals, so it has to outlive the server whatever its default is.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = False


@contextmanager
def translated() -> Iterator[None]:
    """Raise the database's errors as `StoreUnavailable` or `StoreError`, without SQL and values."""
    try:
        yield
    except exc.TimeoutError as error:  # of the pool
        raise StoreUnavailable("every connection to the database is in use; try again") from error
    except exc.DBAPIError as error:
        raise _ours(error.orig or error, lost=error.connection_invalidated) from error
    except sqlite3.Error as error:
        raise _ours(error, lost=False) from error


def _ours(error: BaseException, *, lost: bool) -> StoreError:
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    code = getattr(error, "sqlite_errorcode", None)
    state = getattr(error, "sqlstate", None)
    if code is not None:
        away = code & 0xFF in _SQLITE_AWAY
    elif state is not None:
        away = state.startswith(_POSTGRES_AWAY)
    else:  # libpq could not connect, or lost the connection
        away = type(error).__name__ in {"OperationalError", "ConnectionTimeout"}
    if away or lost:
        return StoreUnavailable(f"the database cannot be used for now: {told}")
    return StoreError(f"the database refused: {told}")
