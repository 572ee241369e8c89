"""What is kept: the database's file, its copy, and what `database_url` may say."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from ferryman.cli.main import main
from ferryman.errors import SettingsError, StoreError
from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.store.read import Filter
from ferryman.store.store import Store
from tests.support.postgres import Server
from tests.support.stores import entry, opened, sqlite_url


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a?mode=ro",
        "postgres://h:0/d",
        "postgres://h:x/d",
        "postgres://h/d?password=do-not-tell",
        "postgresql:///d",
    ],
)
def test_url_of_no_database_is_refused_without_its_content(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        database(Settings(database_url=url))
    assert "do-not-tell" not in str(caught.value)


def test_password_is_masked_in_the_settings() -> None:
    shown = repr(Settings(database_url="postgresql://me:do-not-tell@host/name"))
    assert "postgresql://********@host/name" in shown


def test_file_and_directory_are_nobody_elses(tmp_path: Path) -> None:
    with closing(Store(database(Settings(data_dir=str(tmp_path / "a" / "b"))))) as store:
        store.migrate()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "ferryman.db").stat().st_mode & 0o777 == 0o600


def test_backup_is_whole_while_writing_goes_on(tmp_path: Path) -> None:
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        store.write.insert_entries([entry(number) for number in range(2_000)])
        ended = threading.Event()

        def write() -> None:
            number = 2_000
            while not ended.is_set() and number < 50_000:
                store.write.insert_entries([entry(number)])
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        store.backup(tmp_path / "copy.db")
        ended.set()
        writer.join()
    assert not list(tmp_path.glob(".copy.db*"))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(opened(sqlite_url(tmp_path, "copy.db"))) as restored:
        restored.migrate()
        assert restored.read.count(Filter(), at_most=100_000).number >= 2_000


def test_backup_command_copies_and_never_overwrites(tmp_path: Path) -> None:
    url, copy = sqlite_url(tmp_path), tmp_path / "copy.db"
    arguments = ["backup", str(copy), "--database-url", url]
    missing = CliRunner().invoke(main, arguments)
    assert missing.exit_code == 2
    assert "there is no database" in missing.output
    with closing(opened(url)) as store:
        store.migrate()
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.output.startswith("ok: ")) == (0, True)
    kept = copy.read_bytes()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.output
    assert copy.read_bytes() == kept
    nowhere = CliRunner().invoke(main, ["backup", str(tmp_path / "a" / "b"), "--database-url", url])
    assert nowhere.exit_code == 1


def test_backup_of_postgresql_is_left_to_its_own_tool(server: Server, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["backup", str(tmp_path / "x")], env={"DATABASE_URL": server.url("postgres")}
    )
    assert done.exit_code == 2
    assert "pg_dump" in done.output
    with closing(opened(server.url("postgres"))) as store, pytest.raises(StoreError, match="pg_dump"):
        store.backup(tmp_path / "x")
