"""`ferryman doctor` against set-ups that are well and set-ups that are not, each time as a process."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from ferryman.clock import SystemClock
from ferryman.doctor.disk import WANTED_BYTES, size
from ferryman.doctor.entrance import RENEWAL_DAYS, certificate_check
from ferryman.ledger.files import SUFFIX
from ferryman.settings import Settings
from ferryman.store.schema import REVISION
from tests.conftest import Bench
from tests.support.collector import Collector
from tests.support.doctor import KEY, Doctor, doctor_in, saying, told
from tests.support.postgres import Server
from tests.support.processes import Family
from tests.support.stores import opened
from tests.test_cli import Process


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return doctor_in(tmp_path)


def test_all_is_well(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    upstream = line.upstream(saying())
    found = doctor("--upstream-url", upstream.url)
    assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(
        ("settings", "listen", "open files", "data", "database", "upstream", "credential", "clock"), "ok"
    )
    (asked,) = upstream.requests
    assert asked.line == b"GET /v1/models?limit=1 HTTP/1.1"
    assert asked.values(b"x-api-key") == [KEY.encode()]
    assert not (tmp_path / ".local").exists(), "it has made something"


def test_people_get_a_line_for_each_check_and_a_sum(line: Bench, tmp_path: Path) -> None:
    words = ("doctor", "--port", "0", "--upstream-url", line.upstream(saying(status=401)).url)
    with Process(tmp_path, *words, env={"ANTHROPIC_API_KEY": KEY}) as process:
        code, out, _ = process.end()
    *lines, total = out.splitlines()
    assert code == 1
    assert total == "1 problem."
    assert [one.split()[0] for one in lines] == ["ok"] * 6 + ["problem", "ok"]
    assert lines[6].startswith(
        "problem  credential      the upstream refuses the server's key (status 401); see"
    )


def test_wrong_settings_are_told_one_by_one(doctor: Doctor, tmp_path: Path) -> None:
    with Process(tmp_path, "doctor", "--port", "x", "--upstream-url", "foo") as process:
        code, out, _ = process.end()
    assert code == 1
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [["problem", "settings"]] * 2
    assert out.splitlines()[-1] == "2 problems."
    assert doctor("-c", "no.yaml")["settings"]["state"] == "problem"


def test_ports_in_use_are_problems(doctor: Doctor, line: Bench) -> None:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [str(sock.getsockname()[1]) for sock in taken]
        words = ("-p", ports[0], "--admin-port", ports[1], "--metrics-port", ports[2])
        found = doctor(*words, "--upstream-url", line.upstream(saying()).url)
    for check, port in zip(("listen", "admin port", "metrics port"), ports, strict=True):
        assert found[check]["state"] == "problem"
        assert f"`127.0.0.1:{port}`" in found[check]["detail"]
        assert f"sport = :{port}" in found[check]["advice"]


def test_socket_in_use_is_a_problem(doctor: Doctor, line: Bench, short: Path) -> None:
    path = str(short / "ferryman.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        found = doctor("--unix-socket", path, "--upstream-url", line.upstream(saying()).url)
    assert "another process listens on it" in found["listen"]["detail"]


def test_ferryman_that_runs_is_recognised(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    url = line.upstream(saying()).url
    family = line.enter(Family(tmp_path, "--upstream-url", url, env={"ANTHROPIC_API_KEY": KEY}))
    words = ("-p", str(family.port), "--runtime-directory", str(tmp_path / "run"), "--upstream-url", url)
    found = doctor(*words)
    assert found["running"]["state"] == "ok"
    assert f"port {family.port} (supervisor {family.popen.pid}), 3 processes" in found["running"]["detail"]
    assert "listen" not in found
    assert found["database"]["detail"].endswith("of this version")


def test_control_plane_that_does_not_answer_is_a_problem(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    url = line.upstream(saying()).url
    family = line.enter(Family(tmp_path, "--upstream-url", url, env={"ANTHROPIC_API_KEY": KEY}))
    (family.runtime / "control.sock").unlink()
    found = doctor(
        "-p", str(family.port), "--runtime-directory", str(tmp_path / "run"), "--upstream-url", url
    )
    assert "its control plane does not answer" in found["running"]["detail"]


def test_disk_that_takes_nothing_is_a_problem(
    doctor: Doctor, line: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # its file would be too large, too

    def allow_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))

    found = doctor("--upstream-url", line.upstream(saying()).url, preexec_fn=allow_small_files)
    assert found["data"]["state"] == "problem"
    assert "cannot be written to (File too large)" in found["data"]["detail"]


def test_file_in_the_place_of_the_data_directory_is_a_problem(
    doctor: Doctor, line: Bench, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("", "utf-8")
    found = doctor("--data-dir", "data", "--upstream-url", line.upstream(saying()).url)
    assert told(found["data"]).startswith("problem: `data` is no directory; remove it")


def test_journal_that_nobody_writes_is_a_warning(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    left = tmp_path / "data" / "journal" / "worker-1"
    left.mkdir(parents=True)
    (left / f"1{SUFFIX}").write_bytes(b"")
    (tmp_path / "data" / "journal" / "worker-2").mkdir()
    found = doctor("--data-dir", "data", "--upstream-url", line.upstream(saying()).url)
    assert told(found["journals"]).startswith("warning: journals of killed workers")


def test_few_open_files_are_a_warning(doctor: Doctor, line: Bench) -> None:
    def allow_few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    found = doctor("--upstream-url", line.upstream(saying()).url, preexec_fn=allow_few_files)
    assert found["open files"]["state"] == "warning"


def test_sizes_are_told_with_three_digits() -> None:
    assert size(WANTED_BYTES) == "1 GB"
    assert size(63_812_345_678) == "63.8 GB"
    assert size(2_500_000_000_000) == "2.5 TB"
    assert size(66_000) == "66 KB"


def test_database_of_a_newer_version_is_a_problem(
    doctor: Doctor, line: Bench, tmp_path: Path, url: str
) -> None:
    with closing(opened(url)) as store:
        store.migrate()
        with store.write._engines.write.begin() as connection:
            connection.exec_driver_sql("UPDATE ferryman_version SET version_num = '9999'")
    found = doctor("--upstream-url", line.upstream(saying()).url, env={"DATABASE_URL": url})
    assert found["database"]["state"] == "problem"
    assert f"(revision `9999`; this version knows `{REVISION}`)" in found["database"]["detail"]


def test_database_without_tables_is_well(doctor: Doctor, line: Bench, server: Server) -> None:
    url = server.database()
    found = doctor("--upstream-url", line.upstream(saying()).url, env={"DATABASE_URL": url})
    assert told(found["database"]).startswith("ok: PostgreSQL ")
    assert "has no tables yet" in found["database"]["detail"]


@pytest.mark.parametrize(
    ("database_url", "reason"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "PostgreSQL `x` at `127.0.0.1`: the database cannot be used"),
        ("sqlite:///not.db", "file is not a database"),
        ("sqlite:///no/such.db", "its directory is missing"),
    ],
)
def test_database_that_cannot_be_used_is_a_problem(
    doctor: Doctor, line: Bench, tmp_path: Path, database_url: str, reason: str
) -> None:
    (tmp_path / "not.db").write_text("No database. " * 1_000, "utf-8")
    found = doctor("--upstream-url", line.upstream(saying()).url, env={"DATABASE_URL": database_url})
    assert reason in found["database"]["detail"]
    assert "secret" not in str(found)
    assert any(one["state"] == "problem" for one in found.values())


def test_database_that_is_damaged_is_a_problem(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(opened(f"sqlite:///{path}")) as store:
        store.migrate()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + os.urandom(len(whole) // 2))
    found = doctor("--upstream-url", line.upstream(saying()).url, env={"DATABASE_URL": f"sqlite:///{path}"})
    assert found["database"]["state"] == "problem"


def test_locked_database_is_a_problem(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(opened(f"sqlite:///{path}")) as store:
        store.migrate()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = doctor(
            "--upstream-url", line.upstream(saying()).url, env={"DATABASE_URL": f"sqlite:///{path}"}
        )
    assert "database is locked" in found["database"]["detail"]


def test_missing_keys_are_a_warning_and_a_missing_master_key_a_problem(
    doctor: Doctor, line: Bench, tmp_path: Path
) -> None:
    url, master = line.upstream(saying()).url, {"FERRYMAN_MASTER_KEY": "sk-master"}
    with closing(opened(f"sqlite:///{tmp_path / 'some.db'}")) as store:
        store.migrate()
    words = ("--upstream-url", url, "--database-url", "sqlite:///some.db")
    assert told(doctor(*words, env=master)["keys"]).startswith("warning: callers need a virtual key")
    make = ("keys", "create", "--runtime-directory", "run", "--database-url", "sqlite:///some.db")
    with Process(tmp_path, *make, env=master) as process:
        assert process.end()[0] == 0
    assert told(doctor(*words, env=master)["keys"]).startswith("ok: virtual keys: 1")
    assert told(doctor(*words)["keys"]).startswith("problem: there is no master key")


def test_master_key_that_can_be_guessed_is_a_warning(doctor: Doctor, line: Bench) -> None:
    words = ("--host", "0.0.0.0", "--upstream-url", line.upstream(saying()).url)
    found = doctor(*words, env={"FERRYMAN_MASTER_KEY": "sk-1234"})
    assert found["master key"]["state"] == "warning"
    assert "sk-1234" not in str(found)


def test_collector_is_asked_where_traces_are_on(doctor: Doctor, line: Bench) -> None:
    url, traces = line.upstream(saying()).url, {"OTEL_TRACES_EXPORTER": "otlp"}
    with Collector() as collector:
        env = traces | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        assert doctor("--upstream-url", url, env=env)["traces"]["state"] == "ok"
        collector.status = 404
        refused = doctor("--upstream-url", url, env=env)["traces"]
    assert refused["state"] == "warning"
    assert "404" in refused["detail"]
    away = doctor("--upstream-url", url, env=env)["traces"]
    assert away["detail"] == "the collector does not take spans (connection refused)"


def test_traces_without_their_libraries_are_a_problem(doctor: Doctor, line: Bench) -> None:
    words = ("--upstream-url", line.upstream(saying()).url)
    found = doctor(*words, env={"OTEL_TRACES_EXPORTER": "otlp"}, without=("opentelemetry",))
    assert found["traces"]["state"] == "problem"
    assert "ferryman[otel]" in found["traces"]["advice"]


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (RENEWAL_DAYS - 1, "warning"), (-1, "problem")])
def test_own_certificate_is_judged_by_its_end(tmp_path: Path, days: int, state: str) -> None:
    now = datetime.fromtimestamp(SystemClock.now(), UTC)
    made = trustme.CA().issue_cert("claude.example.org", not_after=now + timedelta(days=days))
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    found = certificate_check(Settings(tls_cert_file=str(tmp_path / "own.pem")), SystemClock())
    assert found is not None
    assert found.state == state
    assert f"{now + timedelta(days=days):%Y-%m-%d}" in found.detail


def test_certificate_that_cannot_be_used_is_a_problem(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("nothing", "utf-8")
    found = doctor("--tls-cert-file", "own.pem", "--upstream-url", line.upstream(saying()).url)
    assert "holds no certificate in PEM form" in found["certificate"]["detail"]
