"""The ledger of a whole `ferryman serve`: what its processes leave, and `/spend/logs` through a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.processes import Family, until
from tests.support.raw import RawClient, post

Start = Callable[..., Family]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Family(tmp_path, *words, **more))


def entries(family: Family) -> list[dict[str, Any]]:
    """What is stored, newest first, as the operator's own socket tells it."""
    transport = httpx.HTTPTransport(uds=str(family.runtime / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://control") as client:
        rows: list[dict[str, Any]] = client.get("/spend/logs").json()
    return rows


def test_attempts_of_an_interrupted_exchange_are_all_told(start: Start, line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        if connection.number == 1:
            connection.answer()
            connection.request()
            connection.reset()
        else:
            connection.wait_closed()

    upstream = line.upstream(script)
    family = start("--upstream-url", upstream.url)
    with RawClient(family.port) as client:
        assert client.ask(post(b'{"n":1}')).status == 200
        client.send(post(b'{"n":2}'))
        until(lambda: len(upstream.requests) == 3, "asked again")
        os.kill(family.pid("worker 1"), signal.SIGKILL)
    until(lambda: len(entries(family)) == 2, "stored")
    rows = entries(family)
    assert [(row["ended"], row["attempts"]) for row in rows] == [("interrupted", 2), ("done", 1)]
