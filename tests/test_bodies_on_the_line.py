"""Bodies that are kept, as a worker copies and hands them over: no more than is wanted, or than fits."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import pytest

from ferryman.errors import Unavailable
from ferryman.limits.spec import KeySpec
from ferryman.process.messages import BodiesTold, BodyCopy, KeptBodies
from ferryman.relay import bodies as relay_bodies
from ferryman.relay.bodies import Bodies
from ferryman.relay.exchange import Exchange
from ferryman.relay.kept import KeptExchange
from tests.conftest import Bench
from tests.support.edge import Connection, Script, answering
from tests.support.gateway import Gateway
from tests.support.processes import until
from tests.support.raw import RawClient, post
from tests.test_keys_on_the_line import LAPTOP, spec

PROMPT = "the plans for the summer festival"
ANSWER = b'{"type":"message","content":[{"type":"text","text":"a fine plan"}],"usage":{"input_tokens":1}}'
MASTER = "sk-master-0123456789abcdefghij"


class Taken:
    """A control plane's side, which may be away."""

    def __init__(self, *, fails: int = 0) -> None:
        self.exchanges: list[KeptBodies] = []
        self.fails = fails
        self.tries = 0
        self._changed = threading.Condition()

    async def tell(self, told: BodiesTold) -> None:
        with self._changed:
            self.tries += 1
            self._changed.notify_all()
            if self.tries <= self.fails:
                raise Unavailable("away")
            self.exchanges += told.exchanges

    def first(self, number: int = 1) -> list[KeptBodies]:
        """The first exchanges that were told."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.exchanges) >= number, 10)
            return self.exchanges


def keeping(
    line: Bench, script: Script | None = None, mode: str = "redacted", cap: int = 1_000, **more: Any
) -> tuple[Gateway, Taken, Bodies]:
    """A gateway that keeps bodies, and where they go."""
    taken = Taken(fails=more.pop("fails", 0))
    bodies = Bodies(taken.tell, mode, cap, retry_seconds=0.01)
    upstream = line.upstream(script or answering(ANSWER))
    return line.gateway(upstream.url, bodies=bodies, **more), taken, bodies


def ask(gateway: Gateway, body: object, **more: Any) -> bytes:
    with RawClient(gateway.port) as client:
        return client.ask(post(json.dumps(body).encode(), **more)).body


def test_both_bodies_are_copied_as_they_went_by(line: Bench) -> None:
    gateway, taken, bodies = keeping(line)
    asked = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    assert ask(gateway, asked) == ANSWER
    [kept] = taken.first()
    assert kept.id == gateway.entries[0].id
    assert kept.mode == "redacted"
    assert json.loads(kept.request.data) == asked
    assert kept.response == BodyCopy(ANSWER, len(ANSWER), "application/json")
    until(lambda: bodies.held_bytes == 0)


def test_nothing_is_looked_at_where_nothing_is_kept(line: Bench) -> None:
    gateway, taken, bodies = keeping(line, mode="off")
    assert gateway.worker.server.new_handler.func is Exchange  # type: ignore[attr-defined]
    ask(gateway, {"model": "m"})
    assert (taken.exchanges, bodies.held_bytes) == ([], 0)


def test_what_is_no_message_is_not_copied(line: Bench) -> None:
    gateway, taken, _ = keeping(line)
    ask(gateway, {"a": PROMPT}, path=b"/v1/files")
    ask(gateway, {"model": "m"}, path=b"/v1/messages/count_tokens")
    [kept] = taken.first()
    assert kept.id == gateway.entries[1].id


def test_no_more_is_held_than_may_be_kept(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        for _ in range(50):
            connection.chunk(b'event: x\ndata: {"type":"x","a":"%b"}\n\n' % (b"y" * 80))
        connection.chunk(b"")

    gateway, taken, _ = keeping(line, script, cap=1_024)
    ask(gateway, {"model": "m", "stream": True, "messages": "z" * 5_000})
    [kept] = taken.first()
    assert kept.response is not None
    assert (len(kept.request.data), len(kept.response.data)) == (1_024, 1_024)
    assert kept.request.total_bytes > 5_000
    assert kept.response.total_bytes == gateway.entries[0].response_bytes


def test_request_is_copied_decoded_and_an_answer_as_it_came(line: Bench) -> None:
    packed = gzip.compress(ANSWER)
    gateway, taken, _ = keeping(line, answering(packed, headers=b"Content-Encoding: gzip\r\n"))
    with RawClient(gateway.port) as client:
        text = gzip.compress(b'{"model":"m"}')
        client.ask(post(text, headers=b"content-encoding: gzip\r\naccept-encoding: gzip\r\n"))
    [kept] = taken.first()
    assert kept.request.data == b'{"model":"m"}'
    assert kept.response == BodyCopy(packed, len(packed), "application/json", "gzip")


def test_request_that_had_no_answer_is_kept_alone(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.reset()

    gateway, taken, _ = keeping(line, script)
    ask(gateway, {"model": "m"})
    [kept] = taken.first()
    assert (kept.id, kept.response) == (gateway.entries[0].id, None)


@pytest.mark.parametrize(
    ("server", "own", "kept"),
    [
        ("redacted", "", "redacted"),
        ("redacted", "off", None),
        ("redacted", "full", "full"),
        ("off", "redacted", "redacted"),
        ("off", "full", "full"),
        ("off", "off", None),
    ],
)
def test_word_of_a_key_goes_before_that_of_the_settings(
    line: Bench, server: str, own: str, kept: str | None
) -> None:
    gateway, taken, bodies = keeping(line, mode=server, master_key=MASTER)
    other = spec(b"sk-another-0123456789", log_bodies="redacted")
    gateway.tell([spec(log_bodies=own), other])
    ask(gateway, {"model": "m"}, headers=b"x-api-key: " + LAPTOP + b"\r\n")
    ask(gateway, {"model": "m"}, headers=b"x-api-key: sk-another-0123456789\r\n")
    found = {one.id: one.mode for one in taken.first(1 + (kept is not None))}
    first, second = (entry.id for entry in gateway.entries)
    assert found == {second: "redacted"} | ({} if kept is None else {first: kept})
    until(lambda: bodies.held_bytes == 0)


def test_worker_asks_nothing_any_more_once_no_key_wants_it(line: Bench) -> None:
    gateway, _, _ = keeping(line, mode="off", master_key=MASTER)
    for own, kind in (("full", KeptExchange), ("off", Exchange), ("", Exchange)):
        gateway.tell([spec(log_bodies=own)])
        assert gateway.worker.server.new_handler.func is kind  # type: ignore[attr-defined]


def test_key_that_came_with_a_request_is_not_in_its_copy(line: Bench) -> None:
    gateway, taken, _ = keeping(line, mode="full", master_key=MASTER)
    key = b"sk-chosen!by~the=operator"
    gateway.tell([KeySpec(spec(key).token, "id")])
    ask(
        gateway,
        {"model": "m", "messages": "my key is " + key.decode()},
        headers=b"x-api-key: " + key + b"\r\n",
    )
    [kept] = taken.first()
    assert key not in kept.request.data
    assert b"my key is [key]" in kept.request.data


def test_bodies_wait_for_a_control_plane_that_is_away(line: Bench) -> None:
    gateway, taken, bodies = keeping(line, fails=5)
    for _ in range(3):
        assert ask(gateway, {"model": "m"}) == ANSWER
    assert [one.id for one in taken.first(3)] == [entry.id for entry in gateway.entries]
    assert taken.tries >= 6
    assert bodies.dropped == 0


def test_what_nobody_takes_is_dropped_and_the_line_goes_on(
    line: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_bodies, "MAX_HELD_BYTES", 4_000)
    gateway, taken, bodies = keeping(line, fails=10_000, cap=4_096)
    for _ in range(4):
        assert ask(gateway, {"model": "m", "messages": "x" * 2_000}) == ANSWER
    until(lambda: bodies.dropped >= 3)
    assert bodies.held_bytes <= 4_000
    until(lambda: bodies.held_bytes == 0 and bodies.dropped == 4)  # given up after `TRIES`
    assert taken.exchanges == []


def test_what_is_left_at_the_end_is_handed_over(line: Bench) -> None:
    gateway, taken, _ = keeping(line, fails=3)
    ask(gateway, {"model": "m"})
    gateway.stop(1)
    assert len(taken.exchanges) == 1
