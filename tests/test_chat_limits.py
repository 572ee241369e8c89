"""Keys, limits and budgets hold for chat completions, and an upstream that answers oddly is an error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from ferryman.limits.spec import Scope
from ferryman.model import Ended
from tests.conftest import Bench
from tests.support.chat import CHAT, MESSAGES, MODEL, client_of
from tests.support.edge import Connection
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, post
from tests.test_gate import COST_NANOUSD, Till
from tests.test_keys_on_the_line import LAPTOP, MASTER, spec


def test_a_stream_that_ends_too_early_is_an_error(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(b'data: {"type":"message_start","message":{"id":"m","model":"x"}}\n\n')
        connection.chunk(b"")

    gateway, _ = line.pair(script)
    with pytest.raises(openai.APIError, match="ended before it was whole"):
        list(client_of(line, gateway).chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))


@pytest.mark.parametrize("body", [b"{}", b"no json", b'{"id":"m","model":"x"}'])
def test_an_answer_that_is_no_message_is_an_error(line: Bench, body: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(body)

    gateway, _ = line.pair(script)
    with pytest.raises(openai.InternalServerError, match="cannot be read as a message"):
        client_of(line, gateway).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert gateway.entry().status == 502


def test_a_key_that_is_not_known_is_told_so_in_openais_shape(line: Bench) -> None:
    gateway, upstream = line.pair(master_key=MASTER)
    gateway.tell([spec()])
    with pytest.raises(openai.AuthenticationError, match="not known") as raised:
        client_of(line, gateway, "sk-unknown").chat.completions.create(model=MODEL, messages=MESSAGES)
    assert raised.value.type == "authentication_error"
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert not upstream.requests


def test_a_model_that_is_not_for_the_key_is_not_found(line: Bench) -> None:
    gateway, upstream = line.pair(master_key=MASTER)
    gateway.tell([spec(models=[["claude-haiku-*"]])])
    with pytest.raises(openai.NotFoundError):
        client_of(line, gateway, LAPTOP.decode()).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert not upstream.requests


@pytest.fixture
def till(line: Bench, short: Path, clock: HeldClock) -> Iterator[Till]:
    """Counters, a gateway that keeps them, and its upstream."""
    made = Till(line, short, clock)
    yield made
    line.close()
    made.table.close()


def test_limits_and_budgets_hold_for_chats(till: Till, line: Bench) -> None:
    limit, budget = till.limit("requests", 2), till.budget(10 * COST_NANOUSD, hold="expected")
    till.open(Scope("key:laptop", "key `laptop`", limits=[limit], budgets=[budget]))
    client = client_of(line, till.gateway, LAPTOP.decode())
    client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=20)
    assert (till.used(limit), till.spent(budget), till.held(budget)) == (1, COST_NANOUSD, 0)
    till.begin(budget, base_nanousd=10 * COST_NANOUSD)
    with pytest.raises(openai.RateLimitError, match="Budget reached") as raised:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=20)
    assert (raised.value.code, raised.value.type) == ("insufficient_quota", "billing_error")
    assert len(till.upstream.requests) == 1


def test_an_error_that_is_no_json_is_told_as_one(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 502 X\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n"
        connection.send(head + b"<h1>Bad Gateway</h1>")

    gateway, _ = line.pair(script)
    with pytest.raises(openai.InternalServerError, match="answered with status 502") as raised:
        client_of(line, gateway).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert raised.value.response.headers.get_list("content-type") == ["application/json"]


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"br", b"x", 400),
        (b"gzip", b"x", 400),
        (b"gzip", gzip.compress(b"[" * 2_000_000, mtime=0), 413),
        (b"gzip", gzip.compress(b"[" * 1_000, mtime=0), 400),
    ],
    ids=["unknown", "damaged", "too-long", "no-json"],
)
def test_a_compressed_body_that_cannot_be_read_is_refused(
    line: Bench, coding: bytes, body: bytes, status: int
) -> None:
    gateway, upstream = line.pair(max_body_bytes=1_000_000)
    headers = b"content-encoding: %b\r\n" % coding
    with RawClient(gateway.port) as client:
        answer = client.ask(post(body, path=CHAT.encode(), headers=headers))
    assert answer.status == status
    assert json.loads(answer.body)["error"].keys() == {"message", "type", "param", "code"}
    assert upstream.requests == []


def test_a_compressed_chat_is_held_to_a_budget_like_any_other(till: Till) -> None:
    budget = till.budget(10 * COST_NANOUSD, hold="ceiling")
    till.open(Scope("key:laptop", "key `laptop`", budgets=[budget]))
    body = gzip.compress(json.dumps({"model": MODEL, "messages": MESSAGES, "max_tokens": 20}).encode())
    headers = b"content-encoding: gzip\r\nx-api-key: %b\r\n" % LAPTOP
    with RawClient(till.gateway.port) as client:
        assert client.ask(post(body, path=CHAT.encode(), headers=headers)).status == 200
    assert till.spent(budget) == COST_NANOUSD


def test_a_client_that_leaves_while_its_chat_is_translated_is_recorded(line: Bench) -> None:
    gateway, _ = line.pair()
    large = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * 8_000_000}]}).encode()
    with RawClient(gateway.port) as client:
        client.send(post(large, path=CHAT.encode()))
    assert gateway.entry().ended in {Ended.CLIENT_GONE, Ended.DONE}
    gateway.until(lambda: not gateway.worker.line.held_bytes)
