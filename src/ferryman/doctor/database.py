"""The database: reached, of this version, to be written to, and with the keys that its settings ask for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from ferryman.doctor.finding import Finding, ok, problem, refused, skipped, warning
from ferryman.errors import SettingsError, StoreError, StoreUnavailable
from ferryman.settings import Settings
from ferryman.settings_store import Postgres, SqliteFile, database
from ferryman.store.access_look import KEYS
from ferryman.store.engine import Engines, open_engines, translated
from ferryman.store.migrate import revision, scripts
from ferryman.store.schema import REVISION
from ferryman.store.store import Store

MAX_CHECKED_BYTES = 200_000_000
"""A file of SQLite up to this size is read through for damage, which takes about a second."""


def database_checks(settings: Settings) -> list[Finding]:
    """Look at the database of `settings`, and make none."""
    try:
        target = database(settings)
        if isinstance(target, SqliteFile) and not target.path.exists():
            if target.directory is None and not target.path.absolute().parent.is_dir():
                return [skipped("database", "its directory is missing")]
            return [ok("database", f"`{target.path}` is not there yet; the first start makes it")]
        engines = open_engines(target)  # makes nothing where the file is there
    except SettingsError as error:
        return [refused("database", text) for text in error.problems]
    try:
        name = _name(target, engines)
        found = _looked_at(engines, target, name)
        return [found, *_keys(settings, target)] if revision(engines) == REVISION else [found]
    except StoreUnavailable as error:
        return [problem("database", f"{_short(target, engines)}: {error}", _advice(target))]
    except StoreError as error:
        advice = "restore a backup, or see its own log"
        return [problem("database", f"{_short(target, engines)}: {error}", advice)]
    finally:
        engines.read.dispose()
        engines.write.dispose()


def _looked_at(engines: Engines, target: SqliteFile | Postgres, name: str) -> Finding:
    found = revision(engines)
    if found is not None and found not in {script.revision for script in scripts().walk_revisions()}:
        detail = f"{name} was made by a newer Ferryman (revision `{found}`; this version knows `{REVISION}`)"
        return problem("database", detail, "start that version, or restore a backup from before it")
    with translated(), engines.write.connect() as connection:
        transaction = connection.begin()  # with SQLite it takes the write lock
        fault = _fault(connection, target)
        transaction.rollback()
    if fault is not None:
        return problem("database", f"{name}: {fault}", _advice(target))
    if found is None:
        return ok("database", f"{name}, has no tables yet; the first start makes them")
    if found != REVISION:
        advice = "back it up before, if you may want to go back"
        detail = f"{name} is at revision `{found}`; the next start brings it to `{REVISION}`"
        return warning("database", detail, advice)
    return ok("database", f"{name}, of this version")


def _fault(connection: Connection, target: SqliteFile | Postgres) -> str | None:
    """Why it cannot be worked with, `None` if it can."""
    if isinstance(target, Postgres):
        only_reads = connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
        return "it can only be read: it is a replica, or set so" if only_reads else None
    if target.path.stat().st_size > MAX_CHECKED_BYTES:
        return None
    told = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    return None if told == "ok" else f"the file is damaged ({str(told).splitlines()[0]})"


def _keys(settings: Settings, target: SqliteFile | Postgres) -> list[Finding]:
    """Whether there are virtual keys where they are asked for."""
    with closing(Store(target)) as store, store.access.look() as look:
        number = look.count(KEYS)
    asked_for = settings.effective_auth == "keys"
    if number and settings.master_key is None:
        detail = f"there is no master key, and there are virtual keys: {number}"
        advice = "set `master_key` (FERRYMAN_MASTER_KEY) again, or use another database"
        return [problem("keys", detail, advice)]
    if asked_for and not number:
        return [
            warning(
                "keys",
                "callers need a virtual key, and there is none yet",
                "make one with `ferryman keys create`",
            )
        ]
    return [ok("keys", f"virtual keys: {number}")] if asked_for else []


def _name(target: SqliteFile | Postgres, engines: Engines) -> str:
    """What the database is, as it says itself.

    Raises:
        StoreUnavailable: it is away.
    """
    if isinstance(target, SqliteFile):
        return _short(target, engines)
    with translated(), engines.read.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar()
    return f"{_short(target, engines)} (version {str(version).split()[0]})"


def _short(target: SqliteFile | Postgres, engines: Engines) -> str:
    """What the settings call it, without credentials."""
    if isinstance(target, SqliteFile):
        return f"SQLite in `{Path(target.path)}`"
    url = engines.write.url
    return f"PostgreSQL `{url.database or ''}` at `{url.host or url.query.get('host') or 'its service'}`"


def _advice(target: SqliteFile | Postgres) -> str:
    if isinstance(target, SqliteFile):
        return "see who may read and write it and its directory, and what else has it open"
    return "check `database_url`, and that the server runs and lets this machine and user in"
