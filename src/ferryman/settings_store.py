"""What the settings say about the database: where it is, and whether its URL can be used.

`ferryman.settings_load` checks them with what is here; the store opens what `database` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ferryman.errors import SettingsError
from ferryman.hosts import is_name
from ferryman.settings import Settings

SUPPORTED = "wanted a URL such as `postgresql://user:password@host/name` or `sqlite:///ferryman.db`"


class SqliteFile(NamedTuple):
    """A database of SQLite.

    Attributes:
        path: of its file, perhaps relative to the working directory.
        directory: to be made when it is missing, `None` if that is not ours to do.
    """

    path: Path
    directory: Path | None


class Postgres(NamedTuple):
    """A database of PostgreSQL.

    Attributes:
        url: as libpq takes it, with the password; never to be shown.
    """

    url: str

    def __repr__(self) -> str:
        return "Postgres(url=...)"


def default_data_dir(environ: Mapping[str, str]) -> str | None:
    """The user's own directory for Ferryman's data, `None` where there is no home directory.

    Source: https://specifications.freedesktop.org/basedir-spec/, by which a relative path is ignored.
    """
    data_home, home = environ.get("XDG_DATA_HOME", ""), environ.get("HOME", "")
    if data_home.startswith("/"):
        return f"{data_home}/ferryman"
    return f"{home}/.local/share/ferryman" if home.startswith("/") else None


def database(settings: Settings) -> SqliteFile | Postgres:
    """The database that `settings` name.

    Raises:
        SettingsError: `database_url` cannot be used, or there is nowhere to put a database.
    """
    if (problem := database_problem(settings)) is not None:
        raise SettingsError([f"database_url: {problem}"])
    url = settings.database_url
    if url is None:
        if settings.data_dir is None:
            hint = "there is no home directory to put the database into; set `data_dir` or `database_url`."
            raise SettingsError([f"data_dir: {hint}"])
        directory = Path(settings.data_dir)
        return SqliteFile(directory / "ferryman.db", directory)
    if url.startswith("sqlite:///"):
        return SqliteFile(Path(unquote(url.removeprefix("sqlite:///"))), None)
    return Postgres("postgresql://" + url.partition("://")[2])


def journal_directory(settings: Settings) -> Path:
    """The directory of the workers' journals.

    Raises:
        SettingsError: there is nowhere to put it.
    """
    if settings.data_dir is None:
        raise SettingsError(["data_dir: there is no home directory to put the journal into; set `data_dir`."])
    return Path(settings.data_dir) / "journal"


def database_problem(settings: Settings) -> str | None:
    """Why `database_url` cannot be used, `None` if it can. Never shows the URL, which may hold a password."""
    url = settings.database_url
    if url is None:
        return None
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        is_file = path not in {url, "", ":memory:"} and "?" not in path and not path.endswith("/")
        return None if is_file else f"that is not the path of a file; {SUPPORTED}."
    if scheme in {"postgres", "postgresql"}:
        return _postgres_problem(url)
    return f"only SQLite and PostgreSQL are supported; {SUPPORTED}."


def _postgres_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        return f"that is not a URL; {SUPPORTED}."
    if {"password", "sslpassword"} & options.keys():
        return "a password stands behind the `?`, where it would be shown; put it before the `@`."
    named = host is not None or "host" in options or "service" in options
    if not named or port == 0 or (host is not None and not is_name(host)) or parts.fragment:
        return f"that is not a URL of a database; {SUPPORTED}."
    return None
