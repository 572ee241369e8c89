"""No key stands in plain text in any log, file or answer, wherever clients have put it."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from ferryman.wording import without_keys
from tests.support.processes import Family
from tests.support.raw import post

MASTER = "sk-master-0123456789abcdefghij"
SERVER_KEY = "sk-ant-api03-the-server-key-0123456789"
CHOSEN = "sk-chosen-by-the-operator-0123456789"
MESSAGE = {"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

KEYS: tuple[dict[str, Any], ...] = (
    {"key_alias": "plain"},
    {"key_alias": "spent", "max_budget": 0},
    {"key_alias": "slow", "rpm_limit": 0},
    {"key_alias": "narrow", "models": ["claude-haiku-*"], "allowed_routes": ["/v1/messages"]},
    {"key_alias": "chosen", "key": CHOSEN, "max_budget": 5, "tpm_limit": 100_000},
)

HEADS = (
    b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/%b/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/a%3D%b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //%b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /key/%b/../info HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /key/info?key=%b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /key/%b/regenerate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST /key/%b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /spend/logs?api_key=%b&%b=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://%b/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://%b@a/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"%b / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/%b\r\nHost: a\r\n\r\n",
    b"GET / %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\n%b: x\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nx-api-key : %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nx-api-key: %b\0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Basic %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer Bearer %b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nx-ferryman-key: %b%b\r\nx-api-key: x\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %b\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nExpect: %b\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    b"POST /key/generate HTTP/1.1\r\nHost: a\r\nx-api-key: %b\r\nContent-Length: 2\r\n\r\n{}",
)
"""With no key that is good, and some that are no HTTP."""

HEADERS = (
    b"content-encoding: %b\r\n",
    b"anthropic-version: %b\r\n",
    b"anthropic-beta: %b\r\n",
    b"x-ferryman-tags: a, %b\r\n",
    b"x-ferryman-customer-id: %b\r\n",
    b"x-ferryman-spend-logs-metadata: {%b\r\n",
    b'x-ferryman-spend-logs-metadata: {"a":"%b"}\r\n',
    b"x-claude-code-session-id: %b\r\n",
    b"x-claude-code-agent-id: %b\r\n",
    b"x-forwarded-for: %b\r\n",
    b"user-agent: %b\r\n",
    b"cookie: %b\r\n",
    b"x-litellm-api-key: Bearer %b\r\n",
    b"x-api-key: other\r\nauthorization: Bearer %b\r\n",
)
"""Beside a good key."""


def bodies(key: str) -> Iterator[bytes]:
    """Bodies with a key in places where none belongs."""
    yield b"{" + key.encode()
    yield json.dumps(MESSAGE | {"model": key}).encode()
    yield json.dumps(MESSAGE | {"model": f"claude-{key}:status=529"}).encode()
    yield json.dumps(MESSAGE | {"metadata": {"user_id": key}}).encode()
    yield json.dumps(MESSAGE | {"metadata": {"user_id": json.dumps({"session_id": key})}}).encode()
    yield json.dumps(MESSAGE | {"litellm_metadata": {"user": key, "tags": [key], "a": key}}).encode()
    yield json.dumps(MESSAGE | {"litellm_metadata": {"tags": [key] * 2 + [1]}}).encode()
    yield json.dumps(MESSAGE | {key: key}).encode()
    for model in ("claude-sonnet-5-5:error-event=2", "claude-sonnet-5-5:status=500", "no-such-model"):
        yield json.dumps(MESSAGE | {"model": model, "stream": True}).encode()


def managed(client: httpx.Client) -> Iterator[tuple[str, str]]:
    """Makes keys and does with them what can be done; each text, and what the last answer says."""
    for asked in KEYS:
        key = client.post("/key/generate", json=asked).json()["key"]
        yield key, client.get("/key/info", params={"key": key}).text
        yield key, client.post("/key/update", json={"key": key, "metadata": {"a": 1}}).text
        yield key, client.post("/key/update", json={"key": key, key: key}).text
        yield key, client.post("/key/generate", json={"key": key}).text
        yield key, client.post("/key/generate", json={"key_alias": {"a": key}}).text
    old = client.post("/key/generate", json={"key_alias": "old"}).json()["key"]
    new = client.post(f"/key/{old}/regenerate", json={"grace_period": "1h"})
    yield new.json()["key"], new.text
    for path in ("/key/block", "/key/delete"):
        yield old, client.post(path, json={"key": old, "keys": [old]}).text
    gone = client.post("/key/generate", json={"key_alias": "gone", "blocked": True}).json()["key"]
    yield gone, client.post("/key/block", json={"key": gone}).text
    for path in ("/key/list?return_full_object=true", "/audit", "/control/processes", "/openapi.json"):
        yield gone, client.get(path).text


def answer(port: int, request: bytes) -> bytes:
    """All that is answered, on a connection of its own that is not used again."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock, suppress(OSError):
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))
    return b""


def leave(port: int, request: bytes) -> None:
    """Send a request, and go when its answer has begun."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(request)
        sock.recv(1)


def ours(told: bytes) -> bytes:
    """What of an answer is Ferryman's: what the upstream says of its request is passed on as it came."""
    return b"" if b"x-ferryman-mutations" in told else told


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/v1/sk-OY_ia45fwoVWXuwU1EMx4Igz/x", "/v1/sk-…/x"),
        ("a%3Dsk-OY_ia45fwoVWXuwU1EMx4Igz", "a%3Dsk-…"),
        ("sk-ant-api03-aaaaaaaaaaaa_bbbbb,sk-OY_ia45fwoVWXuwU1EMx4Igz", "sk-…,sk-…"),
        ("risk-management-department-of-europe", "risk-management-department-of-europe"),
        ("sk-learn-experiments", "sk-learn-experiments"),
        ("nothing", "nothing"),
    ],
)
def test_what_has_the_form_of_a_key_is_left_out_and_nothing_else(text: str, kept: str) -> None:
    assert without_keys(text) == kept


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("log_bodies", ["off", "full"])
def test_no_key_is_written_down_or_told_again(short: Path, log_bodies: str) -> None:
    settings = {"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": SERVER_KEY}
    settings["FERRYMAN_LOG_BODIES"] = log_bodies
    keys: set[str] = set()
    told: list[bytes] = []
    with Server(SimulatorSettings(api_keys=(SERVER_KEY,))) as upstream:
        words = ("--upstream-url", upstream.url, "--log-level", "debug", "--log-format", "json")
        with Family(short, *words, env=settings) as family:
            with httpx.Client(
                base_url=family.url, headers={"authorization": f"Bearer {MASTER}"}, timeout=10
            ) as client:
                for key, text in managed(client):
                    keys.add(key)
                    told.append(without_the_new_key(text).encode())
            for key in sorted(keys):
                told += misused(family.port, key)
            journals = b"".join(path.read_bytes() for path in files(short))
            code, out, errors = family.end(signal.SIGTERM)
    assert code == 0
    log = "\n".join(json.dumps(message) for message in family.messages) + out + errors
    assert log.count('"path"') > len(HEADS) * len(keys)
    kept = {str(path): path.read_bytes() for path in files(short)}
    assert any(data.startswith(b"SQLite format 3") for data in kept.values())
    assert any(b'"content":"hi"' in data for data in kept.values()) is (log_bodies == "full")
    places = {**kept, "log": log.encode(), "answers": b"\n".join(told), "files, while it ran": journals}
    for secret in (*keys, SERVER_KEY, MASTER):
        for place, data in places.items():
            at = data.find(secret.encode())
            assert at < 0, f"{place}: {data[max(0, at - 200) : at + 100]!r}"


def without_the_new_key(text: str) -> str:
    """The answer of the two paths that tell a key, once, without it."""
    told = json.loads(text) if text.startswith("{") else {}
    return text.replace(told["key"], "") if "token_id" in told else text


def misused(port: int, key: str) -> Iterator[bytes]:
    """What is answered to requests with `key` in all kinds of places."""
    text = key.encode()
    good = b"x-api-key: %b\r\n" % text
    for head in HEADS:
        yield ours(answer(port, head.replace(b"%b", text)))
    for header in HEADERS:
        body = json.dumps(MESSAGE).encode()
        yield ours(answer(port, post(body, headers=good + header.replace(b"%b", text))))
    for body in bodies(key):
        yield ours(answer(port, post(body, headers=good)))
    batch = {"requests": [{"custom_id": key, "params": MESSAGE | {"model": f"claude-{key}"}}]}
    for path in (b"/v1/messages/batches", b"/v1/messages/count_tokens", b"/v1/files", b"/v1/sessions"):
        yield ours(answer(port, post(json.dumps(batch).encode(), path=path, headers=good)))
    stream = json.dumps(MESSAGE | {"model": "claude-sonnet-5-5", "stream": True}).encode()
    leave(port, post(stream, headers=good))
    yield ours(answer(port, post(stream[:-20], headers=good)[:-30]))


def files(directory: Path) -> list[Path]:
    """Every file below a directory."""
    return [path for path in directory.rglob("*") if path.is_file()]
