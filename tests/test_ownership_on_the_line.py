"""What a virtual key may name, as a worker keeps it; and what becomes of a request that waits for that."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from ferryman.limits.owner import Owner
from ferryman.model import Ended
from ferryman.relay.ownership import ASKED_AT_LEAST, MAX_ASKED_OF_KEY
from tests.conftest import Bench
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient, get, post
from tests.support.sharing import (
    AMY,
    ANN,
    BATCHES,
    BOB,
    EVE,
    OWNERS,
    PAGE,
    Shared,
    batch,
    by,
    message,
    not_there,
)
from tests.test_keys_on_the_line import error_of


@pytest.fixture
def shared(line: Bench) -> Shared:
    return Shared(line)


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


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/files/file_ann"])
def test_workspace_is_chosen_by_keys_that_see_all_and_no_others(shared: Shared, path: bytes) -> None:
    shared.open()
    asked = post(b"{}", path=path, headers=b"Anthropic-Workspace-ID: wrkspc_1\r\n")
    answer = shared.ask(ANN, asked)
    assert error_of(answer)[:2] == (403, "permission_error")
    assert "leave the header out" in error_of(answer)[2]
    assert not shared.sent
    assert shared.ask(EVE, asked).status == 200
    assert shared.sent[0].values(b"anthropic-workspace-id") == [b"wrkspc_1"]


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


def test_who_asks_for_what_is_not_there_does_not_keep_others_from_asking(
    line: Bench, clock: HeldClock
) -> None:
    shared = Shared(line, clock)  # which stands still, so that what is not there is waited for
    shared.open()
    made_up = [{"file_id": f"file_{number}"} for number in range(MAX_ASKED_OF_KEY - ASKED_AT_LEAST)]
    body = post(json.dumps({"messages": made_up}).encode())
    with RawClient(shared.gateway.port) as client, RawClient(shared.gateway.port) as second:
        client.send(by(BOB, body))
        shared.gateway.until(lambda: shared.book.asked)
        second.send(by(BOB, get(b"/v1/files/file_9")))
        shared.gateway.until(lambda: shared.ownership.waiting_count == 2)
        assert error_of(shared.get(BOB, b"/v1/files/file_8"))[:2] == (529, "overloaded_error")
        assert shared.get(ANN, b"/v1/files/file_ann").status == 200
        shared.gateway.pass_time(3)
        assert client.response().status == second.response().status == 404
    assert shared.get(BOB, b"/v1/files/file_bob").status == 200


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
