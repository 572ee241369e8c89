"""`ferryman backup`: a copy of the database, while Ferryman runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ferryman.cli.options import SECRETS_HELP, complain, load_or_exit, with_settings
from ferryman.errors import SettingsError, StoreError
from ferryman.settings_store import SqliteFile, database


@click.command(epilog=SECRETS_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@with_settings
def backup(path: Path, **values: Any) -> None:  # noqa: ANN401  # one per setting
    """Copy the SQLite database to the new file PATH, while Ferryman runs.

    The copy is checked before it gets its name, and a file that exists is never overwritten. Exit code 1
    if it fails, 2 for a database of PostgreSQL, which has pg_dump.
    """
    settings = load_or_exit(values).settings
    try:
        target = database(settings)
    except SettingsError as error:
        complain(error)
    if not isinstance(target, SqliteFile):
        hint = "`ferryman backup` copies SQLite; for PostgreSQL use pg_dump, which needs no pause either."
        complain(SettingsError([f"database_url: {hint}"]))
    if not target.path.is_file():
        complain(SettingsError([f"database_url: there is no database `{target.path}` yet."]))
    from ferryman.store.store import Store  # noqa: PLC0415  # 30 MB that no other command needs

    store = Store(target)
    try:
        store.backup(path)
    except FileExistsError:
        raise click.ClickException(f"`{path}` exists already; name a new file.") from None
    except OSError as error:
        raise click.ClickException(f"`{path}` cannot be written: {error.strerror}.") from error
    except StoreError as error:
        raise click.ClickException(f"`{target.path}`: {error}.") from error
    finally:
        store.close()
    click.echo(f"ok: {path}, {path.stat().st_size:,} bytes")
