"""The processes of `ferryman serve`, with real signals: what dies is replaced, and what runs goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Bench
from tests.support.processes import Family, alive, until
from tests.support.raw import RawClient
from tests.support.tls import Authority, serial_of, tls_client
from tests.test_cli import DEADLINE_SECONDS, Process
from tests.test_exchange_line import START, STOP
from tests.test_shutdown import ASK, Held

MASTER = "sk-master-do-not-tell"
Start = Callable[..., Family]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Family(tmp_path, *words, **more))


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert body["type"] == "error"
    error: dict[str, Any] = body["error"]
    return error


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_two_workers_share_one_port(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream().url)
    first, second = family.pid("worker 1"), family.pid("worker 2")
    with ExitStack() as stack:

        def both_hold_connections() -> bool:
            client = stack.enter_context(RawClient(family.port))
            client.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response().status == 200
            return all(open_files(pid) > 2 + before[pid] for pid in before)

        before = {pid: open_files(pid) for pid in (first, second)}
        until(both_hold_connections)
    family.popen.send_signal(signal.SIGTERM)
    code, out, _ = family.end()
    assert code == 0
    assert all(json.loads(text)["status"] == 200 for text in out.splitlines())


def test_killed_worker_is_replaced_while_the_other_goes_on(start: Start, line: Bench) -> None:
    held = Held()
    family = start("--workers", "2", "--upstream-url", line.upstream(held.script).url)
    with RawClient(family.port) as client:
        client.send(ASK)
        client.read_until(START)
        until(lambda: [row for row in family.rows() if row.get("live")], "counted")
        busy = next(row for row in family.rows() if row.get("live"))
        other = next(row for row in family.rows() if row["role"] == "worker" and row != busy)
        os.kill(other["pid"], signal.SIGKILL)
        name = f"worker {other['number']}"
        told = family.message("process ended")
        assert (told["name"], told["cause"], told["again_in_seconds"]) == (name, "SIGKILL", 0.1)
        held.go.set()
        client.read_until(STOP + b"\r\n0\r\n\r\n")
    family.message("process runs again", name=name)
    row = family.row(name)
    assert (row["restarts"], row["state"]) == (1, "running")
    assert row["pid"] != other["pid"]
    assert httpx.get(f"{family.url}/health").status_code == 200


def test_killed_control_plane_disturbs_no_relaying_and_comes_back(start: Start, line: Bench) -> None:
    env = {"FERRYMAN_MASTER_KEY": MASTER, "FERRYMAN_AUTH": "passthrough"}
    family = start("--upstream-url", line.upstream().url, env=env)
    headers = {"authorization": f"Bearer {MASTER}"}
    with httpx.Client(base_url=family.url, headers=headers) as client:
        assert client.get("/control/processes").status_code == 200
        os.kill(family.pid("control"), signal.SIGKILL)
        away = client.get("/control/processes")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        assert error_of(away)["type"] == "api_error"
        assert "control plane" in error_of(away)["message"]
        assert client.get("/v1/models").status_code == 200
        assert family.message("process ended")["name"] == "control"
        family.message("process runs again", name="control")
        assert client.get("/control/processes").status_code == 200
        until(lambda: family.row("worker 1")["snapshot_version"], "connected again")


def test_killed_supervisor_leaves_nothing_running(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream().url)
    pids = [row["pid"] for row in family.rows()]
    assert len(set(pids)) == 4
    family.popen.kill()
    began = time.monotonic()
    until(lambda: not any(map(alive, pids)), "ended")
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", family.port), timeout=5)


def test_stream_outlives_a_killed_supervisor_for_a_moment(start: Start, line: Bench) -> None:
    held = Held()
    family = start("--upstream-url", line.upstream(held.script).url)
    pids = [row["pid"] for row in family.rows()]
    with RawClient(family.port) as client:
        client.send(ASK)
        client.read_until(START)
        family.popen.kill()
        assert family.message("supervisor has gone", process="worker 1")["grace_seconds"] == 5
        held.go.set()
        client.read_until(STOP + b"\r\n0\r\n\r\n")
    until(lambda: not any(map(alive, pids)), "ended")


@pytest.mark.parametrize("words", [[], ["--workers", "2"]], ids=["one", "two"])
def test_sigterm_drains_a_stream_and_ends_everything(words: list[str], start: Start, line: Bench) -> None:
    held = Held()
    family = start("--upstream-url", line.upstream(held.script).url, *words)
    pids = [row["pid"] for row in family.rows()]
    control = family.pid("control")
    with RawClient(family.port) as client:
        client.send(ASK)
        client.read_until(START)
        family.popen.send_signal(signal.SIGTERM)
        family.message("stopping", running=1)
        assert alive(control), "it has to store what workers write at their end"
        until(lambda: family.row("worker 1")["state"] == "stopping")
        held.go.set()
        assert client.read_to_end().endswith(STOP + b"\r\n0\r\n\r\n")
    code, out, err = family.end()
    assert (code, json.loads(out)["ended"]) == (0, "done")
    assert json.loads(err.splitlines()[-1])["event"] == "stopped"
    assert not any(map(alive, pids))
    assert not family.runtime.exists()


def test_signal_to_all_processes_at_once_drains_too(start: Start, line: Bench) -> None:
    """As systemd sends it with `KillMode=control-group`."""
    held = Held()
    family = start("--upstream-url", line.upstream(held.script).url)
    pids = [row["pid"] for row in family.rows()]
    with RawClient(family.port) as client:
        client.send(ASK)
        client.read_until(START)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        family.message("stopping", running=1)
        held.go.set()
        assert client.read_to_end().endswith(STOP + b"\r\n0\r\n\r\n")
    assert family.end()[0] == 0


def test_second_signal_ends_all_at_once(start: Start, line: Bench) -> None:
    held = Held()
    family = start("--upstream-url", line.upstream(held.script).url, "--shutdown-grace-seconds", "600")
    pids = [row["pid"] for row in family.rows()]
    with RawClient(family.port) as client:
        client.send(ASK)
        client.read_until(START)
        family.popen.send_signal(signal.SIGTERM)
        family.message("stopping")
        began = time.monotonic()
        family.popen.send_signal(signal.SIGTERM)
        assert family.popen.wait(DEADLINE_SECONDS) == -signal.SIGTERM
        until(lambda: not any(map(alive, pids)), "ended")
        assert time.monotonic() - began < 5
        held.go.set()


def test_process_that_dies_again_and_again_is_started_ever_more_rarely(start: Start, tmp_path: Path) -> None:
    """Its certificate is not there any more when it starts again."""
    certificate, key = Authority(tmp_path).issue()
    family = start("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    pid = family.pid("worker 1")
    certificate.rename(certificate.with_suffix(".away"))
    os.kill(pid, signal.SIGKILL)
    causes, waits = [], []
    for _ in range(4):
        told = family.message("process ended")
        causes.append(told["cause"])
        waits.append(told["again_in_seconds"])
    assert waits == [0.1, 0.2, 0.4, 0.8]
    assert causes == ["SIGKILL", "exit code 2", "exit code 2", "exit code 2"]
    problems = [
        message["problems"] for message in family.messages if message["event"] == "process cannot start"
    ]
    assert problems[0][0].startswith(f"tls_cert_file: `{certificate}` cannot be read")
    row = family.row("worker 1")
    assert (row["state"], row["pid"], row["restarts"]) == ("waiting", None, 3)
    certificate.with_suffix(".away").rename(certificate)
    family.message("process runs again", name="worker 1")
    assert family.end(signal.SIGTERM)[0] == 0


def test_sighup_reaches_every_worker(start: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (certificate, key), (newer, newer_key) = authority.issue(), authority.issue()
    family = start("--workers", "2", "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with tls_client(family.port, authority.context()) as client:
        before = serial_of(client)
    certificate.write_bytes(newer.read_bytes())
    key.write_bytes(newer_key.read_bytes())
    family.popen.send_signal(signal.SIGHUP)
    assert {family.message("certificate reloaded")["process"] for _ in range(2)} == {"worker 1", "worker 2"}
    with tls_client(family.port, authority.context()) as client:
        assert serial_of(client) != before


def test_workers_share_a_unix_socket(tmp_path: Path, line: Bench) -> None:
    path = tmp_path / "f.sock"
    words = ["--unix-socket", str(path), "--runtime-directory", str(tmp_path / "r")]
    upstream = line.upstream().url
    with Process(tmp_path, *words, "--workers", "2", "--upstream-url", upstream) as process:
        assert process.event("ready")["url"] == f"unix:{path}"
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://a") as client:
            assert client.get("/v1/models").status_code == 200
        told = Process(
            tmp_path, "status", "--unix-socket", str(path), "--runtime-directory", str(tmp_path / "r")
        )
        with told:
            assert told.end()[1].count("worker") == 2
        assert process.end(signal.SIGTERM)[0] == 0
    assert not path.exists()
    assert list((tmp_path / "r").iterdir()) == []


def test_second_gateway_on_the_port_is_refused(start: Start, tmp_path: Path) -> None:
    family = start("--workers", "2")
    with Process(tmp_path, "-p", str(family.port)) as second:
        code, _, err = second.end()
    assert code == 2
    assert (
        err == f"ferryman: host, port: cannot listen on `127.0.0.1:{family.port}`: Address already in use.\n"
    )


def test_admin_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Process(tmp_path, "-p", "0", "--admin-port", str(port)) as process:
            code, _, err = process.end()
    assert code == 2
    told = [line for line in err.splitlines() if not line.startswith("{")]  # a worker may be up already
    assert told == [f"ferryman: admin_port: cannot listen on `127.0.0.1:{port}`: Address already in use."]


# ── own paths ──


@pytest.mark.parametrize("key", [None, "sk-ant-the-server-key"], ids=["passthrough", "open"])
def test_own_paths_open_to_the_master_key_only(key: str | None, start: Start, line: Bench) -> None:
    upstream = line.upstream()
    env = {"FERRYMAN_MASTER_KEY": MASTER, "FERRYMAN_AUTH": "open" if key else "passthrough"}
    env |= {"ANTHROPIC_API_KEY": key} if key is not None else {}
    family = start("--upstream-url", upstream.url, env=env)
    assert family.message("master key set")["guards"] == "Ferryman's own paths"
    headers = [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        *((name, "{}") for name in ("x-api-key", "x-ferryman-key", "x-litellm-api-key")),
    ]
    with httpx.Client(base_url=family.url) as client:
        for path in ("/control/processes", "/key/info?key=x", "/metrics", "/spend/logs"):
            assert client.get(path).status_code == 401
            for name, value in headers:
                refused = client.get(path, headers={name: value.format("sk-another")})
                assert (refused.status_code, error_of(refused)["type"]) == (401, "authentication_error")
                assert refused.headers["x-should-retry"] == "false"
                found = client.get(path, headers={name: value.format(MASTER)})
                served = {"/control/processes", "/spend/logs", "/metrics"}
                assert found.status_code == (200 if path in served else 404)
        assert client.get("/ui").headers["location"].startswith("/ui/sign-in")
        assert client.post("/v1/messages", json={"model": "m"}).status_code == 200
    assert len(upstream.requests) == 1
    code, out, err = family.end(signal.SIGTERM)
    assert code == 0
    assert [json.loads(text)["path"] for text in out.splitlines()] == ["/v1/messages"]
    assert MASTER not in out + err + str(family.messages)


def test_own_paths_without_a_master_key_say_what_to_do(start: Start) -> None:
    family = start()
    refused = httpx.get(f"{family.url}/control/processes")
    assert refused.status_code == 401
    assert "set `master_key`" in error_of(refused)["message"]
    assert "ferryman status" in error_of(refused)["message"]


def test_request_for_an_own_path_is_bounded(start: Start) -> None:
    family = start(env={"FERRYMAN_MASTER_KEY": MASTER})
    with httpx.Client(base_url=family.url, headers={"x-api-key": MASTER}) as client:
        large = client.post("/key/generate", content=b"x" * (1 << 20))
        assert (large.status_code, error_of(large)["message"]) == (400, "the body is no JSON object.")
        larger = client.post("/key/generate", content=b"x" * ((1 << 20) + 1))
        assert (larger.status_code, error_of(larger)["type"]) == (413, "request_too_large")
        wrong = client.post("/control/processes")
        assert (wrong.status_code, sorted(wrong.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


def test_admin_port_serves_own_paths_and_nothing_else(start: Start, line: Bench) -> None:
    upstream = line.upstream()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start("--admin-port", str(port), "--upstream-url", upstream.url, env={"FERRYMAN_MASTER_KEY": MASTER})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/control/processes").status_code == 401
        client.headers["x-api-key"] = MASTER
        assert client.get("/control/processes").status_code == 200
        assert client.get("/v1/models").status_code == 404
    assert upstream.requests == []


# ── ferryman status ──


def test_status_tells_the_processes(start: Start, tmp_path: Path) -> None:
    family = start("--workers", "2")
    assert stat.S_IMODE(family.runtime.stat().st_mode) == 0o700
    until(lambda: all(row.get("live") == 0 for row in family.rows() if row["role"] == "worker"))
    words = ["status", "-p", str(family.port), "--runtime-directory", str(tmp_path / "run")]
    with Process(tmp_path, *words) as table, Process(tmp_path, *words, "--json") as text:
        code, out, err = table.end()
        assert (code, err) == (0, "")
        lines = out.splitlines()
        names = [line.split("  ")[0] for line in lines]
        assert names == ["process", "supervisor", "control", "worker 1", "worker 2"]
        assert all(" running " in line and line.count(" MB") == 1 for line in lines[1:])
        rows = json.loads(text.end()[1])["processes"]
    assert {row["pid"] for row in rows} == {row["pid"] for row in family.rows()}
    assert all(row["memory_bytes"] > 1_000_000 for row in rows)


def test_status_says_when_nothing_runs(tmp_path: Path) -> None:
    with Process(tmp_path, "status", "-p", "4001", "--runtime-directory", str(tmp_path)) as process:
        code, out, err = process.end()
    assert (code, out) == (1, "")
    path = tmp_path / "4001" / "control.sock"
    assert err == f"ferryman: nothing runs on port 4001: {path}: No such file or directory.\n"
