"""The ledger of a whole `ferryman serve`: what its processes leave, and `/spend/logs` through a worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.control.spend_query import MAX_LISTED
from tests.conftest import Bench
from tests.support.edge import Connection, Upstream, answering
from tests.support.processes import Family, alive, until
from tests.support.raw import NO_TLS, RawClient, post
from tests.support.stores import entry, opened, sqlite_url

MASTER = "sk-master-do-not-tell"
HEADERS = {"authorization": f"Bearer {MASTER}"}

Start = Callable[..., Family]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Family(tmp_path, *words, **more))


def entries(family: Family) -> list[dict[str, Any]]:
    """What is stored, newest first, as the operator's own socket tells it."""
    transport = httpx.HTTPTransport(uds=str(family.runtime / "control.sock"), verify=NO_TLS)
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


# ── /spend/logs through a worker ──


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with more entries than are listed at once."""
    url = sqlite_url(tmp_path_factory.mktemp("database"))
    with closing(opened(url)) as store:
        store.migrate()
        for first in range(0, MAX_LISTED + 500, 500):
            numbers = range(first, first + 500)
            store.write.insert_entries([entry(n, end_user=f"user-{n % 3}") for n in numbers])
    return url


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, full: str) -> Iterator[Family]:
    """One for all tests that read: each start takes seconds."""
    env = {"FERRYMAN_MASTER_KEY": MASTER, "FERRYMAN_AUTH": "passthrough", "DATABASE_URL": full}
    with (
        Upstream(answering()) as upstream,
        Family(tmp_path_factory.mktemp("gateway"), "--upstream-url", upstream.url, env=env) as family,
    ):
        yield family


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert (body["type"], body["request_id"]) == ("error", response.headers["request-id"])
    return response.status_code, body["error"]["type"], body["error"]["message"]


def test_ledger_is_read_through_a_worker(gateway: Family) -> None:
    with httpx.Client(base_url=gateway.url, headers=HEADERS) as client:
        everything = client.get("/spend/logs")
        assert everything.headers["content-type"] == "application/json"
        assert len(everything.json()) == MAX_LISTED
        assert len({row["request_id"] for row in everything.json()}) == MAX_LISTED
        page = client.get("/spend/logs/v2", params={"end_user": "user-1", "page_size": 2}).json()
        after = {"end_user": "user-1", "page_size": 2, "cursor": page["next_cursor"]}
        further = client.get("/spend/logs/v2", params=after).json()
        ids = [row["request_id"] for one in (page, further) for row in one["data"]]
        assert ids == sorted(ids, reverse=True)
        assert len(set(ids)) == 4
        assert {row["end_user"] for row in page["data"]} == {"user-1"}
        (one,) = client.get("/spend/logs", params={"request_id": ids[0]}).json()
        assert one["request_id"] == ids[0]
        head = client.head("/spend/logs/v2")
        assert (head.status_code, head.content) == (200, b"")


def test_refusals_of_the_ledger_have_anthropics_shape(gateway: Family) -> None:
    with httpx.Client(base_url=gateway.url) as client:
        status, kind, message = error_of(client.get("/spend/logs"))
        assert (status, kind) == (401, "authentication_error")
        assert "no key came with it" in message
        status, kind, message = error_of(client.get("/spend/logs", headers={"x-api-key": "sk-other"}))
        assert (status, kind) == (401, "authentication_error")
        assert "sk-other" not in message
        client.headers.update(HEADERS)
        status, kind, message = error_of(client.get("/spend/logs?usr=1"))
        assert (status, kind) == (400, "invalid_request_error")
        assert "`usr`" in message
        assert error_of(client.get("/spend/nothing"))[:2] == (404, "not_found_error")
        assert error_of(client.post("/spend/logs"))[:2] == (405, "invalid_request_error")
        assert client.head("/spend/nothing").status_code == 404


def test_large_answer_waits_for_a_slow_client_and_delays_nobody(gateway: Family) -> None:
    url = f"{gateway.url}/spend/logs"
    with httpx.Client(base_url=gateway.url) as client, httpx.stream("GET", url, headers=HEADERS) as slow:
        before = gateway.row("control")["memory_bytes"]
        for _ in range(20):
            assert client.get("/v1/models").status_code == 200
        assert gateway.row("control")["memory_bytes"] < before + 12_000_000, "the list has 15 MB"
        assert len(json.loads(slow.read())) == MAX_LISTED


def test_ledger_says_when_its_control_plane_is_away(gateway: Family) -> None:
    with httpx.Client(base_url=gateway.url, headers=HEADERS) as client:
        control = gateway.pid("control")
        os.kill(control, signal.SIGSTOP)
        try:
            for _ in range(5):
                assert client.get("/v1/models").status_code == 200, "it is no part of relaying"
        finally:
            os.kill(control, signal.SIGKILL)
        until(lambda: not alive(control))
        away = client.get("/spend/logs")
        assert error_of(away)[:2] == (503, "api_error")
        assert away.headers["retry-after"] == "1"
        gateway.message("process runs again", name="control")
        assert client.get("/spend/logs/v2").status_code == 200
