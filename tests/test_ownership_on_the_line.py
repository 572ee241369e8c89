"""Whose is what, as a worker keeps it: what a key may name, what it is shown, and what is noted as its."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ferryman.errors import Unavailable
from ferryman.limits.owner import Owner
from ferryman.limits.spec import KeySpec
from ferryman.model import Ended
from ferryman.relay.ask import Asker
from ferryman.relay.held import MAX_ANSWER_BYTES
from ferryman.relay.owners import Ask, asking
from ferryman.relay.ownership import Ownership
from ferryman.settings import Settings
from ferryman.store.store import Store
from tests.conftest import KEY, Bench
from tests.support.edge import Connection, Script, Upstream
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, RawRequest, RawResponse, get, post
from tests.test_keys_on_the_line import MASTER, error_of, token_of
from tests.test_owners import control_plane

ANN, AMY, BOB, EVE = b"sk-ann", b"sk-amy", b"sk-bob", b"sk-eve"
TEAM = "team-1"
OWNERS = {
    "file_ann": Owner("id-ann", TEAM),
    "file_amy": Owner("id-amy", TEAM),
    "file_bob": Owner("id-bob"),
    "sesn_ann": Owner("id-ann", TEAM),
    "batch_ann": Owner("id-ann", TEAM),
}
BATCHES = b"/v1/messages/batches"
FAIR = b'{"id":"x"}'
PAGE = b'{"data":[{"id":"file_ann"}, {"id":"file_amy"},{"id":"file_bob"},{"id":"old"}],"has_more":false}'


def keys(sees: str = "key") -> list[KeySpec]:
    return [
        KeySpec(token_of(ANN), "id-ann", team_id=TEAM, sees=sees),
        KeySpec(token_of(AMY), "id-amy", team_id=TEAM, sees=sees),
        KeySpec(token_of(BOB), "id-bob", sees=sees),
        KeySpec(token_of(EVE), "id-eve", sees="all"),
    ]


class Book:
    """Stands for the control plane: tells owners, once it may; or is away."""

    def __init__(self, owners: Mapping[str, Owner]) -> None:
        self.owners = dict(owners)
        self.asked: list[list[str]] = []
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.is_away = False

    async def __call__(self, ids: list[str]) -> Mapping[str, Owner]:
        self.asked.append(ids)
        while not self.may_tell.is_set():  # noqa: ASYNC110  # another thread sets it
            await asyncio.sleep(0.005)
        if self.is_away:
            raise Unavailable("away")
        return {one: self.owners[one] for one in ids if one in self.owners}


class Shared:
    """A gateway that keeps keys apart, in front of an upstream that gives one answer."""

    def __init__(self, line: Bench, clock: HeldClock | None = None) -> None:
        self.line = line
        self.clock = clock
        self.book = Book(OWNERS)
        self.upstream: Upstream
        self.gateway: Gateway

    def open(
        self, body: bytes = FAIR, headers: bytes = b"", *, sees: str = "key", script: Script | None = None,
        status: int = 200, ask: Ask | None = None,
    ) -> None:  # fmt: skip
        def serve(connection: Connection) -> None:
            while True:
                connection.request()
                connection.answer(body, headers=headers, status=status)

        self.upstream = self.line.upstream(script or serve)
        settings = Settings(
            port=0, upstream_url=self.upstream.url, anthropic_api_key=KEY, master_key=MASTER, auth="keys"
        )
        self.gateway = self.line.enter(Gateway(settings, clock=self.clock, ask=ask or self.book))
        self.gateway.tell(keys(sees))

    @property
    def sent(self) -> list[RawRequest]:
        return self.upstream.requests

    @property
    def ownership(self) -> Ownership:
        found = self.gateway.worker.line.ownership
        assert found is not None
        return found

    def ask(self, key: bytes, request: bytes) -> RawResponse:
        with RawClient(self.gateway.port) as client:
            return client.ask(by(key, request))

    def get(self, key: bytes, path: bytes, method: bytes = b"GET") -> RawResponse:
        return self.ask(key, get(path, method=method))

    def post(self, key: bytes, path: bytes, body: object, headers: bytes = b"") -> RawResponse:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(key, post(text, path=path, headers=headers))


def by(key: bytes, request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return head + b"\r\nx-api-key: " + key + b"\r\n\r\n" + body


@pytest.fixture
def shared(line: Bench) -> Shared:
    return Shared(line)


def message(file_id: str, text: str = "") -> dict[str, Any]:
    content = [
        {"type": "text", "text": text},
        {"type": "tool_result", "content": [{"type": "document", "source": {"file_id": file_id}}]},
    ]
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}


def batch(file_id: str, text: str = "") -> dict[str, Any]:
    return {"requests": [{"custom_id": "a", "params": message(file_id, text)}]}


def not_there(answer: RawResponse, resource_id: str) -> bool:
    status, kind, said = error_of(answer)
    assert (status, kind) == (404, "not_found_error"), said
    assert resource_id in said
    assert answer.values(b"x-should-retry") == [b"false"]
    return True


# ── what is named ──


def test_upload_is_its_makers_at_once_and_nobody_elses(shared: Shared) -> None:
    shared.open(b'{"id":"file_new","type":"file"}')
    assert shared.post(ANN, b"/v1/files", b"--x").status == 200
    assert shared.gateway.entry().made == {"file_new": "files"}
    assert shared.get(ANN, b"/v1/files/file_new/content").status == 200
    assert shared.post(ANN, b"/v1/messages", message("file_new")).status == 200
    assert len(shared.sent) == 3
    for key in (AMY, BOB):
        assert not_there(shared.get(key, b"/v1/files/file_new"), "file_new")
        assert not_there(shared.get(key, b"/anthropic/v1/files/file%5Fnew", b"DELETE"), "file_new")
        assert not_there(shared.post(key, b"/v1/messages", message("file_new")), "file_new")
        assert not_there(shared.post(key, b"/v1/messages/count_tokens", message("file_new")), "file_new")
        assert not_there(shared.post(key, BATCHES, batch("file_new")), "file_new")
        assert not_there(shared.post(key, b"/v1/sessions", {"resources": message("file_new")}), "file_new")
    assert len(shared.sent) == 3
    assert shared.book.asked == []
    assert shared.gateway.entries[-1].ended is Ended.REFUSED
    assert not any(entry.made for entry in shared.gateway.entries[1:])


@pytest.mark.parametrize(
    ("sees", "seen"),
    [("key", {"file_ann"}), ("team", {"file_ann", "file_amy"}), ("all", set(OWNERS) - {"x"} | {"old"})],
)
def test_share_decides_who_sees_what_others_have_made(
    line: Bench, clock: HeldClock, sees: str, seen: set[str]
) -> None:
    shared = Shared(line, clock)
    shared.open(sees=sees)
    for file_id in ("file_ann", "file_amy", "file_bob"):
        answer = shared.get(ANN, b"/v1/files/" + file_id.encode())
        assert answer.status == 200 if file_id in seen else not_there(answer, file_id)
        answer = shared.post(ANN, b"/v1/messages", message(file_id))
        assert answer.status == 200 if file_id in seen else not_there(answer, file_id)


def test_what_nobody_knows_is_not_there_once_it_was_waited_for(line: Bench, clock: HeldClock) -> None:
    shared = Shared(line, clock)
    shared.open()
    with RawClient(shared.gateway.port) as client:
        client.send(by(ANN, get(b"/v1/files/file_old")))
        shared.gateway.until(lambda: shared.ownership.waiting_count)
        shared.gateway.until(lambda: len(shared.book.asked) > 1)
        shared.gateway.pass_time(3)
        assert not_there(client.response(), "file_old")
        shared.book.owners["file_new"] = OWNERS["file_ann"]
        assert client.ask(by(ANN, get(b"/v1/files/file_new"))).status == 200
    assert shared.ownership.waiting_count == 0


@pytest.mark.parametrize("path", [BATCHES + b"/batch_ann", BATCHES + b"/batch_ann/results"])
def test_batch_and_its_results_are_its_makers(shared: Shared, path: bytes) -> None:
    shared.open(b'{"id":"batch_ann","results_url":null}')
    assert shared.get(ANN, path).status == 200
    assert not_there(shared.get(BOB, path), "batch_ann")
    assert len(shared.sent) == 1


def test_skill_of_anthropics_own_is_read_by_everybody_and_changed_by_nobody(
    line: Bench, clock: HeldClock
) -> None:
    shared = Shared(line, clock)
    shared.open()
    assert shared.get(BOB, b"/v1/skills/pptx").status == 200
    with RawClient(shared.gateway.port) as client:
        client.send(by(BOB, get(b"/v1/skills/pptx", method=b"DELETE")))
        shared.gateway.until(lambda: shared.ownership.waiting_count)
        shared.gateway.pass_time(3)
        assert not_there(client.response(), "pptx")


def test_profile_in_the_head_is_looked_at_too(shared: Shared) -> None:
    shared.book.owners["uprof_1"] = Owner("id-ann")
    shared.open()
    headers = b"Anthropic-User-Profile-Id: uprof_1\r\n"
    assert shared.post(ANN, b"/v1/messages", {"model": "m"}, headers).status == 200
    assert not_there(shared.post(BOB, b"/v1/messages", {"model": "m"}, headers), "uprof_1")


@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"DELETE"])
def test_collection_is_not_changed_as_a_whole(shared: Shared, method: bytes) -> None:
    shared.open()
    assert shared.get(ANN, b"/v1/files", method).status == 405
    assert shared.get(EVE, b"/v1/files", method).status == 200


def test_large_body_is_read_as_well(shared: Shared) -> None:
    shared.open(b'{"id":"batch_new","results_url":null}')
    text = "x" * 1_100_000
    for path, body in ((b"/v1/messages", message), (BATCHES, batch), (b"/v1/sessions", message)):
        assert shared.post(ANN, path, body("file_ann", text)).status == 200
        assert not_there(shared.post(BOB, path, body("file_ann", text)), "file_ann")
    assert shared.gateway.until(lambda: shared.gateway.worker.line.held_bytes == 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [(b"/v1/messages", message), (BATCHES, batch), (b"/v1/sessions", message)],
    ids=["messages", "batch", "session"],
)
def test_compressed_body_is_read_and_one_that_cannot_be_is_refused(
    shared: Shared, path: bytes, body: Any
) -> None:
    shared.open(b'{"id":"new","results_url":null}')
    text = json.dumps(body("file_ann")).encode()
    packed = gzip.compress(text)
    coding = b"Content-Encoding: gzip\r\n"
    assert shared.post(ANN, path, packed, coding).status == 200
    assert not_there(shared.post(BOB, path, packed, coding), "file_ann")
    hidden = gzip.compress(text[:10]) + gzip.compress(text[10:])
    for data, headers in (
        (hidden, coding),
        (packed, coding + coding),
        (gzip.compress(packed), b"Content-Encoding: gzip, gzip\r\n"),
        (packed, b"Content-Encoding: br\r\n"),
        (text, b"Content-Encoding: gzip\r\n"),
    ):
        assert error_of(shared.post(BOB, path, data, headers))[:2] == (400, "invalid_request_error")
    assert shared.post(ANN, path, text, b"Content-Encoding: identity\r\n").status == 200
    assert len(shared.sent) == 2


# ── what cannot be told, and who leaves ──


def test_without_the_control_plane_what_is_not_known_is_refused_and_the_rest_goes_on(shared: Shared) -> None:
    shared.book.is_away = True
    shared.open()
    for answer in (
        shared.get(ANN, b"/v1/files/file_ann"),
        shared.post(ANN, b"/v1/messages", message("file_ann")),
        shared.post(ANN, BATCHES, batch("file_ann")),
    ):
        assert error_of(answer)[:2] == (503, "api_error")
        assert answer.values(b"x-should-retry") == [b"true"]
    assert not shared.sent
    assert shared.post(ANN, b"/v1/messages", {"model": "m"}).status == 200
    assert shared.get(EVE, b"/v1/files/file_ann").status == 200
    shared.book.is_away = False
    assert shared.get(ANN, b"/v1/files/file_ann").status == 200


def test_client_that_leaves_while_its_request_waits_leaves_nothing(shared: Shared) -> None:
    shared.book.may_tell.clear()
    shared.open()
    with RawClient(shared.gateway.port) as client:
        client.send(by(ANN, post(json.dumps(message("file_ann")).encode())))
        shared.gateway.until(lambda: shared.book.asked)
    entry = shared.gateway.entry()
    assert (entry.ended, entry.attempts) == (Ended.CLIENT_GONE, 0)
    assert shared.ownership.waiting_count == 0
    assert shared.gateway.worker.line.held_bytes == 0
    assert not shared.gateway.worker.line.live
    shared.book.may_tell.set()
    assert shared.get(ANN, b"/v1/files/file_ann").status == 200
    assert len(shared.sent) == 1
    assert len(shared.gateway.entries) == 2


@pytest.mark.parametrize("request_of", [get(b"/v1/files/file_ann"), get(b"/v1/files")], ids=["path", "list"])
def test_shutdown_ends_what_waits(shared: Shared, request_of: bytes) -> None:
    shared.book.may_tell.clear()
    shared.open(PAGE)
    with RawClient(shared.gateway.port) as client:
        client.send(by(ANN, request_of))
        shared.gateway.until(lambda: shared.book.asked)
        shared.gateway.stop(0)
        assert client.response().status == 529
    (entry,) = shared.gateway.entries
    assert entry.ended is Ended.SHUTDOWN
    assert shared.ownership.waiting_count == 0


def test_upload_goes_on_as_it_comes_once_its_owner_is_known(shared: Shared) -> None:
    shared.book.owners["skill_1"] = Owner("id-ann")
    shared.open()
    body = b"--x" + b"y" * 300_000
    assert shared.post(ANN, b"/v1/skills/skill_1/versions", body).status == 200
    assert shared.sent[0].body == body
    assert not_there(shared.post(BOB, b"/v1/skills/skill_1/versions", body), "skill_1")


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


def test_errors_and_heads_pass(shared: Shared) -> None:
    shared.open(b"<html>", status=500)
    assert shared.get(ANN, b"/v1/files").body == b"<html>"
    with RawClient(shared.gateway.port) as client:
        answer = client.ask(by(ANN, get(b"/v1/files", method=b"HEAD")), head_only=True)
    assert answer.status == 500


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
