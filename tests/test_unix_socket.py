"""Listening on a Unix socket: who may connect, what is replaced, what is left."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.errors import SettingsError
from ferryman.relay.listen import bind_unix, remove_unix
from tests.conftest import KEY, Bench
from tests.support.raw import RawClient, get, post
from tests.support.tls import Authority
from tests.test_cli import Process, Start
from tests.test_exchange_line import START, STOP
from tests.test_shutdown import ASK, LOOPS, Held

PUBLIC = "https://claude.example.org"


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough: the kernel takes 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ferryman-") as directory:
        yield Path(directory) / "f.sock"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Process(tmp_path, *words, **more))


def connect(path: Path) -> RawClient:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(10)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return RawClient(0, sock=sock)


def refusal(path: Path) -> str:
    """Why `path` cannot be listened on."""
    with pytest.raises(SettingsError) as caught:
        bind_unix(str(path), 0o600)
    (problem,) = caught.value.problems
    start = f"unix_socket: `{path}` "
    assert problem.startswith(start)
    return problem.removeprefix(start)


def left_behind(path: Path) -> None:
    """What a killed process leaves: a socket file that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


@LOOPS
def test_request_and_stream_pass_over_a_unix_socket(line: Bench, path: Path, loop: str) -> None:
    held = Held()
    gateway, upstream = line.pair(held.script, loop=loop, unix_socket=str(path), host="0.0.0.0")
    with connect(path) as client:
        client.send(ASK)
        client.read_until(START)
        held.go.set()
        client.read_until(STOP + b"\r\n0\r\n\r\n")
    assert (gateway.entry().ended, gateway.entry().client_address) == ("done", "unix")
    assert upstream.requests[0].values(b"x-api-key") == [KEY.encode()]


@LOOPS
def test_httpx_comes_over_a_unix_socket(line: Bench, path: Path, loop: str) -> None:
    line.pair(unix_socket=str(path), loop=loop)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://gateway") as client:
        assert client.post("/v1/messages", json={"model": "m"}).json() == {"ok": True}


@LOOPS
def test_tls_over_a_unix_socket(line: Bench, path: Path, tmp_path: Path, loop: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    files: dict[str, Any] = {"tls_cert_file": str(certificate), "tls_key_file": str(key)}
    gateway, _ = line.pair(unix_socket=str(path), loop=loop, trusted_proxies="unix", **files)
    transport = httpx.HTTPTransport(uds=str(path), verify=authority.context())
    with httpx.Client(transport=transport, base_url="https://localhost") as client:
        assert client.get("/v1/models", headers={"x-forwarded-for": "203.0.113.7"}).status_code == 200
    assert gateway.entry().client_address == "203.0.113.7"


@LOOPS
@pytest.mark.parametrize(("trusted", "expected"), [("unix", "203.0.113.7"), ("0.0.0.0/0,::/0", "unix")])
def test_peer_is_trusted_by_its_name(line: Bench, path: Path, loop: str, trusted: str, expected: str) -> None:
    gateway, _ = line.pair(unix_socket=str(path), loop=loop, trusted_proxies=trusted)
    with connect(path) as client:
        assert client.ask(get(headers=b"X-Forwarded-For: 203.0.113.7\r\n")).status == 200
    assert gateway.entry().client_address == expected


@LOOPS
def test_client_that_leaves_ends_the_upstream(line: Bench, path: Path, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop, unix_socket=str(path))
    with connect(path) as client:
        client.send(ASK)
        client.read_until(START)
    assert gateway.entry().ended == "client_gone"
    held.go.set()


@LOOPS
@pytest.mark.parametrize(("mode", "bits"), [("660", 0o660), ("0600", 0o600), ("666", 0o666)])
def test_file_has_the_permissions_that_are_set(
    line: Bench, path: Path, loop: str, mode: str, bits: int
) -> None:
    line.pair(unix_socket=str(path), unix_socket_mode=mode, loop=loop)
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == bits


def test_nobody_connects_before_the_permissions_are_set(path: Path) -> None:
    bound, _ = bind_unix(str(path), 0o600)
    with bound, pytest.raises(ConnectionRefusedError):
        connect(path)


@LOOPS
def test_file_is_removed_when_the_stop_begins(line: Bench, path: Path, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop, unix_socket=str(path))
    with connect(path) as client:
        client.send(ASK)
        client.read_until(START)
        stopping = gateway.begin_stop(10)
        gateway.until(lambda: gateway.worker.line.draining)
        assert not path.exists()
        left_behind(path)  # our successor's
        held.go.set()
        assert client.read_to_end().endswith(STOP + b"\r\n0\r\n\r\n")
        stopping.result(10)
    assert path.exists()


def test_file_of_another_is_not_removed(path: Path) -> None:
    bound, identity = bind_unix(str(path), 0o600)
    with bound:
        path.rename(path.with_suffix(".old"))  # keeps its inode from being used again
        left_behind(path)
        remove_unix(str(path), identity)
        assert path.exists()


@LOOPS
def test_file_that_a_killed_process_has_left_is_replaced(line: Bench, path: Path, loop: str) -> None:
    left_behind(path)
    line.pair(unix_socket=str(path), loop=loop)
    with connect(path) as client:
        assert client.ask(get(b"/health")).status == 200


def test_socket_that_somebody_listens_on_is_left_alone(line: Bench, path: Path) -> None:
    line.pair(unix_socket=str(path))
    assert refusal(path) == "is in use: another process listens on it."
    with connect(path) as client:
        assert client.ask(get(b"/health")).status == 200


def test_socket_whose_backlog_is_full_is_in_use(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(str(path))
        busy.listen(0)
        full = False
        while not full:
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            full = caller.connect_ex(str(path)) == errno.EAGAIN
        assert refusal(path) == "is in use: another process listens on it."


def test_what_is_no_socket_is_left_alone(path: Path, tmp_path: Path) -> None:
    told = "is there and is not a socket; remove it, or name another path."
    path.write_text("precious")
    assert refusal(path) == told
    assert path.read_text() == "precious"
    path.unlink()
    path.mkdir()
    assert refusal(path) == told
    link = path.with_name("link")
    left_behind(path.with_name("dead"))
    link.symlink_to(path.with_name("dead"))
    assert refusal(link) == told


def test_path_that_cannot_be_bound_to_is_told(path: Path) -> None:
    assert refusal(path / "none" / "f.sock") == "cannot be listened on: No such file or directory."
    assert refusal(path.with_name("x" * 120)) == "cannot be listened on: AF_UNIX path too long."


@pytest.mark.parametrize("without", [(), ("uvloop",)])
def test_process_listens_and_cleans_up(start: Start, path: Path, without: tuple[str, ...]) -> None:
    words = ["--unix-socket", str(path), "--upstream-url", "http://127.0.0.1:1", "--host", "0.0.0.0"]
    process = start(*words, env={"ANTHROPIC_API_KEY": "key"}, without=without)
    ready = process.event("ready")
    assert ready["url"] == f"unix:{path}"
    assert "`public_url` can tell it" in ready["clients_set"]
    with connect(path) as client:
        assert client.ask(post(b"{}")).status == 502
    code, out, _ = process.end(signal.SIGTERM)
    assert (code, json.loads(out)["client_address"]) == (0, "unix")
    assert not path.exists()


def test_second_process_on_the_same_path_says_so(start: Start, path: Path) -> None:
    first = start("--unix-socket", str(path), "--public-url", PUBLIC)
    assert first.event("ready")["clients_set"] == f"ANTHROPIC_BASE_URL={PUBLIC}"
    told = f"ferryman: unix_socket: `{path}` is in use: another process listens on it.\n"
    assert start("--unix-socket", str(path)).end() == (2, "", told)
    first.popen.kill()
    first.popen.wait()
    assert os.path.exists(path)  # noqa: PTH110  # a socket
    assert start("--unix-socket", str(path)).event("ready")["url"] == f"unix:{path}"


def test_check_tells_the_path(start: Start, path: Path) -> None:
    code, out, _ = start("config", "check", "--unix-socket", str(path)).end()
    assert code == 0
    assert f"listen on    unix:{path}\n" in out
