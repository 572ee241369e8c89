"""TLS on the listener: what is spoken, what is refused, and a new certificate while we run."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.errors import SettingsError
from ferryman.relay.listen import TLS_SHUTDOWN_SECONDS
from ferryman.relay.meter import HELD_ANSWER_BYTES
from ferryman.relay.tls import certificate_context
from ferryman.settings import Settings
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.raw import RawClient, get, post
from tests.support.tls import Authority, serial_of, tls_client
from tests.test_cli import DEADLINE_SECONDS, Process, Start
from tests.test_exchange_line import START, STOP
from tests.test_shutdown import ASK, LOOPS, Held, silent


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Process(tmp_path, *words, **more))


def files(authority: Authority) -> dict[str, Any]:
    certificate, key = authority.issue()
    return {"tls_cert_file": str(certificate), "tls_key_file": str(key)}


@LOOPS
def test_request_and_stream_pass_over_tls(line: Bench, authority: Authority, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        assert client.ask(get(b"/health")).status == 200
        client.send(ASK)
        client.read_until(START)
        held.go.set()
        client.read_until(STOP + b"\r\n0\r\n\r\n")
    assert (gateway.entry().ended, gateway.entry().client_address) == ("done", "127.0.0.1")


def test_key_may_stand_in_the_file_of_the_certificate(line: Bench, authority: Authority) -> None:
    certificate, key = authority.issue()
    both = authority.directory / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    gateway, _ = line.pair(tls_cert_file=str(both))
    with tls_client(gateway.port, authority.context()) as client:
        assert client.ask(get(b"/health")).status == 200


@LOOPS
@pytest.mark.parametrize(
    ("newest", "protocols", "expected"),
    [
        (ssl.TLSVersion.TLSv1_3, ["h2", "http/1.1"], ("TLSv1.3", "http/1.1")),
        (ssl.TLSVersion.TLSv1_2, ["http/1.1"], ("TLSv1.2", "http/1.1")),
        (ssl.TLSVersion.TLSv1_3, [], ("TLSv1.3", None)),
    ],
)
def test_http11_over_tls_12_or_newer_is_agreed_on(
    line: Bench,
    authority: Authority,
    loop: str,
    newest: ssl.TLSVersion,
    protocols: list[str],
    expected: tuple[str, str | None],
) -> None:
    gateway, _ = line.pair(loop=loop, **files(authority))
    context = authority.context()
    context.maximum_version = newest
    context.set_alpn_protocols(protocols)
    with tls_client(gateway.port, context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert (client.sock.version(), client.sock.selected_alpn_protocol()) == expected


def test_older_tls_is_not_spoken(authority: Authority) -> None:
    """Asked of the context: today's OpenSSL does not let a client try."""
    context = certificate_context(Settings(**files(authority)))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@LOOPS
def test_handshake_that_does_not_come_is_cut(line: Bench, authority: Authority, loop: str) -> None:
    gateway, _ = line.pair(loop=loop, client_read_timeout_seconds=0.2, **files(authority))
    began = time.monotonic()
    with RawClient(gateway.port) as client:
        assert client.read_to_end() == b""
    assert 0.1 < time.monotonic() - began < 5


@LOOPS
def test_plain_request_gets_no_answer_and_does_no_harm(line: Bench, authority: Authority, loop: str) -> None:
    gateway, upstream = line.pair(loop=loop, **files(authority))
    with RawClient(gateway.port) as client:
        client.send(post(b"{}"))
        with suppress(ConnectionResetError):
            assert b"HTTP/" not in client.read_to_end()
    with tls_client(gateway.port, authority.context()) as client:
        assert client.ask(post(b"{}")).status == 200
    assert len(upstream.requests) == 1


@LOOPS
def test_refused_client_that_goes_on_sending_can_read_why(
    line: Bench, authority: Authority, loop: str
) -> None:
    gateway, _ = line.pair(loop=loop, max_body_bytes=1024, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        client.send(post(b"x" * 4_000_000))
        answer = client.response()
    assert (answer.status, answer.values(b"connection")) == (413, [b"close"])


@LOOPS
def test_unreadable_request_gets_its_answer_over_tls(line: Bench, authority: Authority, loop: str) -> None:
    gateway, _ = line.pair(loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        client.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n" + b"x" * 4_000_000)
        answer = client.response()
    assert (answer.status, answer.values(b"connection")) == (400, [b"close"])


@LOOPS
def test_client_that_leaves_ends_the_upstream(line: Bench, authority: Authority, loop: str) -> None:
    held = Held()
    gateway, _ = line.pair(held.script, loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        client.send(ASK)
        client.read_until(START)
    assert gateway.entry().ended == "client_gone"
    held.go.set()
    assert held.closed.wait(10)


@LOOPS
def test_half_sent_answer_over_tls_has_no_clean_end(line: Bench, authority: Authority, loop: str) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n"
        connection.send(head + b"{" + b" " * HELD_ANSWER_BYTES)

    gateway, _ = line.pair(script, loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        client.send(post(b"{}"))
        client.read_until(b"{")
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            client.read_to_end()


@LOOPS
def test_stop_answers_what_runs_over_tls(line: Bench, authority: Authority, loop: str) -> None:
    gateway, upstream = line.pair(silent, loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        client.send(post(b"{}"))
        gateway.until(lambda: upstream.requests)
        gateway.stop(0.05)
        assert client.response().status == 529


@pytest.mark.slow
@LOOPS
def test_client_that_rests_in_its_pool_does_not_hold_up_the_stop(
    line: Bench, authority: Authority, loop: str
) -> None:
    gateway, _ = line.pair(loop=loop, **files(authority))
    with tls_client(gateway.port, authority.context()) as client:
        assert client.ask(get(b"/health")).status == 200
        began = time.monotonic()
        gateway.stop(30)
        assert time.monotonic() - began < TLS_SHUTDOWN_SECONDS + 5


# ── files that cannot be used ──


def broken(authority: Authority, name: str) -> tuple[dict[str, Any], str]:
    """Settings with a file that cannot be used, and what is said of it."""
    certificate, key = authority.issue()
    other, _ = authority.issue()
    text = authority.directory / "text.pem"
    text.write_text("hello")
    bad = authority.directory / "bad.pem"
    bad.write_bytes(certificate.read_bytes()[:200] + b"\n-----END CERTIFICATE-----\n")
    locked = authority.directory / "locked.pem"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:x"], check=True
    )
    big = authority.directory / "big.pem"
    big.write_bytes(certificate.read_bytes() + b"\n" * (1 << 20))
    none = authority.directory / "none.pem"
    return {
        "missing": ({"tls_cert_file": f"{none}"}, f"tls_cert_file: `{none}` cannot be read: No such file"),
        "missing-key": (
            {"tls_cert_file": f"{certificate}", "tls_key_file": f"{none}"},
            f"tls_key_file: `{none}` cannot be read: No such file or directory.",
        ),
        "directory": (
            {"tls_cert_file": f"{authority.directory}"},
            f"tls_cert_file: `{authority.directory}` is not a file.",
        ),
        "big": ({"tls_cert_file": f"{big}"}, f"tls_cert_file: `{big}` is larger than 1048576 bytes."),
        "text": ({"tls_cert_file": f"{text}"}, f"tls_cert_file: `{text}` holds no certificate in PEM form."),
        "no-key": (
            {"tls_cert_file": f"{certificate}"},
            f"tls_cert_file: `{certificate}` holds no private key; add it, or set `tls_key_file`.",
        ),
        "text-as-key": (
            {"tls_cert_file": f"{certificate}", "tls_key_file": f"{text}"},
            f"tls_key_file: `{text}` holds no private key in PEM form.",
        ),
        "of-another": (
            {"tls_cert_file": f"{other}", "tls_key_file": f"{key}"},
            f"tls_key_file: `{key}` holds a key that does not belong to the certificate in `{other}`.",
        ),
        "passphrase": (
            {"tls_cert_file": f"{certificate}", "tls_key_file": f"{locked}"},
            f"tls_key_file: `{locked}` is protected by a passphrase; wanted a key without one.",
        ),
        "broken": (
            {"tls_cert_file": f"{bad}", "tls_key_file": f"{key}"},
            f"tls_cert_file: `{bad}` cannot be used with the key in `{key}`: ",
        ),
    }[name]


BROKEN = (
    *("missing", "missing-key", "directory", "big", "text", "no-key"),
    *("text-as-key", "of-another", "passphrase", "broken"),
)


@pytest.mark.parametrize("name", BROKEN)
def test_file_that_cannot_be_used_is_refused_by_setting_and_path(name: str, authority: Authority) -> None:
    options, told = broken(authority, name)
    with pytest.raises(SettingsError) as caught:
        certificate_context(Settings(**options))
    (problem,) = caught.value.problems
    assert problem.startswith(told)
    assert problem.endswith(".")


def test_start_and_check_refuse_what_cannot_be_used(start: Start, authority: Authority) -> None:
    options, told = broken(authority, "of-another")
    words = ["--tls-cert-file", options["tls_cert_file"], "--tls-key-file", options["tls_key_file"]]
    for command in (["serve", "--port", "0"], ["config", "check"]):
        assert start(*command, *words).end() == (2, "", f"ferryman: {told}\n")


def test_check_tells_the_https_url(start: Start, authority: Authority) -> None:
    options = files(authority)
    words = ["--tls-cert-file", options["tls_cert_file"], "--tls-key-file", options["tls_key_file"]]
    code, out, err = start("config", "check", *words).end()
    assert (code, err) == (0, "")
    assert "listen on    https://127.0.0.1:4000\n" in out


# ── a new certificate while we run ──


@pytest.mark.parametrize("without", [(), ("uvloop",)])
def test_sighup_brings_a_new_certificate_and_drops_nobody(
    start: Start, line: Bench, authority: Authority, without: tuple[str, ...]
) -> None:
    held = Held()
    (certificate, key), (newer, newer_key) = authority.issue(), authority.issue()
    process = start(
        *("--port", "0", "--upstream-url", line.upstream(held.script).url),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        without=without,
    )
    ready = process.event("ready")
    assert ready["url"].startswith("https://127.0.0.1:")
    assert ready["clients_set"] == f"ANTHROPIC_BASE_URL={ready['url']}"
    assert httpx.get(f"{ready['url']}/health", verify=authority.context()).status_code == 200
    port, context = int(ready["url"].rpartition(":")[2]), authority.context()
    with tls_client(port, context) as running:
        running.send(ASK)
        running.read_until(START)
        certificate.write_bytes(newer.read_bytes())
        process.popen.send_signal(signal.SIGHUP)
        refused = process.event("certificate not reloaded")
        told = (
            f"tls_key_file: `{key}` holds a key that does not belong to the certificate in `{certificate}`."
        )
        assert (refused["level"], refused["problem"]) == ("error", told)
        with tls_client(port, context) as client:
            assert serial_of(client) == serial_of(running)
            assert client.ask(get(b"/health")).status == 200
        key.write_bytes(newer_key.read_bytes())
        process.popen.send_signal(signal.SIGHUP)
        assert process.event("certificate reloaded")["file"] == str(certificate)
        with tls_client(port, context) as client:
            assert serial_of(client) != serial_of(running)
            assert client.ask(get(b"/health")).status == 200
        held.go.set()
        running.read_until(STOP + b"\r\n0\r\n\r\n")
    code, out, _ = process.end(signal.SIGTERM)
    assert (code, json.loads(out)["ended"]) == (0, "done")


def test_sighup_without_tls_is_logged_and_changes_nothing(start: Start) -> None:
    process = start("--port", "0")
    url = process.event("ready")["url"]
    process.popen.send_signal(signal.SIGHUP)
    assert process.event("nothing to reload")["reason"] == "`tls_cert_file` is not set"
    assert httpx.get(f"{url}/health", timeout=DEADLINE_SECONDS).status_code == 200
    assert process.end(signal.SIGTERM)[0] == 0


def test_public_url_is_what_clients_are_told_to_set(start: Start) -> None:
    process = start("--port", "0", "--public-url", "https://claude.example.org/gateway/")
    ready = process.event("ready")
    assert ready["clients_set"] == "ANTHROPIC_BASE_URL=https://claude.example.org/gateway"
    assert ready["url"].startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(ready["url"].rpartition(":")[2])), DEADLINE_SECONDS):
        pass
