"""Sinks of a whole gateway: what is stored comes to each of them, whoever is killed or away in between."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.simulator.server import Server as Simulator
from tests.support.metrics import samples, value
from tests.support.processes import Family, until
from tests.support.receiver import Receiver
from tests.test_cli import Process

CALLBACKS = """
import asyncio, json, pathlib, threading

FILE = pathlib.Path(__file__).with_name("called.jsonl")

def told(entries):
    with FILE.open("a") as file:
        file.writelines(json.dumps(entry) + "\\n" for entry in entries)

async def told_later(entries):
    await asyncio.sleep(0)
    told(entries)

def hang(entries):
    threading.Event().wait()

word = "no function"
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def served(directory: Path, stack: ExitStack, *words: str, **more: Any) -> Family:
    simulator = stack.enter_context(Simulator())
    env = {"FERRYMAN_ANTHROPIC_API_KEY": "sk-ant-x", "FERRYMAN_MASTER_KEY": "sk-m", "FERRYMAN_AUTH": "open"}
    env |= more.pop("env", {})
    words = ("--upstream-url", simulator.url, *words)
    return stack.enter_context(Family(directory, *words, env=env, **more))


def ask(family: Family, text: str = "hi") -> str:
    """The id of an exchange that has succeeded."""
    body = {"model": "claude-opus-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    response = httpx.post(f"{family.url}/v1/messages", json=body, timeout=20)
    assert response.status_code == 200
    return response.headers["x-ferryman-request-id"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["id"] for entry in entries]


def test_every_sink_gets_every_entry(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "ours.py").write_text(CALLBACKS, "utf-8")
    webhook, collector = stack.enter_context(Receiver()), stack.enter_context(Receiver())
    family = served(
        tmp_path,
        stack,
        *("--log-file", str(tmp_path / "entries.jsonl"), "--webhook-url", f"{webhook.url}/hook?a=1"),
        *("--otlp-logs-url", f"{collector.url}/v1/logs", "--callbacks", "ours.told_later"),
        env={
            "FERRYMAN_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"secret").decode(),
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-api=a%20b",
            "PYTHONPATH": str(tmp_path),
        },
    )
    asked = sorted(ask(family, "a question that nobody else should read") for _ in range(5))

    def taken() -> list[list[str]]:
        records = [
            json.loads(record["body"]["stringValue"])
            for request in collector.requests
            for record in json.loads(request.body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        ]
        every = [
            lines(tmp_path / "entries.jsonl"),
            lines(tmp_path / "called.jsonl"),
            webhook.entries(),
            records,
        ]
        return [sorted(ids(one)) for one in every]

    until(lambda: all(len(one) >= 5 for one in taken()), "delivered")
    assert taken() == [asked] * 4
    for request in webhook.requests:
        assert request.path == "/hook?a=1"
        signed = b".".join(
            (
                request.headers["webhook-id"].encode(),
                request.headers["webhook-timestamp"].encode(),
                request.body,
            )
        )
        expected = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
        assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert collector.requests[0].headers["x-api"] == "a b"
    sent = b"".join(request.body for request in (*webhook.requests, *collector.requests))
    assert b"nobody else" not in sent

    def told_of(name: str) -> float:
        page = httpx.get(f"{family.url}/metrics", headers={"x-api-key": "sk-m"}).text
        return value(samples(page), "ferryman_sink_delivered_total", sink=name)

    for name in ("file", "webhook", "otlp", "callback ours.told_later"):
        until(lambda name=name: told_of(name) == 5, "told")  # type: ignore[misc]  # mypy knows no such lambda
    # What the command shows of the same entries has the same fields.
    shown = {one["id"]: one for one in lines(tmp_path / "entries.jsonl")}[asked[0]]
    assert shown["usage"]["output_tokens"] == 5
    assert shown["cost"]["nanousd"] > 0


def test_dead_sink_holds_up_no_other_and_gets_all_when_it_is_back(tmp_path: Path, stack: ExitStack) -> None:
    file = tmp_path / "entries.jsonl"
    webhook = stack.enter_context(Receiver(status=503))
    family = served(tmp_path, stack, "--log-file", str(file), "--webhook-url", webhook.url)
    asked = [ask(family)]
    until(lambda: webhook.requests, "refused")
    asked += [ask(family) for _ in range(2)]
    until(lambda: len(lines(file)) == 3, "written")
    webhook.status = 204
    until(lambda: {*ids(webhook.entries())} == {*asked}, "delivered")
    first, second = webhook.requests[:2]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_sink_that_hangs_holds_up_neither_others_nor_the_end(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "ours.py").write_text(CALLBACKS, "utf-8")
    file = tmp_path / "entries.jsonl"
    words = ("--log-file", str(file), "--callbacks", "ours.hang,ours.told")
    family = served(tmp_path, stack, *words, env={"PYTHONPATH": str(tmp_path)})
    asked = [ask(family) for _ in range(5)]
    until(lambda: ids(lines(file)) == ids(lines(tmp_path / "called.jsonl")) == asked, "delivered")
    code, _, err = family.end(signal.SIGTERM)
    assert code == 0
    assert "has not ended" not in err


def test_killed_control_plane_loses_no_entry_for_any_sink(tmp_path: Path, stack: ExitStack) -> None:
    file = tmp_path / "entries.jsonl"
    webhook = stack.enter_context(Receiver())
    family = served(tmp_path, stack, "--log-file", str(file), "--webhook-url", webhook.url)
    asked = []
    for _ in range(3):
        asked += [ask(family) for _ in range(5)]
        pid = family.pid("control")
        os.kill(pid, signal.SIGKILL)
        asked += [ask(family) for _ in range(5)]
        until(lambda: family.listens() and family.pid("control") != pid, "started again")  # noqa: B023  # at once
    until(lambda: {*ids(lines(file))} >= {*asked} and {*ids(webhook.entries())} >= {*asked}, "delivered")
    assert {*ids(lines(file))} == {*asked}


def test_what_is_left_at_the_end_is_sent_before_it_or_after_the_next_start(
    tmp_path: Path, stack: ExitStack
) -> None:
    file = tmp_path / "entries.jsonl"
    with ExitStack() as first:
        family = served(tmp_path, first, "--log-file", str(file))
        asked = [ask(family) for _ in range(5)]
        code, _, _ = family.end(signal.SIGTERM)
        assert code == 0
    assert ids(lines(file)) == asked


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--callbacks", "no_such_module.f"), "callbacks: `no_such_module.f` cannot be imported"),
        (("--callbacks", "ours.word"), "callbacks: `ours.word` is no function"),
        (("--callbacks", "f"), "names no function; wanted `module.function`"),
        (("--log-file", "/no/such/directory/f"), "log_file: `/no/such/directory/f` is no file"),
        (("--webhook-url", "ftp://x"), "that is no URL of a server"),
    ],
)
def test_sink_that_cannot_be_used_is_said_at_the_start(
    tmp_path: Path, stack: ExitStack, words: tuple[str, ...], problem: str
) -> None:
    (tmp_path / "ours.py").write_text(CALLBACKS, "utf-8")
    env = {"PYTHONPATH": str(tmp_path)}
    process = stack.enter_context(Process(tmp_path, "-p", "0", *words, env=env))
    code, _, err = process.end()
    assert code == 2
    assert problem in err
