"""Answers about batches on their way through a worker: what is edited, what is refused, what is recorded."""

from __future__ import annotations

import gzip
import threading

import httpx
import pytest

from ferryman.model import Ended
from ferryman.relay.held import MAX_ANSWER_BYTES
from tests.conftest import Bench
from tests.support.edge import Connection, Script
from tests.support.raw import RawClient

BATCHES = "/v1/messages/batches"
THEIRS = b"https://api.anthropic.com/v1/messages/batches/b_1/results"
SHOWN = b'{"id":"b_1", "results_url": "%b"}' % THEIRS
MESSAGE = b'{"model":"claude-opus-5-5","usage":{"input_tokens":1}}'
LINE = b'{"custom_id":"a","result":{"type":"succeeded","message":%b}}\n' % MESSAGE


def giving(body: bytes, *, status: int = 200, headers: bytes = b"") -> Script:
    """An upstream that answers one request so."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(body, status=status, headers=headers)

    return script


def test_gzip_that_nobody_asked_for_goes_decoded_if_it_has_to_be_edited(line: Bench) -> None:
    gateway, upstream = line.pair(giving(gzip.compress(SHOWN), headers=b"Content-Encoding: gzip\r\n"))
    answer = httpx.get(f"{gateway.url}{BATCHES}/b_1")
    assert upstream.requests[0].values(b"accept-encoding") == [b"identity"]
    assert "content-encoding" not in answer.headers
    assert answer.content == SHOWN.replace(b"https://api.anthropic.com", gateway.url.encode())


def test_gzip_without_an_address_passes_as_it_came(line: Bench) -> None:
    body = gzip.compress(b'{"id":"b_1","results_url":null}')
    gateway, _ = line.pair(giving(body, headers=b"Content-Encoding: gzip\r\n"))
    with httpx.stream("GET", f"{gateway.url}{BATCHES}/b_1") as answer:
        assert b"".join(answer.iter_raw()) == body
    assert answer.headers["x-ferryman-mutations"] == "anthropic-version"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"<html>results_url</html>", b"", id="no JSON"),
        pytest.param(SHOWN, b"Content-Encoding: br\r\n", id="unknown coding"),
        pytest.param(SHOWN, b"Content-Encoding: gzip\r\n", id="damaged gzip"),
        pytest.param(gzip.compress(b" " * (MAX_ANSWER_BYTES + 1)), b"Content-Encoding: gzip\r\n", id="bomb"),
        pytest.param(SHOWN[:-1] + b',"a":"%b"}' % (b"x" * MAX_ANSWER_BYTES), b"", id="too long"),
    ],
)
def test_answer_that_cannot_be_edited_is_refused(line: Bench, body: bytes, headers: bytes) -> None:
    gateway, _ = line.pair(giving(body, headers=headers))
    answer = httpx.get(f"{gateway.url}{BATCHES}")
    assert answer.status_code == 502
    assert b"api.anthropic.com" not in answer.content
    assert "credential" in answer.json()["error"]["message"]
    entry = gateway.entry()
    assert (entry.ended, entry.status) == (Ended.UPSTREAM_ERROR, 502)


@pytest.mark.parametrize("status", [204, 400, 404, 500])
def test_answer_that_shows_no_batch_passes(line: Bench, status: int) -> None:
    body = b"" if status == 204 else b"<html>no"
    gateway, _ = line.pair(giving(body, status=status))
    answer = httpx.get(f"{gateway.url}{BATCHES}/b_1")
    assert (answer.status_code, answer.content) == (status, body)


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"host": "gate.example:81"}, "http://gate.example:81"),
        ({"host": "gate.example", "x-forwarded-proto": "HTTPS, http"}, "https://gate.example"),
        ({"host": "gate.example", "x-forwarded-proto": "gopher"}, "http://gate.example"),
        ({"host": "gate.example", "x-forwarded-host": "evil.example"}, "http://gate.example"),
    ],
)
def test_address_is_the_one_that_the_client_has_called(
    line: Bench, headers: dict[str, str], base: str
) -> None:
    gateway, _ = line.pair(giving(SHOWN))
    answer = httpx.get(f"{gateway.url}/anthropic{BATCHES}/b_1", headers=headers)
    assert answer.json()["results_url"] == f"{base}/anthropic{BATCHES}/b_1/results"


def test_trusted_proxy_tells_the_host_that_it_was_called_by(line: Bench) -> None:
    gateway, _ = line.pair(giving(SHOWN), trusted_proxies="127.0.0.1")
    headers = {"x-forwarded-host": "claude.example.org", "x-forwarded-proto": "https"}
    answer = httpx.get(f"{gateway.url}{BATCHES}/b_1", headers=headers)
    assert answer.json()["results_url"] == f"https://claude.example.org{BATCHES}/b_1/results"


def test_creation_is_recorded_though_its_client_has_left(line: Bench) -> None:
    left = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        assert left.wait(10)
        connection.answer(b'{"id":"b_1","results_url":null}')

    gateway, upstream = line.pair(script)
    body = b'{"requests":[{"params":{"model":"m","max_tokens":5}}]}'
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BATCHES.encode(), len(body))
    with RawClient(gateway.port) as client:
        client.send(head + body)
        gateway.until(lambda: upstream.requests)
    gateway.until(lambda: gateway.worker.line.drains)
    left.set()
    entry = gateway.entry()
    assert entry.ended is Ended.CLIENT_GONE
    assert entry.batch is not None
    assert (entry.batch.id, entry.batch.models) == ("b_1", {"m": 1})


def results(body: bytes, *, ends: bool) -> Script:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(body)
        if ends:
            connection.chunk(b"")
        else:
            connection.reset()

    return script


def test_results_that_break_off_settle_nothing(line: Bench) -> None:
    gateway, _ = line.pair(results(LINE, ends=False))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{gateway.url}{BATCHES}/b_1/results")
    assert gateway.entry().settles is None


@pytest.mark.parametrize("prefix", ["", "/anthropic"])
def test_results_go_by_and_are_added_up(line: Bench, prefix: str) -> None:
    gateway, _ = line.pair(results(LINE * 3, ends=True))
    assert httpx.get(f"{gateway.url}{prefix}{BATCHES}/b%5F1/results?a=b").content == LINE * 3
    found = gateway.entry().settles
    assert found is not None
    assert (found.id, found.lines, found.shares[0].usage.input_tokens) == ("b_1", 3, 3)


@pytest.mark.parametrize(("status", "headers"), [(206, b""), (404, b""), (200, b"Content-Encoding: br\r\n")])
def test_what_is_not_all_results_in_the_clear_settles_nothing(
    line: Bench, status: int, headers: bytes
) -> None:
    gateway, _ = line.pair(giving(LINE, status=status, headers=headers))
    with httpx.stream("GET", f"{gateway.url}{BATCHES}/b_1/results") as answer:
        assert b"".join(answer.iter_raw()) == LINE
    assert gateway.entry().settles is None
