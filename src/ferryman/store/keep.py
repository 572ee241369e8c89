"""What is kept and for how long: deleting old entries, and a copy of the whole database."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select, tuple_

from ferryman.errors import StoreError, StoreUnavailable
from ferryman.store.batches import OPEN, batches
from ferryman.store.engine import Engines, translated
from ferryman.store.place import MILLISECOND, first_place
from ferryman.store.rows import microseconds
from ferryman.store.schema import entries
from ferryman.store.schema_sessions import session_sums

MAX_STEP = 1_000
"""Entries deleted in one transaction: some tens of milliseconds of the write lock."""


def delete_before(engines: Engines, moment: datetime, *, at_most: int = MAX_STEP) -> int:
    """Delete the oldest entries that started before `moment`, with their tags; their sums by day stay.

    Batches of that time that are not open go too, and the sums of sessions without a later request.

    Returns:
        How many were deleted; less than `at_most` when none are left.

    Raises:
        StoreUnavailable: the database is away; nothing was deleted.
    """
    # By the place, and by the time itself: an id that Ferryman has not made has a place of 1970.
    old = (
        select(entries.c.place)
        .where(
            entries.c.place < first_place(moment) + MILLISECOND,
            entries.c.started_at_microseconds < microseconds(moment),
        )
        .order_by(entries.c.place)
        .limit(min(at_most, MAX_STEP))
    )
    made, status = batches.c.created_at_microseconds, batches.c.status
    over = (
        select(batches.c.id).where(made < microseconds(moment), status != OPEN).limit(min(at_most, MAX_STEP))
    )
    sums = session_sums.c
    sessions = (
        select(*session_sums.primary_key)
        .where(
            sums.last_place < first_place(moment) + MILLISECOND,
            sums.ended_at_microseconds < microseconds(moment),
        )
        .limit(min(at_most, MAX_STEP))
        .with_for_update(skip_locked=True)  # a writer may have some of them, and wait for others of them
    )
    with translated(), engines.write.begin() as connection:
        connection.execute(delete(session_sums).where(tuple_(*session_sums.primary_key).in_(sessions)))
        connection.execute(delete(batches).where(batches.c.id.in_(over)))
        return connection.execute(delete(entries).where(entries.c.place.in_(old))).rowcount


def sync(engines: Engines) -> None:
    """Let what is committed survive a power cut: before its source is deleted.

    SQLite syncs its write-ahead log only where it carries it over (`synchronous = NORMAL`); PostgreSQL does
    so with each commit.

    Source: https://www.sqlite.org/pragma.html#pragma_synchronous

    Raises:
        StoreUnavailable: the disk does not take it.
    """
    path = engines.write.url.database
    if not engines.is_sqlite or path is None:
        return
    try:
        _sync(Path(f"{path}-wal"))  # on which there are no locks that closing it could release
    except FileNotFoundError:
        return  # all of it is carried over
    except OSError as error:
        raise StoreUnavailable(f"the database cannot be synced: {error.strerror}") from error


def backup(engines: Engines, target: Path) -> None:
    """Copy a database of SQLite to the new file `target`, as it is at one moment; writing goes on meanwhile.

    The copy is checked before it gets its name, and stands alone: it has no write-ahead log.

    Raises:
        FileExistsError: there is such a file already; it stays as it is.
        OSError: the copy cannot be written.
        StoreUnavailable: the database cannot be read for now.
        StoreError: the database is damaged, or not SQLite.
    """
    if not engines.is_sqlite:
        raise StoreError("PostgreSQL has its own tool for this: pg_dump")
    if os.path.lexists(target):
        raise FileExistsError(f"`{target}` exists already")
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with translated():
            _copy(engines, part)
        _sync(part)
        os.link(part, target)  # as a rename, but never over another file
    finally:
        for name in (part, Path(f"{part}-journal"), Path(f"{part}-wal"), Path(f"{part}-shm")):
            name.unlink(missing_ok=True)
    _sync(target.parent)


def _copy(engines: Engines, part: Path) -> None:
    with closing(sqlite3.connect(part)) as copy:
        with engines.read.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)  # noqa: S101  # for the checker
            source.backup(copy)  # all pages in one step: a reader's view, which a writer cannot change
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the copy is damaged, and so may be the database: {found}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
