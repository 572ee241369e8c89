"""Sinks one by one: files that rotate, servers that refuse, functions that raise."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ferryman.control import sinks as sending
from ferryman.control.sinks import Runner, Sinks
from ferryman.errors import SinkFailed
from ferryman.model import Cost, Ended, Entry, Usage
from ferryman.store.outbox import KEPT
from ferryman.store.store import Store
from ferryman.telemetry.sinks.callback import Callback
from ferryman.telemetry.sinks.file import FileSink
from ferryman.telemetry.sinks.otlp import log_record
from ferryman.telemetry.sinks.post import Poster
from ferryman.telemetry.sinks.sink import Batch, Sink
from ferryman.telemetry.sinks.webhook import Webhook, key_of, signature
from tests.support.gateway import HeldClock
from tests.support.processes import until
from tests.support.receiver import Receiver
from tests.support.stores import entry, opened, sqlite_url


def batch(*numbers: int) -> Batch:
    entries = [entry(number) for number in numbers]
    return Batch(f"b{numbers[0]}", entries, [msgspec.json.encode(one) for one in entries])


def numbers_in(path: Path) -> list[int]:
    found = [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines() if line.startswith("{")]
    return [int(one.rpartition("-")[2], 16) for one in found]


# ── a file ──


def test_file_rotates_and_keeps_as_many_as_it_should(tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    with closing(FileSink(path, max_bytes=2 * len(batch(1).records[0]) + 10, keep=2)) as sink:
        for number in range(1, 9):
            sink.deliver(batch(number))
    files = [path, tmp_path / "entries.jsonl.1", tmp_path / "entries.jsonl.2"]
    assert [numbers_in(one) for one in files] == [[7, 8], [5, 6], [3, 4]]
    assert sorted(tmp_path.iterdir()) == files
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_that_is_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    with closing(FileSink(path, max_bytes=10**6, keep=2)) as sink:
        sink.deliver(batch(1))
        path.replace(tmp_path / "moved")
        sink.deliver(batch(2, 3))
    assert (numbers_in(tmp_path / "moved"), numbers_in(path)) == ([1], [2, 3])


def test_line_that_was_broken_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    path.write_text('{"id":"bro', "utf-8")
    with closing(FileSink(path, max_bytes=10**6, keep=2)) as sink:
        sink.deliver(batch(1))
    assert path.read_text("utf-8").startswith('{"id":"bro\n{')


def test_file_without_its_directory_fails_until_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "away" / "entries.jsonl"
    with closing(FileSink(path, max_bytes=10**6, keep=2)) as sink:
        with pytest.raises(SinkFailed, match="cannot be written: No such file"):
            sink.deliver(batch(1))
        path.parent.mkdir()
        sink.deliver(batch(1))
    assert numbers_in(path) == [1]


# ── a server ──


@pytest.mark.parametrize(
    ("status", "refused"), [(500, False), (401, False), (302, False), (400, True), (413, True)]
)
def test_answer_that_is_not_2xx_is_a_failure(status: int, *, refused: bool) -> None:
    with (
        Receiver(status, retry_after="7") as server,
        closing(Webhook(server.url, None, lambda: 5.0)) as sink,
        pytest.raises(SinkFailed, match=rf"127\.0\.0\.1 answered {status}") as caught,
    ):
        sink.deliver(batch(1))
    assert (caught.value.refused, caught.value.after_seconds) == (refused, 7)
    assert "webhook-signature" not in server.requests[0].headers


def test_server_that_nobody_reaches_is_a_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        closing(Poster(f"http://127.0.0.1:{port}", {})) as poster,
        pytest.raises(SinkFailed, match=r"127\.0\.0\.1 cannot be reached: .*refused"),
    ):
        poster.post(b"", {})


def test_user_and_password_go_as_authorization_and_nowhere_else() -> None:
    with Receiver() as server, closing(Poster(server.url.replace("//", "//me:p%40ss@") + "/x", {})) as poster:
        poster.post(b"{}", {})
        assert repr(poster) == "<Poster to 127.0.0.1>"
    assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert server.requests[0].path == "/x"


def test_signature_is_that_of_standard_webhooks() -> None:
    # The example of https://www.standardwebhooks.com's own libraries.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert key_of("whsec_not base64") == b"whsec_not base64"


# ── log records ──


def test_log_record_has_the_whole_entry_and_names_by_convention() -> None:
    one = entry(
        1,
        status=529,
        usage=Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=30),
        cost=Cost(5, "catalog", "r", [], model="claude-opus-4-5"),
    )
    told = log_record(one, msgspec.json.encode(one))
    values = {pair["key"]: next(iter(pair["value"].values())) for pair in told["attributes"]}
    assert msgspec.json.decode(told["body"]["stringValue"], type=Entry) == one
    assert (values["gen_ai.usage.input_tokens"], values["gen_ai.usage.output_tokens"]) == ("31", "2")
    assert values["gen_ai.request.model"] == values["gen_ai.response.model"] == "claude-opus-4-5"
    assert values["ferryman.cost_usd"] == 5e-9
    assert "enduser.id" not in values
    assert told["severityText"] == "ERROR"
    ended_at = datetime(2026, 11, 20, 12, 1, 1, 500_000, UTC)
    assert told["timeUnixNano"] == str(int(ended_at.timestamp() * 10) * 10**8)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "INFO"),
        ({"status": 404}, "WARN"),
        ({"status": 500}, "ERROR"),
        ({"ended": Ended.CLIENT_GONE}, "ERROR"),
    ],
)
def test_severity_follows_what_became_of_it(changes: dict[str, Any], text: str) -> None:
    assert log_record(entry(1, **changes), b"{}")["severityText"] == text


# ── a function ──


def test_what_a_function_raises_is_a_failure() -> None:
    def broken(_entries: list[dict[str, Any]]) -> None:
        raise KeyError("id")

    with pytest.raises(SinkFailed, match="callback ours raised KeyError: 'id'"):
        Callback("ours", broken).deliver(batch(1))


def test_function_that_exits_or_is_cancelled_has_failed_and_is_called_again(
    noting: Store, clock: HeldClock
) -> None:
    called: list[int] = []

    async def ours(entries: list[dict[str, Any]]) -> None:
        called.append(len(entries))
        if len(called) == 1:
            sys.exit("no settings")
        if len(called) == 2:
            task = asyncio.ensure_future(asyncio.sleep(0))
            task.cancel()
            await task

    sink = Callback("ours", ours)
    noting.outbox.begin("", [sink.name])
    noting.write.insert_entries([entry(1)])
    runner = run(sink, noting, clock)
    assert called == [1, 1, 1]
    assert (runner.delivered, runner.failures) == (1, 2)


# ── the runner ──


class Fickle:
    """A sink that fails as it is told."""

    name = "fickle"

    def __init__(self, *failures: SinkFailed | ZeroDivisionError) -> None:
        self.failures = [*failures]
        self.taken: list[list[str]] = []
        self.ids: list[str] = []

    def deliver(self, batch: Batch) -> None:
        self.ids.append(batch.id)
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append([one.id for one in batch.entries])

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def noting(tmp_path: Path, clock: HeldClock) -> Iterator[Store]:
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        store.write.noting = lambda: datetime.fromtimestamp(clock.now(), UTC)
        store.outbox.begin("", ["fickle"])
        yield store


def run(sink: Sink, store: Store, clock: HeldClock) -> Runner:
    runner = Runner(sink, store, clock, pause_seconds=0.001)
    runner.start()
    until(lambda: runner.behind_seconds() == 0 and store.outbox.next("", sink.name, 1) is None, "sent")
    runner.end()
    runner.join(10)
    return runner


def test_what_failed_is_sent_again_under_the_same_id(noting: Store, clock: HeldClock) -> None:
    noting.write.insert_entries([entry(1), entry(2)])
    sink = Fickle(SinkFailed("away"), ZeroDivisionError("a mistake"), SinkFailed("away"))
    runner = run(sink, noting, clock)
    assert sink.taken == [[entry(1).id, entry(2).id]]
    assert len(sink.ids) == 4
    assert len(set(sink.ids)) == 1
    assert (runner.delivered, runner.failures, runner.dropped) == (2, 3, 0)


def test_what_a_sink_refuses_again_and_again_holds_up_nothing_else(noting: Store, clock: HeldClock) -> None:
    noting.write.insert_entries([entry(1)])
    sink = Fickle(*(SinkFailed("no", refused=True) for _ in range(sending.MAX_REFUSALS)))
    runner = Runner(sink, noting, clock, pause_seconds=0.001)
    runner.start()
    until(lambda: runner.dropped == 1, "left out")
    noting.write.insert_entries([entry(2)])
    runner.wake()
    until(lambda: runner.delivered == 1, "delivered")
    runner.end()
    runner.join(10)
    assert sink.taken == [[entry(2).id]]


def test_what_a_sink_misses_by_age_is_counted_and_goes_though_it_is_the_only_one(
    noting: Store, clock: HeldClock
) -> None:
    noting.write.insert_entries([entry(1), entry(2)])
    sink = Fickle(*[SinkFailed("away")] * 100)
    sinks = Sinks([sink], noting, clock)
    (runner,) = sinks.runners
    sinks.start()
    until(lambda: runner.failures > 0, "failed")
    clock.seconds += KEPT.total_seconds() + 1
    noting.write.insert_entries([entry(3)])
    until(lambda: runner.dropped, "left out")
    assert runner.behind_seconds() == 0
    sink.failures = []
    until(lambda: runner.delivered, "delivered")
    sinks.close()
    assert sink.taken == [[entry(3).id]]
    assert (runner.delivered, runner.dropped) == (1, 2)
