"""What a virtual key is shown in lists, and what is noted as made with it."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from ferryman.errors import Unavailable
from ferryman.limits.owner import Owner
from ferryman.model import Ended
from ferryman.process.directory import RuntimeDirectory
from ferryman.relay.ask import Asker
from ferryman.relay.held import MAX_ANSWER_BYTES
from ferryman.relay.owners import Ask, asking
from ferryman.store.store import Store
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.gateway import HeldClock
from tests.support.processes import Family
from tests.support.raw import RawClient, get, post
from tests.support.sharing import (
    AMY,
    ANN,
    BATCHES,
    BOB,
    EVE,
    PAGE,
    TEAM,
    Shared,
    by,
    message,
    not_there,
)
from tests.test_keys_on_the_line import error_of
from tests.test_owners import control_plane


@pytest.fixture
def shared(line: Bench) -> Shared:
    return Shared(line)


# ── lists ──


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_list_shows_what_its_caller_sees(shared: Shared, packed: bool) -> None:
    coding = b"Content-Encoding: gzip\r\n" if packed else b""
    sent = gzip.compress(PAGE) if packed else PAGE
    shared.open(sent, coding)
    for key, seen in ((ANN, b'{"id":"file_ann"}'), (BOB, b'{"id":"file_bob"}')):
        answer = shared.get(key, b"/v1/files?limit=4")
        assert answer.body == b'{"data":[%b],"has_more":false}' % seen
        assert answer.values(b"content-length") == [b"%d" % len(answer.body)]
        assert answer.values(b"content-encoding") == []
        assert b"ownership" in answer.values(b"x-ferryman-mutations")[0]
    answer = shared.get(EVE, b"/v1/files?limit=4")
    assert answer.body == sent
    assert b"ownership" not in answer.values(b"x-ferryman-mutations")[0]
    assert shared.gateway.entry(1).ended is Ended.DONE
    assert shared.gateway.entry(1).response_bytes > 0


def test_list_asks_for_codings_that_can_be_read(shared: Shared) -> None:
    shared.open(PAGE)
    shared.ask(ANN, get(b"/v1/files", headers=b"Accept-Encoding: br, gzip\r\n"))
    assert shared.sent[0].values(b"accept-encoding") == [b"gzip"]


def test_list_of_batches_is_cut_and_its_addresses_are_edited(shared: Shared) -> None:
    element = b'{"id":"%b","results_url":"https://api.anthropic.com/v1/messages/batches/%b/results"}'
    shared.open(b'{"data":[%b,%b]}' % (element % (b"batch_bob", b"b"), element % (b"batch_ann", b"a")))
    answer = shared.get(ANN, BATCHES)
    (one,) = json.loads(answer.body)["data"]
    assert one == {"id": "batch_ann", "results_url": "http://gateway/v1/messages/batches/a/results"}
    assert answer.values(b"x-ferryman-mutations")[0].endswith(b"ownership, results_url")


def test_what_a_session_wrote_is_known_from_when_it_was_shown(shared: Shared) -> None:
    shared.open(b'{"data":[{"id":"file_s","scope":{"type":"session","id":"sesn_ann"}}]}')
    assert json.loads(shared.get(BOB, b"/v1/files").body) == {"data": []}
    assert len(json.loads(shared.get(ANN, b"/v1/files").body)["data"]) == 1
    assert shared.gateway.entry(2).made == {"file_s": "files"}
    assert shared.get(ANN, b"/v1/files/file_s").status == 200
    assert not_there(shared.get(BOB, b"/v1/files/file_s"), "file_s")


@pytest.mark.parametrize(
    "body",
    [b"{}", b"<html>", b'{"data":[{"id":"x"}],"data":[]}', b'{"data":["%b"]}' % (b"x" * MAX_ANSWER_BYTES)],
    ids=["no list", "no JSON", "two lists", "too long"],
)
def test_list_that_cannot_be_read_is_not_shown(shared: Shared, body: bytes) -> None:
    shared.open(body)
    assert error_of(shared.get(ANN, b"/v1/files"))[:2] == (502, "api_error")
    assert shared.gateway.entry().ended is Ended.UPSTREAM_ERROR
    assert shared.get(EVE, b"/v1/files").body == body


def test_errors_pass(shared: Shared) -> None:
    shared.open(b"<html>", status=500)
    assert shared.get(ANN, b"/v1/files").body == b"<html>"


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [(ANN, b"/v1/files", 405), (ANN, b"/v1/files/file_ann", 200), (EVE, b"/v1/files", 200)],
)
def test_nobody_is_told_how_long_a_list_is_that_is_cut_for_them(
    shared: Shared, key: bytes, path: bytes, status: int
) -> None:
    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        connection.wait_closed()

    shared.open(script=serve)
    with RawClient(shared.gateway.port) as client:
        answer = client.ask(by(key, get(path, method=b"HEAD")), head_only=True)
    assert answer.status == status
    assert (answer.values(b"content-length") == [b"1000"]) is (status == 200)


def test_list_needs_the_control_plane(shared: Shared) -> None:
    shared.book.is_away = True
    shared.open(PAGE)
    assert error_of(shared.get(ANN, b"/v1/files"))[:2] == (503, "api_error")
    assert shared.get(EVE, b"/v1/files").status == 200
    assert shared.ownership.waiting_count == 0


def test_client_that_leaves_while_its_list_waits_leaves_nothing(line: Bench, clock: HeldClock) -> None:
    shared = Shared(line, clock)
    shared.book.may_tell.clear()
    shared.open(PAGE)
    with RawClient(shared.gateway.port) as client:
        client.send(by(ANN, get(b"/v1/files")))
        shared.gateway.until(lambda: shared.book.asked)
        shared.gateway.pass_time(10_000)  # the upstream has done its part
        assert shared.gateway.worker.line.live
    assert shared.gateway.entry().ended is Ended.CLIENT_GONE
    shared.book.may_tell.set()
    assert shared.get(ANN, b"/v1/files").status == 200
    assert (shared.ownership.waiting_count, len(shared.gateway.entries)) == (0, 2)
    assert not shared.gateway.worker.line.live


# ── what Messages answers make ──

USAGE = '"usage":{"input_tokens":1,"output_tokens":1}'
BLOCK = '{"type":"bash_code_execution_tool_result","content":{"content":[{"file_id":"file_run"}]}}'
ANSWER = (
    f'{{"id":"msg_1","type":"message","model":"m","content":[{BLOCK}],"container":{{"id":"container_1"}},'
    f"{USAGE}}}"
).encode()
MADE = {"container_1": "containers", "file_run": "files"}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_answer_tells_its_container_and_its_files(shared: Shared, packed: bool) -> None:
    coding = b"Content-Encoding: gzip\r\n" if packed else b""
    shared.open(gzip.compress(ANSWER) if packed else ANSWER, coding)
    assert shared.post(ANN, b"/v1/messages", {"model": "m"}).status == 200
    assert shared.gateway.entry().made == MADE
    assert shared.post(ANN, b"/v1/messages", {"container": "container_1"}).status == 200
    assert not_there(shared.post(BOB, b"/v1/messages", {"container": "container_1"}), "container_1")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_answer_too_large_to_be_held_back_tells_them_as_well(shared: Shared, packed: bool) -> None:
    coding = b"Content-Encoding: gzip\r\n" if packed else b""
    large = ANSWER.replace(b'"content":[', b'"content":[{"type":"text","text":"%b"},' % (b"x" * 3_000_000))
    shared.open(gzip.compress(large) if packed else large, coding)
    assert shared.post(ANN, b"/v1/messages", {"model": "m"}).status == 200
    assert shared.gateway.entry().made == MADE
    assert not_there(shared.post(BOB, b"/v1/messages", {"container": "container_1"}), "container_1")


def test_stream_tells_them_before_its_end(shared: Shared) -> None:
    go_on = threading.Event()
    start = f'{{"type":"message_start","message":{{"container":{{"id":"container_1"}},{USAGE}}}}}'
    block = f'{{"type":"content_block_start","index":0,"content_block":{BLOCK}}}'

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(f"event: message_start\ndata: {start}\n\nevent: content_block_".encode())
        assert go_on.wait(10)
        connection.chunk(f"start\ndata: {block}\n\n".encode())
        connection.chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        connection.chunk(b"")
        connection.request()
        connection.answer()

    shared.open(script=script)
    with RawClient(shared.gateway.port) as client:
        client.send(by(ANN, post(b'{"model":"m","stream":true}')))
        client.read_until(b"message_start\n")
        assert not_there(shared.post(BOB, b"/v1/messages", {"container": "container_1"}), "container_1")
        go_on.set()
        client.read_until(b"0\r\n\r\n")
        assert shared.gateway.entry(2).made == MADE
        assert client.ask(by(ANN, post(b'{"container":"container_1"}'))).status == 200


# ── all the way to the database ──


def test_another_worker_knows_by_way_of_the_store(line: Bench, store: Store, short: Path) -> None:
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with control_plane(short / "c", store.owners.lookup):
            started.set()
            while not ended.is_set():  # noqa: ASYNC110  # another thread sets it
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert started.wait(10)
        first, second = Shared(line), Shared(line)
        first.open(b'{"id":"file_new"}')
        second.open(ask=asking(Asker(str(short / "c"))))
        assert first.post(ANN, b"/v1/files", b"--x").status == 200
        with RawClient(second.gateway.port) as client:
            client.send(by(ANN, get(b"/v1/files/file_new")))
            second.gateway.until(lambda: second.ownership.waiting_count)
            assert store.write.insert_entries([first.gateway.entry()]) == 1
            assert client.response().status == 200
        assert store.write.insert_entries([first.gateway.entry()]) == 0
        assert store.owners.lookup(["file_new"]) == {"file_new": Owner("id-ann", TEAM)}
        assert not_there(second.get(BOB, b"/v1/files/file_new"), "file_new")
        answer = second.post(AMY, b"/v1/messages", message("file_new"))
        assert not_there(answer, "file_new")
    finally:
        ended.set()
        thread.join(10)


async def told(ask: Ask) -> Mapping[str, Owner]:
    return await ask(["file_1"])


def test_workers_of_a_whole_gateway_can_ask_its_control_plane(tmp_path: Path) -> None:
    """On the socket that needs no key: that for what came to the workers would want the master key."""
    env = {"ANTHROPIC_API_KEY": "sk-ant", "FERRYMAN_MASTER_KEY": "sk-1234"}
    with Family(tmp_path, "--upstream-url", "http://127.0.0.1:9", env=env) as family:
        directory = RuntimeDirectory(family.runtime)
        for socket_path, is_told in ((directory.control, True), (directory.relayed, False)):
            ask = asking(Asker(str(socket_path)))
            if is_told:
                assert asyncio.run(told(ask)) == {}
            else:
                with pytest.raises(Unavailable):
                    asyncio.run(told(ask))
