"""The ledger for commands that read it directly, whether Ferryman runs or not, and their options."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ferryman.cli.options import complain
from ferryman.clock import SystemClock
from ferryman.dates import FORMS, first_moment, moment_after
from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.settings_store import Postgres, SqliteFile, database

if TYPE_CHECKING:
    from ferryman.store.store import Store

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def now() -> datetime:
    """The time (UTC)."""
    return datetime.fromtimestamp(SystemClock.now(), UTC)


def since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """The callback of `--since`: an age, a day or a time."""
    return None if text is None else _moment(text, after=False)


def until(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """The callback of `--until`: the first time that is too late."""
    return None if text is None else _moment(text, after=True)


def _moment(text: str, *, after: bool) -> datetime:
    try:
        if (ago := re.fullmatch(r"([0-9]{1,6})([smhd])", text)) is not None:
            return now() - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return moment_after(text) if after else first_moment(text)
    except (ValueError, OverflowError) as error:
        problem = f"`{text}` cannot be used; wanted `90s`, `10m`, `2h` or `7d`, or: {FORMS}."
        raise click.BadParameter(problem) from error


def open_ledger(settings: Settings) -> Store:
    """The store of `settings`, whose tables are of this version; else exit code 2.

    Raises:
        StoreError: it cannot be read.
    """
    from ferryman.store.store import Store  # noqa: PLC0415  # 30 MB that few commands need

    try:
        target = database(settings)
        _require_file(target)
        store = Store(target)
    except SettingsError as error:
        complain(error)
    try:
        _require_tables(store)
    except BaseException:
        store.close()
        raise
    return store


def _require_file(target: SqliteFile | Postgres) -> None:
    if isinstance(target, SqliteFile) and not target.path.is_file():
        problem = f"there is no database `{target.path}` yet; `ferryman serve` makes it."
        raise SettingsError([f"database_url: {problem}"])


def _require_tables(store: Store) -> None:
    from ferryman.store.schema import REVISION  # noqa: PLC0415  # see above

    found = store.revision()
    if found == REVISION:
        return
    state = (
        "has no tables yet" if found is None else f"is at revision `{found}`, this version at `{REVISION}`"
    )
    complain(SettingsError([f"database_url: the database {state}; `ferryman serve` makes or updates them."]))
