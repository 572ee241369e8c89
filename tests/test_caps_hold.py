"""A cap is a cap: many calls at once, several workers, several gateways, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from proofs import caps

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.postgres import Server
from tests.support.processes import Family, until
from tests.test_soak import prove

MASTER = "sk-the-master-key"
MODEL = "claude-opus-4-8"
CALL = {"model": MODEL, "max_tokens": 1_000, "messages": [{"role": "user", "content": "x" * 900}]}
COST = Decimal("0.0225")
"""Of an answer: 500 tokens of input at $5 a million, and 800 of output at $25."""

ANSWER = json.dumps(
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
        "usage": {"input_tokens": 500, "output_tokens": 800},
    }
).encode()  # fmt: skip
CALLS = 200
ENVIRONMENT = {"LITELLM_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": "sk-ant"}

Start = Callable[..., Family]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        count = iter(range(10))

        def begin(*words: str, directory: Path | None = None, **environ: str) -> Family:
            place = directory or tmp_path / f"machine-{next(count)}"
            place.mkdir(exist_ok=True)
            return stack.enter_context(Family(place, *words, env=ENVIRONMENT | environ))

        yield begin


def charging(connection: Connection) -> None:
    """Answers for money, as long as somebody asks."""
    while True:
        try:
            connection.request()
        except TimeoutError:
            return
        connection.answer(ANSWER)


def own(family: Family, method: str, path: str, body: Any = None, **query: str) -> Any:
    """Ask the management API."""
    headers = {"authorization": f"Bearer {MASTER}"}
    response = httpx.request(method, family.url + path, json=body, params=query, headers=headers, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def call(url: str, key: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/messages", json=CALL, headers={"x-api-key": key}, timeout=30)


def call_at_once(urls: list[str], key: str, calls: int = CALLS) -> Counter[int]:
    """How many calls were answered with each status; refusals are those of a budget."""
    with ThreadPoolExecutor(calls) as pool:
        answers = list(pool.map(lambda number: call(urls[number % len(urls)], key), range(calls)))
    for answer in answers:
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["error"]["type"]) == (429, "billing_error"), answer.text
    return Counter(answer.status_code for answer in answers)


def spend_of(family: Family, key: str) -> Decimal:
    """What the key is told to have spent."""
    return Decimal(str(own(family, "GET", "/key/info", key=key)["info"]["spend"]))


def in_ledger(family: Family, key_id: str) -> Decimal:
    """The sum of the entries of a key."""
    page = own(family, "GET", "/spend/logs/v2", page_size="1000", api_key=key_id)
    return Decimal(sum(row["cost_nanousd"] or 0 for row in page["data"])) / 10**9


def test_calls_at_once_on_four_workers_never_pass_a_cap_with_ceilings(start: Start, line: Bench) -> None:
    family = start("--workers", "4", "--upstream-url", line.upstream(charging).url)
    made = own(family, "POST", "/key/generate", {"max_budget": 1, "budget_hold": "ceiling"})
    answered = call_at_once([family.url], made["key"])
    while call(family.url, made["key"]).status_code == 200:  # one by one, until nothing fits any more
        answered[200] += 1
    spent = answered[200] * COST
    assert Decimal("0.9") < spent <= 1
    assert spend_of(family, made["key"]) == spent
    until(lambda: in_ledger(family, made["token"]) == spent, "stored")
    assert spend_of(family, made["key"]) == spent


def test_calls_at_once_pass_a_cap_with_expectations_by_what_is_in_flight_at_most(
    start: Start, line: Bench
) -> None:
    family = start("--workers", "4", "--upstream-url", line.upstream(charging).url)
    made = own(family, "POST", "/key/generate", {"max_budget": 1})
    answered = call_at_once([family.url], made["key"])
    spent = answered[200] * COST
    hold = Decimal("0.15") * Decimal("0.035")  # of what is not known yet; the ceiling is $0.035
    assert Decimal("0.9") < spent <= 1 + CALLS * (COST - hold)
    assert spend_of(family, made["key"]) == spent
    until(lambda: in_ledger(family, made["token"]) == spent, "stored")


def test_two_gateways_on_one_database_share_a_cap_though_one_is_killed(
    start: Start, line: Bench, server: Server, tmp_path: Path
) -> None:
    url = server.database()
    upstream = line.upstream(charging).url
    first_place = tmp_path / "first"
    options = ("--workers", "2", "--upstream-url", upstream)
    first = start(*options, directory=first_place, DATABASE_URL=url)
    second = start(*options, DATABASE_URL=url)
    made = own(first, "POST", "/key/generate", {"max_budget": 1, "budget_hold": "ceiling"})
    until(lambda: call(second.url, made["key"]).status_code == 200, "known to the second gateway")
    done = 1
    with ThreadPoolExecutor(1) as killer:
        killing = killer.submit(_kill, first)
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda n: _tried((first, second)[n % 2].url, made["key"]), range(CALLS)))
        killing.result()
    done += sum(status == 200 for status in answers)
    assert done * COST <= 1
    again = start(*options, directory=first_place, DATABASE_URL=url)

    def all_is_spent() -> bool:
        nonlocal done
        statuses = [call(one.url, made["key"]).status_code for one in (again, second)]
        done += statuses.count(200)
        return statuses == [429, 429] and in_ledger(second, made["token"]) > Decimal("0.9")

    until(all_is_spent, "spent by whoever is left")
    # What was in flight in the killed gateway may have cost something that nobody was told of.
    assert done * COST <= in_ledger(second, made["token"]) <= 1
    assert spend_of(second, made["key"]) == in_ledger(second, made["token"])


def _tried(url: str, key: str) -> int:
    try:
        return call(url, key).status_code
    except httpx.TransportError:
        return 0


def _kill(family: Family) -> None:
    """Kill all of a gateway's processes at once, once it has done something."""
    family.rows()
    for pid in family.seen:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_caps_hold_and_slots_are_free_in_the_short_form_of_the_proof() -> None:
    output = prove("caps", "--calls", "350")
    assert "350 calls that fail or are given up" in output
    assert "48 of 48 slots are free" in output
    assert output.count("counter = sum of the ledger") == 3
    assert "$0.0000 above the cap" in output


def test_upstream_of_the_proof_closes_each_connection_that_the_gateway_gives_up() -> None:
    """What it left open, the collector closed in another thread, and took a new connection from its loop."""
    body = json.dumps({"metadata": {"user_id": "left"}}).encode()
    with (
        caps.Upstream() as upstream,
        socket.create_connection(("127.0.0.1", int(upstream.url.rpartition(":")[2]))) as sock,
    ):
        sock.settimeout(10)
        sock.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):
            pass
