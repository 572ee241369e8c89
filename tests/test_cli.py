"""The command line, each time as a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from ferryman import __version__
from ferryman.settings_table import env_names, rows
from tests.conftest import Bench
from tests.support.edge import Connection

DEADLINE_SECONDS = 20.0
SECRET = "sk-ant-do-not-tell"
SETTING_NAMES = {name for row in rows() for name in env_names(row)}
PROXIES = {name for name in os.environ if name.lower().endswith("_proxy")}
LEFT_OUT = SETTING_NAMES | PROXIES | {"CONFIG_PATH", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "PYTHONUNBUFFERED"}


def environment(directory: Path, **more: str) -> dict[str, str]:
    """This process's environment without settings, at home in `directory`."""
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return kept | {"HOME": str(directory)} | more


class Process:
    """`ferryman …` where packages may be missing, ended with the test; its output is waited for."""

    def __init__(
        self,
        directory: Path,
        *words: str,
        program: tuple[str, ...] = (sys.executable, "-m", "ferryman"),
        without: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options: dict[str, Any] = {**pipes, "stdin": subprocess.DEVNULL, "cwd": directory, **more}
        options["env"] = environment(directory, **more.get("env", {}))
        if without:  # for the processes that this one starts, too
            missing = directory / "missing"
            missing.mkdir(exist_ok=True)
            for name in without:
                (missing / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}')\n", "utf-8")
            options["env"]["PYTHONPATH"] = str(missing)
        self.popen = subprocess.Popen([*program, *words], **options)
        self._unread = {1: b"", 2: b""}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate(timeout=DEADLINE_SECONDS)

    def line(self, number: int) -> str:
        """The next line of the output `number`, 1 or 2."""
        stream = self.popen.stdout if number == 1 else self.popen.stderr
        assert stream is not None
        return self.line_of(stream.fileno(), number)

    def line_of(self, descriptor: int, number: int) -> str:
        """The next line that is read from `descriptor`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while b"\n" not in self._unread[number]:
            readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            assert readable, f"no whole line came, only {self._unread[number]!r}"
            data = os.read(descriptor, 65_536)
            assert data, f"the output ended with {self._unread[number]!r}"
            self._unread[number] += data
        line, _, self._unread[number] = self._unread[number].partition(b"\n")
        return line.decode()

    def event(self, name: str) -> dict[str, Any]:
        """The next JSON line of standard error, which has to be the event `name`."""
        record: dict[str, Any] = json.loads(self.line(2))
        assert record["event"] == name
        return record

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Exit code and what has not been read of both outputs, after signal `number`."""
        if number is not None:
            self.popen.send_signal(number)
        out, err = self.popen.communicate(timeout=DEADLINE_SECONDS)
        first, second = self._unread[1] + (out or b""), self._unread[2] + (err or b"")
        return self.popen.returncode, first.decode(), second.decode()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Process(tmp_path, *words, **more))


def url_of(process: Process) -> str:
    return str(process.event("ready")["url"])


@contextlib.contextmanager
def request_under_way(
    start: Start, line: Bench, *words: str
) -> Iterator[tuple[Process, socket.socket, threading.Event]]:
    """A gateway, a client whose request the upstream has, and what releases its answer."""
    release, asked = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        asked.set()
        assert release.wait(DEADLINE_SECONDS)
        connection.answer()

    process = start("--port", "0", "--upstream-url", line.upstream(script).url, *words)
    port = int(url_of(process).rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(DEADLINE_SECONDS)
        try:
            yield process, client, release
        finally:
            release.set()


@pytest.mark.parametrize(
    ("words", "file"),
    [
        pytest.param(["--port", "0"], "", id="bare"),
        pytest.param(["-p", "0", "-H", "127.0.0.1"], "", id="bare-short"),
        pytest.param(["serve", "--port=0"], "", id="serve"),
        pytest.param(["my.yaml"], "port: 0", id="file"),
        pytest.param(["serve", "-c", "my.yaml"], "port: 0", id="serve-with-file"),
    ],
)
def test_gateway_says_where_it_listens_and_ends_on_sigterm(
    words: list[str], file: str, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "my.yaml").write_text(file, "utf-8")
    process = start(
        *words, env={"FERRYMAN_UPSTREAM_URL": "http://127.0.0.1:1/base", "ANTHROPIC_API_KEY": SECRET}
    )
    if file:
        assert process.event("config file read")["file"] == str(tmp_path / "my.yaml")
    ready = process.event("ready")
    port = int(ready["url"].removeprefix("http://127.0.0.1:"))
    assert port != 0
    assert ready["upstream"] == "http://127.0.0.1:1/base"
    assert ready["auth"] == "open (anybody may call, with the server's key)"
    assert ready["clients_set"] == f"ANTHROPIC_BASE_URL=http://127.0.0.1:{port}"
    assert ready["version"] == __version__
    assert httpx.get(f"{ready['url']}/v1/models").status_code == 502
    code, out, err = process.end(signal.SIGTERM)
    assert code == 0
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["stopping", "stopped"]
    assert [json.loads(line)["status"] for line in out.splitlines()] == [502]
    assert SECRET not in str(ready) + out + err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_the_running_request_finish(number: int, start: Start, line: Bench) -> None:
    with request_under_way(start, line) as (process, client, release):
        process.popen.send_signal(number)
        assert process.event("stopping")["running"] == 1
        release.set()
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
    code, out, _ = process.end()
    assert (code, json.loads(out)["ended"]) == (0, "done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(number: int, start: Start, line: Bench) -> None:
    with request_under_way(start, line, "--shutdown-grace-seconds", "600") as (process, _, _):
        process.popen.send_signal(number)
        process.event("stopping")
        assert process.end(number) == (-number, "", "")


@pytest.mark.parametrize("words", [["serve"], ["simulator"]], ids=" ".join)
def test_port_in_use_is_one_clear_line(words: list[str], start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = start(*words, "--port", str(port)).end()
    assert (code, out) == (2, "")
    assert err.startswith(f"ferryman: host, port: cannot listen on `127.0.0.1:{port}`: ")
    assert "ddress already in use" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("level", ["warning", "error"])
def test_level_silences_the_start_and_the_line_per_request(level: str, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start("-p", str(port), "--log-level", level, "--upstream-url", "http://127.0.0.1:1")
    deadline = time.monotonic() + DEADLINE_SECONDS
    status = 0
    while not status and time.monotonic() < deadline:
        with contextlib.suppress(httpx.ConnectError):
            status = httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code
    assert status == 502
    assert process.end(signal.SIGTERM) == (0, "", "")


def test_terminal_gets_text(start: Start) -> None:
    ours, theirs = pty.openpty()
    process = start("-p", "0", "--upstream-url", "http://127.0.0.1:1", stdout=theirs, stderr=theirs)
    os.close(theirs)
    ready = process.line_of(ours, 2)
    assert "\x1b[1mready" in ready
    port = ready.partition("http://127.0.0.1:")[2].partition("\x1b")[0].rstrip("'")
    assert httpx.get(f"http://127.0.0.1:{port}/v1/models?secret=1").status_code == 502
    told = process.line_of(ours, 2)
    assert "  502  GET /v1/models  " in told
    assert "upstream_error: No connection to the upstream" in told
    assert process.end(signal.SIGINT)[0] == 0
    os.close(ours)


def test_text_can_be_asked_for_without_a_terminal(start: Start) -> None:
    process = start("-p", "0", env={"FERRYMAN_LOG_FORMAT": "text"})
    assert "[info     ] ready" in process.line(2)
    code, _, err = process.end(signal.SIGTERM)
    assert (code, err.endswith("[info     ] stopped\n"), "\x1b" in err) == (0, True, False)


def test_uvloop_is_not_needed(start: Start) -> None:
    process = start("-p", "0", without=("uvloop",))
    process.event("ready")
    assert process.end(signal.SIGINT)[0] == 0


@pytest.mark.slow
def test_end_is_clean_when_nobody_reads_the_log(start: Start) -> None:
    """The pipe is full, and its reader lives but sleeps: after a while the rest is given up."""
    process = start("-p", "0", "--upstream-url", "http://127.0.0.1:1")
    assert process.popen.stdout is not None
    fcntl.fcntl(process.popen.stdout, fcntl.F_SETPIPE_SZ, 4_096)
    with httpx.Client(base_url=url_of(process)) as client:
        for _ in range(40):
            assert client.get("/v1/models").status_code == 502
    process.popen.send_signal(signal.SIGTERM)
    process.event("stopping")
    assert process.event("log lines lost")["unwritten_bytes"] > 4_096
    process.event("stopped")
    assert process.popen.wait(DEADLINE_SECONDS) == 0
    assert process.end()[2] == ""


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_end_is_clean_when_the_reader_of_the_log_has_gone(closed: str, start: Start) -> None:
    process = start("-p", "0", "--upstream-url", "http://127.0.0.1:1")
    url = url_of(process)
    getattr(process.popen, closed).close()
    assert httpx.get(f"{url}/v1/models").status_code == 502
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(DEADLINE_SECONDS) == 0
    setattr(process.popen, closed, None)
    _, out, err = process.end()
    if closed == "stdout":
        events = [json.loads(text)["event"] for text in err.splitlines()]
        assert events == ["stopping", "log lines lost", "stopped"]
    else:
        assert json.loads(out)["status"] == 502


def test_settings_that_cannot_be_used_are_told_by_every_command_that_reads_them(start: Start) -> None:
    env = {"PORT": "high", "FERRYMAN_AUTH": "open"}
    told = """\
ferryman: port: `high` from the environment (PORT) cannot be used; wanted a whole number from 0 to 65535.
ferryman: auth, from the environment (FERRYMAN_AUTH): `open` needs `anthropic_api_key` (ANTHROPIC_API_KEY), \
the key that is spent.
"""
    running = [start(*words, env=env) for words in (["serve"], ["config", "show"], ["config", "check"])]
    for process in running:
        assert process.end() == (2, "", told)


def test_config_show_tells_each_value_with_its_source_and_no_secret(start: Start, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("log_level: error\nallow_open: yes\n", "utf-8")
    code, out, err = start("config", "show", "-p", "4567", env={"ANTHROPIC_API_KEY": SECRET}).end()
    assert (code, err) == (0, "")
    shown = {name: rest for name, *rest in (line.split(maxsplit=2) for line in out.splitlines())}
    assert list(shown) == [row.name for row in rows()]
    assert shown["port"] == ["4567", "command line"]
    assert shown["log_level"] == ["error", f"{tmp_path}/config.yaml"]
    assert shown["allow_open"] == ["true", f"{tmp_path}/config.yaml"]
    assert shown["anthropic_api_key"] == ["********", "environment (ANTHROPIC_API_KEY)"]
    assert shown["master_key"] == ["-", "default"]
    assert SECRET not in out


def test_config_check_tells_what_would_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "ferryman.yaml").write_text("host: '::1'\n", "utf-8")
    told = f"""\
ok: these settings can be used
config file  {tmp_path}/ferryman.yaml
listen on    http://[::1]:4000
relay to     https://api.anthropic.com
auth         passthrough
"""
    assert start("config", "check").end() == (0, told, "")


def test_version_is_told_both_ways(start: Start) -> None:
    for process in (start("version"), start("--version")):
        assert process.end() == (0, f"ferryman {__version__}\n", "")


def test_help_names_every_setting_and_its_variables(start: Start) -> None:
    running = [start(*words, "--help") for words in (["serve"], ["config", "show"], ["config", "check"])]
    for process in running:
        code, out, err = process.end()
        assert (code, err) == (0, "")
        for row in rows():
            option = f"--{row.name.replace('_', '-')}"
            assert (option in out) == (not row.metadata["secret"])
            assert all(name in out for name in env_names(row))


def test_help_of_each_command(start: Start) -> None:
    words = [["-h"], ["--help"], ["version", "-h"], ["config", "-h"], ["simulator", "-h"]]
    for process in [start(*each, env={"ANTHROPIC_API_KEY": SECRET}) for each in words]:
        code, out, err = process.end()
        assert (code, err) == (0, "")
        assert out.startswith("Usage: ")
        assert SECRET not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sevre"], "/sevre` does not exist. `ferryman --help` lists the commands.\n"),
        (["--workrs", "1"], "No such option '--workrs'. Did you mean '--workers'?\n"),
        (["--port"], "Option '--port' requires an argument.\n"),
        (
            ["a.yaml", "-c", "b.yaml"],
            "ferryman: config file: both `a.yaml` and `b.yaml` are given; give one.\n",
        ),
        (
            ["--anthropic-api-key", SECRET],
            "set ANTHROPIC_API_KEY or put `anthropic_api_key` into the config file.\n",
        ),
        ([f"--master-key={SECRET}"], "set LITELLM_MASTER_KEY or put `master_key` into the config file.\n"),
        (["config", "shwo"], "No such command 'shwo'."),
    ],
)
def test_mistake_on_the_command_line_is_told_with_exit_code_2(
    words: list[str], told: str, start: Start
) -> None:
    code, out, err = start(*words).end()
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert SECRET not in err


def test_simulator_says_where_it_listens_and_answers(start: Start) -> None:
    process = start("simulator", "--port", "0", "--api-key", SECRET, "--always", "status=529; times=1")
    first = process.line(1)
    assert first.startswith("The simulator listens on http://127.0.0.1:")
    url = first.split()[4]
    ask = httpx.Request(
        "GET", f"{url}/v1/models", headers={"x-api-key": SECRET, "anthropic-version": "2023-06-01"}
    )
    with httpx.Client() as client:
        assert [client.send(ask).status_code for _ in range(2)] == [529, 200]
        ask.headers["x-api-key"] = "another"
        assert client.send(ask).status_code == 401
    code, out, err = process.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert f"  curl {url}/v1/messages " in out
    assert f"ferryman --upstream-url {url}\n" in out
    assert SECRET not in out


def test_simulator_tells_what_it_can_be_asked_for(start: Start) -> None:
    code, out, err = start("simulator", "--always", "help").end()
    assert (code, err) == (0, "")
    assert "retry-after     send this retry-after\n" in out
    code, out, err = start("simulator", "--always", "sttus=1").end()
    assert (code, out) == (2, "")
    assert err.startswith("ferryman: --always: unknown key `sttus`; the known ones are status, retry-after,")
