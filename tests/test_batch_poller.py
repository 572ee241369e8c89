"""The poller against an upstream that fails: what it does not know for sure stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ferryman.control.batches import LONGEST_SECONDS, Poller, poll
from ferryman.model import NewBatch
from ferryman.pricing.batch import LIFE_DAYS
from ferryman.settings import Settings
from ferryman.store.read import Filter
from ferryman.store.store import Store
from tests.conftest import KEY, Bench
from tests.support.edge import Connection, Script
from tests.support.stores import NOON, entry, opened, sqlite_url

ENDED = b'{"id":"b/1","processing_status":"ended"}'
MESSAGE = b'{"model":"claude-opus-5-5","usage":{"input_tokens":1}}'
LINE = b'{"custom_id":"a","result":{"type":"succeeded","message":%b}}\n' % MESSAGE


class Held:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.at = NOON + timedelta(minutes=2)

    def now(self) -> float:
        return self.at.timestamp()

    def monotonic(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With one open batch, of two requests, a minute after noon."""
    with closing(opened(sqlite_url(tmp_path))) as one:
        one.migrate()
        one.write.insert_entries([entry(1, batch=NewBatch("b/1", 2), usage=None)])
        yield one


def ask(store: Store, line: Bench, *scripts: Script, clock: Held | None = None) -> list[bytes]:
    """Let a poller ask once; the targets that it has asked for."""

    def script(connection: Connection) -> None:
        scripts[connection.number - 1](connection)

    upstream = line.upstream(script)
    url = f"{upstream.url}/base"
    poller = Poller(Settings(upstream_url=url, anthropic_api_key=KEY), store, clock or Held())
    for due in poller.due():
        poller.ask(due)
    assert all(request.values(b"x-api-key") == [KEY.encode()] for request in upstream.requests)
    return [request.line for request in upstream.requests]


def giving(body: bytes, *, status: int = 200, missing: int = 0) -> Script:
    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body) + missing)
        connection.send(head + body)

    return script


def is_open(store: Store) -> bool:
    """Whether the batch is asked for again, and nothing was charged."""
    later = NOON + timedelta(seconds=61 + 2 * LONGEST_SECONDS)
    return len(store.batches.due(later, 10)) == 1 and len(store.read.page(Filter()).entries) == 1


def test_poller_settles_a_batch_that_has_ended(store: Store, line: Bench) -> None:
    asked = ask(store, line, giving(ENDED), giving(LINE * 2))
    path = b"GET /base/v1/messages/batches/b%2F1"
    assert asked == [path + b" HTTP/1.1", path + b"/results HTTP/1.1"]
    assert not is_open(store)
    assert len(store.read.page(Filter()).entries) == 2


@pytest.mark.parametrize(
    "scripts",
    [
        pytest.param([giving(b"{}", status=500)], id="error"),
        pytest.param([giving(b'{"processing_status":"in_progress"}')], id="in progress"),
        pytest.param([giving(b"<html>")], id="no JSON"),
        pytest.param([Connection.reset], id="reset"),
        pytest.param([giving(ENDED), giving(b"", status=500)], id="no results"),
        pytest.param([giving(ENDED), giving(LINE * 2, missing=5)], id="results cut"),
        pytest.param([giving(ENDED), giving(LINE)], id="too few results"),
        pytest.param([giving(ENDED), giving(LINE + b"<html>")], id="odd results"),
    ],
)
def test_what_is_not_known_for_sure_is_asked_again(store: Store, line: Bench, scripts: list[Script]) -> None:
    ask(store, line, *scripts)
    assert is_open(store)


def test_batch_that_the_upstream_does_not_know_is_lost(store: Store, line: Bench) -> None:
    ask(store, line, giving(b"{}", status=404))
    assert not is_open(store)


def test_batch_without_results_is_lost_when_they_are_kept_no_longer(store: Store, line: Bench) -> None:
    clock = Held()
    clock.at += timedelta(days=LIFE_DAYS, hours=1)
    ask(store, line, giving(ENDED), giving(b"{}", status=400), clock=clock)
    assert store.batches.due(clock.at + timedelta(days=1), 10) == []


def test_older_batches_are_asked_for_less_often(store: Store, line: Bench) -> None:
    clock = Held()
    clock.at = NOON + timedelta(minutes=61)
    ask(store, line, giving(b'{"processing_status":"in_progress"}'), clock=clock)
    assert store.batches.due(clock.at + timedelta(minutes=5.9), 10) == []
    assert len(store.batches.due(clock.at + timedelta(minutes=6), 10)) == 1


def test_without_a_key_of_the_server_nothing_is_asked(store: Store) -> None:
    asyncio.run(asyncio.wait_for(poll(Settings(), store, Held(), asyncio.Event()), 5))
    assert is_open(store)
