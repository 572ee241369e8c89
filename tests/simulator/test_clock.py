"""The clock by which batches end, moved from within and from without."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ferryman.simulator.clock import Clock
from ferryman.simulator.server import Server

PATH = "/simulator/clock"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_clock_goes_with_the_machine_until_it_is_moved() -> None:
    clock = Clock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    clock.advance(3_600)
    assert before + timedelta(hours=1) <= clock.now() <= datetime.now(UTC) + timedelta(hours=1)
    clock.hold(before)
    assert clock.now() == before
    clock.advance(60)
    assert clock.now() == before + timedelta(minutes=1)
    clock.reset()
    assert clock.now() <= datetime.now(UTC)


def test_clock_is_moved_over_http(server: Server) -> None:
    assert httpx.post(server.url + PATH, json={"hold_at": "2027-01-02T12:00:00Z"}).json() == {
        "now": "2027-01-02T12:00:00.000000Z"
    }
    moved = httpx.post(server.url + PATH, json={"advance_seconds": 1.5}).json()
    assert moved == httpx.get(server.url + PATH).json() == {"now": "2027-01-02T12:00:01.500000Z"}
    assert httpx.delete(server.url + PATH).json()["now"] != moved["now"]


@pytest.mark.parametrize(
    "sent", ["", "[]", '{"now": 1}', '{"advance_seconds": 1e300}', '{"hold_at": "noon"}']
)
def test_move_that_makes_no_sense_is_refused(server: Server, sent: str) -> None:
    answer = httpx.post(server.url + PATH, content=sent)
    assert answer.status_code == 400
    assert "clock: " in answer.json()["error"]["message"]


def test_server_that_was_not_started_has_no_clock() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = Server().clock
