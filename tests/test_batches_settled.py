"""Batches through a whole `ferryman serve`: each is charged once, to whoever has created it."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.conftest import KEY
from tests.support.processes import Family, until
from tests.support.raw import NO_TLS

USAGE = 'usage={"input_tokens": 1000, "output_tokens": 100}'
NANOUSD = 1_000 * 2_000 + 100 * 10_000
"""Of one such answer of Opus 5.5 in a batch: $2 and $10 for a million tokens."""

Start = Callable[..., Family]


@pytest.fixture
def simulator() -> Iterator[Server]:
    with Server(SimulatorSettings(api_keys=(KEY,))) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, simulator: Server) -> Iterator[Start]:
    with ExitStack() as stack:

        def family(poll_seconds: float, **more: Any) -> Family:
            words = ("--upstream-url", simulator.url, "--batch-poll-seconds", str(poll_seconds))
            env = {"ANTHROPIC_API_KEY": KEY} | more
            return stack.enter_context(Family(tmp_path, *words, env=env))

        yield family


def sdk(family: Family, api_key: str = "whatever") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=family.url, api_key=api_key, max_retries=0)


def create(family: Family, *controls: str, api_key: str = "whatever") -> str:
    """A batch of a request for each of `controls`; its id."""
    items: Any = [
        {
            "custom_id": f"r{number}",
            "params": {
                "model": f"claude-opus-5-5:{control}" if control else "claude-opus-5-5",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": "Hello"}],
            },
        }
        for number, control in enumerate(controls)
    ]
    headers = {"x-simulator": USAGE, "x-ferryman-tags": "night", "x-ferryman-end-user-id": "ann"}
    with sdk(family, api_key) as client:
        return client.messages.batches.create(requests=items, extra_headers=headers).id


def settlements(family: Family) -> list[dict[str, Any]]:
    transport = httpx.HTTPTransport(uds=str(family.runtime / "control.sock"), verify=NO_TLS)
    with httpx.Client(transport=transport, base_url="http://control") as client:
        rows: list[dict[str, Any]] = client.get("/spend/logs").json()
    return [row for row in rows if row["method"] == "SETTLE"]


def kept(directory: Path) -> list[tuple[Any, ...]]:
    """Status, hold and cost of each batch in the database."""
    (path,) = directory.rglob("ferryman.db")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT status, hold_nanousd, cost_nanousd FROM batches").fetchall()


def test_batch_read_twice_is_charged_once_to_its_creator(start: Start, tmp_path: Path) -> None:
    family = start(3600)
    batch = create(family, "", "", "status=500", "expire")
    until(lambda: kept(tmp_path), "noted")
    assert kept(tmp_path)[0][0] == "open"
    assert kept(tmp_path)[0][1] > 0
    with sdk(family) as client:
        client.messages.batches.retrieve(batch)
        for _ in range(2):
            assert len(list(client.messages.batches.results(batch))) == 4
    until(lambda: settlements(family), "settled")
    (row,) = settlements(family)
    assert (row["end_user"], row["tags"], row["model"]) == ("ann", ["night"], "claude-opus-5-5")
    assert (row["input_tokens"], row["output_tokens"]) == (2_000, 200)
    assert kept(tmp_path) == [("settled", 0, 2 * NANOUSD)]


def test_batch_that_nobody_reads_is_settled_by_the_poller(start: Start, tmp_path: Path) -> None:
    family = start(0.1)
    create(family, "", "expire")
    until(lambda: kept(tmp_path) == [("settled", 0, NANOUSD)], "settled")
    assert len(settlements(family)) == 1


def test_results_read_in_part_are_left_to_the_poller(start: Start, tmp_path: Path) -> None:
    family = start(0.5)
    batch = create(family, *([""] * 2_000))
    headers = {"x-api-key": "whatever", "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=family.url, headers=headers) as client:
        client.get(f"/v1/messages/batches/{batch}")
        with client.stream("GET", f"/v1/messages/batches/{batch}/results") as answer:
            next(answer.iter_raw())
    until(lambda: kept(tmp_path) == [("settled", 0, 2_000 * NANOUSD)], "settled")
    assert len(settlements(family)) == 1


def test_batch_is_settled_once_though_all_processes_are_killed(start: Start, tmp_path: Path) -> None:
    family = start(3600)
    batch = create(family, "", "")
    until(lambda: kept(tmp_path), "noted")
    os.kill(family.pid("control"), signal.SIGSTOP)
    with sdk(family) as client:
        client.messages.batches.retrieve(batch)
        assert len(list(client.messages.batches.results(batch))) == 2
    for pid in [row for row in family.seen if row != family.popen.pid]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: kept(tmp_path) == [("settled", 0, 2 * NANOUSD)], "settled by those that come after")
    until(family.listens, "up again")
    assert len(settlements(family)) == 1


def test_deleted_batch_is_told_to_be_lost(start: Start, tmp_path: Path) -> None:
    family = start(3600)
    batch = create(family, "")
    until(lambda: kept(tmp_path), "noted")
    with sdk(family) as client:
        client.messages.batches.retrieve(batch)
        client.messages.batches.delete(batch)
    family.popen.send_signal(signal.SIGTERM)
    family.popen.wait(20)
    start(0.1)
    until(lambda: kept(tmp_path) == [("lost", 0, None)], "lost")


def test_batch_of_a_virtual_key_holds_its_budget_until_the_poller_settles_it(start: Start) -> None:
    family = start(2.0, FERRYMAN_MASTER_KEY="sk-master")
    with httpx.Client(base_url=family.url, headers={"x-api-key": "sk-master"}) as own:
        made = own.post("/key/generate", json={"max_budget": 1}).json()
        other = own.post("/key/generate", json={}).json()

        def spent() -> int:
            return int(own.get("/key/info", params={"key": made["token"]}).json()["info"]["spend_nanousd"])

        batch = create(family, "", "", api_key=made["key"])
        held = spent()
        assert 0 < held != 2 * NANOUSD  # by its bytes and `max_tokens`, which the simulator passes here
        with anthropic.Anthropic(base_url=family.url, api_key=other["key"], max_retries=0) as stranger:
            with pytest.raises(anthropic.NotFoundError):
                stranger.messages.batches.retrieve(batch)
            assert [one.id for one in stranger.messages.batches.list()] == []
        until(lambda: spent() == 2 * NANOUSD, "settled, and charged to the key")
        logs = own.get("/spend/logs/v2", params={"api_key": made["key"]}).json()["data"]
    assert sum(row["cost_nanousd"] or 0 for row in logs) == 2 * NANOUSD
    assert {row["api_key"] for row in logs} == {made["token"]}
