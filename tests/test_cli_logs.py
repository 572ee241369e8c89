"""`ferryman logs`, each time as a process of its own unless it only complains."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from ferryman.cli.logs import WHERE
from ferryman.cli.main import main
from ferryman.clock import SystemClock
from ferryman.ledger.records import encode
from ferryman.model import Ended, Entry
from ferryman.store.store import Store
from ferryman.telemetry.lines import json_line
from ferryman.telemetry.log import text_line
from tests.support.postgres import Server
from tests.support.stores import entry, opened, sqlite_url
from tests.test_cli import Process

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words: stack.enter_context(Process(tmp_path, "logs", *words, env={"DATABASE_URL": url}))


def output(entries: list[Entry], render: Callable[[bytes], bytes] = text_line) -> str:
    return b"".join(map(render, map(encode, entries))).decode()


def test_newest_entries_are_printed_as_log_lines_newest_last(store: Store, start: Start) -> None:
    batch = [entry(number, model="größe" if number % 2 else None) for number in range(60)]
    store.write.insert_entries(batch)
    assert start().end() == (0, output(batch[10:]), "")
    assert start("-n", "2", "--format", "json").end() == (0, output(batch[58:], json_line), "")
    assert start("--limit", "0").end() == (0, "", "")


def test_follow_goes_on_with_what_comes(store: Store, start: Start) -> None:
    store.write.insert_entries([entry(number) for number in range(5)])
    process = start("-f", "-n", "1", "--format", "json")
    assert msgspec.json.decode(process.line(1), type=Entry) == entry(4)
    for number in (5, 2_000, 3):  # the last is there already
        store.write.insert_entries([entry(number)])
    told = {json.loads(process.line(1))["id"] for _ in range(2)}
    assert told == {entry(5).id, entry(2_000).id}
    assert process.end(signal.SIGINT) == (130, "", "")


def run(url: str, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["logs", *words], env={"DATABASE_URL": url})
    return done.exit_code, done.stdout, done.stderr


CASES: list[tuple[str, dict[str, Any]]] = [
    (f"id={entry(1).id}", {}),
    ("model=m", {"model": "m"}),
    ("end_user=a=b", {"end_user": "a=b"}),
    ("session_id=s", {"session_id": "s"}),
    ("principal=open", {"principal": "open"}),
    ("tag=t", {"tags": ["t"]}),
    ("status=529", {"status": 529}),
    ("status_class=5xx", {"status": 500}),
    ("outcome=failure", {"status": 404}),
    ("ended=client_gone", {"ended": Ended.CLIENT_GONE}),
]


@pytest.mark.parametrize(("condition", "changes"), CASES, ids=[case[0].split("=")[0] for case in CASES])
def test_where_selects(tmp_path: Path, condition: str, changes: dict[str, Any]) -> None:
    url = sqlite_url(tmp_path)
    with closing(opened(url)) as store:
        store.migrate()
        store.write.insert_entries([entry(1, **changes), entry(2)])
    assert {case[0].partition("=")[0] for case in CASES} == set(WHERE)
    assert run(url, "--where", condition) == (0, output([entry(1, **changes)]), "")
    if not condition.startswith("id="):
        none = run(url, "--where", condition, "--where", "id=another")
        assert none == (0, "", "ferryman: no entry matches.\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--where", "nmae=x"], "`nmae=x` is no condition; wanted KEY=VALUE with one of id, model,"),
        (["--where", "model"], "`model` is no condition"),
        (["--where", "model=a", "--where", "model=b"], "`model` is there twice"),
        (["--where", "status=many"], "wanted a status such as `529`"),
        (["--where", "status_class=9"], "wanted `2xx`"),
        (["--where", "outcome=bad"], "wanted `success` or `failure`"),
        (["--where", "ended=so"], "wanted `done`, `refused`"),
        (["--since", "now"], "wanted `90s`, `10m`, `2h` or `7d`, or: wanted a day"),
        (["--since", "999999d"], "cannot be used"),
        (["--limit", "10001"], "10000"),
    ],
)
def test_option_that_cannot_be_used_says_what_can(tmp_path: Path, words: list[str], told: str) -> None:
    code, out, err = run(sqlite_url(tmp_path), *words)
    assert (code, out) == (2, "")
    assert told in err


def test_since_is_an_age_or_a_time(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    now = datetime.fromtimestamp(SystemClock.now(), UTC)
    old, new = (entry(number, started_at=now - timedelta(hours=3 - number)) for number in (0, 1))
    with closing(opened(url)) as store:
        store.migrate()
        store.write.insert_entries([old, new])
    assert run(url, "--since", "150m")[1] == output([new])
    assert run(url, "--since", "1d")[1] == output([old, new])
    assert run(url, "--since", f"{now - timedelta(hours=2.5):%Y-%m-%dT%H:%M:%S}")[1] == output([new])
    assert run(url, "--since", "1h") == (0, "", "ferryman: no entry matches.\n")


def test_database_that_is_missing_or_empty_is_told(tmp_path: Path) -> None:
    url, path = sqlite_url(tmp_path), tmp_path / "test.db"
    code, out, err = run(url)
    assert (code, out) == (2, "")
    assert f"there is no database `{path}` yet" in err
    assert not path.exists()
    sqlite3.connect(path).close()
    path.touch()
    code, out, err = run(url)
    assert (code, out) == (2, "")
    assert "has no tables yet" in err
    with closing(opened(url)) as store:
        store.migrate()
        assert run(url) == (0, "", "ferryman: no entries yet.\n")
        with store._engines.write.begin() as connection:
            connection.exec_driver_sql("UPDATE ferryman_version SET version_num = '9999'")
    assert "is at revision `9999`" in run(url)[2]


def test_database_that_cannot_be_reached_is_told(server: Server, tmp_path: Path) -> None:
    code, out, err = run(server.url("nowhere"))
    assert (code, out) == (1, "")
    assert "the database cannot be used for now" in err
    code, _, err = run(f"sqlite:///{tmp_path}/no/where.db")
    assert code == 2


def test_follow_waits_for_a_database_that_is_away(tmp_path: Path, server: Server) -> None:
    url = server.database()
    with closing(opened(url)) as store:
        store.migrate()
        process = Process(tmp_path, "logs", "-f", env={"DATABASE_URL": url})
        with process:
            store.write.insert_entries([entry(0)])
            assert process.line(1) == output([entry(0)]).rstrip("\n")
            server.stop()
            try:
                assert process.line(2).endswith("trying again.")
            finally:
                server.start()
            store.write.insert_entries([entry(1)])
            assert process.line(1) == output([entry(1)]).rstrip("\n")
            assert process.end(signal.SIGINT)[0] == 130
