"""What a worker knows of owners: over a real socket to a real control plane and its database."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ferryman.clock import SystemClock
from ferryman.control.app import create_app
from ferryman.control.owners import Owners as Route
from ferryman.control.server import Server
from ferryman.errors import (
    NotFound,
    Overloaded,
    OwnersUnknown,
    StoreUnavailable,
    Unavailable,
    error_body,
    error_headers,
)
from ferryman.limits.owner import Owner, may_see
from ferryman.relay import owners as known
from ferryman.relay.ask import MAX_ANSWER_BYTES, Asker
from ferryman.relay.owners import Owners, asked_for, asking, cut, hidden, made_on, not_found, seen_by
from ferryman.store.owners import Made, insert_many
from ferryman.store.store import Store
from ferryman.wire.shown import REFUSED, Shown
from tests.support.gateway import HeldClock
from tests.support.stores import NOON

ANN = Owner("key-ann", "team-1")
AMY = Owner("key-amy", "team-1")
BOB = Owner("key-bob")
CAT = Owner("key-cat")


# ── who may see ──


@pytest.mark.parametrize(
    ("owner", "caller", "words"),
    [
        pytest.param(ANN, ANN, {"key", "team", "all", "?"}, id="own"),
        pytest.param(ANN, Owner("key-ann", "team-2"), {"key", "team", "all", "?"}, id="own, moved since"),
        pytest.param(ANN, AMY, {"team", "all"}, id="of the team"),
        pytest.param(ANN, BOB, {"all"}, id="of another team"),
        pytest.param(BOB, CAT, {"all"}, id="both of no team"),
        pytest.param(None, ANN, {"all"}, id="nobody's"),
    ],
)
def test_who_sees_what(owner: Owner | None, caller: Owner, words: set[str]) -> None:
    assert {one for one in ("key", "team", "all", "?") if may_see(owner, caller, one)} == words


def test_first_that_is_hidden_is_named() -> None:
    owners = {"a": ANN, "b": BOB}
    assert hidden(["a"], owners, ANN, "key") is None
    assert hidden([], {}, ANN, "key") is None
    assert hidden({"c", "b", "a"}, owners, ANN, "key") == "b"
    assert hidden({"c"}, owners, ANN, "all") is None


def test_what_is_hidden_is_told_as_what_is_not_there() -> None:
    error = not_found("file_\u20ac\n" + "x" * 500)
    assert isinstance(error, NotFound)
    assert b'"not_found_error"' in error_body(error, "r")
    assert "file_\\u20ac" in error.message
    assert len(error.message) < 400
    assert (b"x-should-retry", b"false") in error_headers(error)


def test_page_is_seen_by_makers_of_what_it_was_made_by() -> None:
    page = [
        Shown("file_ann"),
        Shown("file_bob", "sesn_ann"),
        Shown("file_new", "sesn_ann", (("sesn_new", "sessions"),)),
        Shown("file_amy", "sesn_amy"),
        Shown("file_nobody"),
        Shown(""),
    ]
    assert sorted(asked_for(page)) == [
        *("file_amy", "file_ann", "file_bob", "file_new", "file_nobody", "sesn_amy", "sesn_ann", "sesn_new"),
    ]
    owners = {"file_ann": ANN, "file_bob": BOB, "sesn_ann": ANN, "sesn_amy": AMY}
    seen = {sees: [one.id for one in page if seen_by("files", owners, ANN, sees)(one)] for sees in
            ("key", "team", "all")}  # fmt: skip
    assert seen["key"] == ["file_ann", "file_new"]
    assert seen["team"] == ["file_ann", "file_new", "file_amy"]
    assert len(seen["all"]) == 6
    assert made_on("files", page, owners, ANN) == {"file_new": "files", "sesn_new": "sessions"}
    skills = seen_by("skills", {}, ANN, "key")
    assert [skills(Shown(one)) for one in ("pptx", "skill_1")] == [True, False]


def test_list_is_cut_and_what_is_new_on_it_is_noted() -> None:
    body = (
        b'{"data":[{"id":"file_ann"},{"id":"file_bob"}, {"id":"file_new","scope":{"id":"sesn_ann"}}],'
        b'"has_more":true,"last_id":"file_new"}'
    )
    owners = {"file_ann": ANN, "file_bob": BOB, "sesn_ann": ANN}
    found = cut("files", body, owners, ANN, "key")
    assert found.body == body.replace(b'{"id":"file_bob"},', b"")
    assert found.made == {"file_new": "files"}
    assert cut("files", body, owners, CAT, "all") == (body, {})
    assert cut("files", body, owners, CAT, "key").body == b'{"data":[],"has_more":true,"last_id":"file_new"}'
    with pytest.raises(REFUSED):
        cut("files", b"{}", owners, ANN, "key")


# ── asking ──


class Script:
    """Answers questions as a test says, and keeps them."""

    def __init__(self, *answers: Mapping[str, Owner] | Exception) -> None:
        self.asked: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self._answers = list(answers)

    async def __call__(self, ids: list[str]) -> Mapping[str, Owner]:
        self.asked.append(ids)
        await self.go.wait()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {one: owner for one, owner in answer.items() if one in ids}


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def call() -> None:
        await work()

    asyncio.run(call())


def impatient(ask: known.Ask, clock: HeldClock | None = None, **more: Any) -> Owners:
    return Owners(ask, (clock or HeldClock()).monotonic, wait_seconds=0.0, **more)


def test_own_creation_is_known_at_once_and_without_a_question() -> None:
    async def work() -> None:
        ask = Script({})
        owners = impatient(ask)
        owners.learn(["file_1"], ANN)
        owners.learn(["file_1", "file_2"], BOB)
        assert owners.known(["file_1", "file_2"]) == {"file_1": ANN, "file_2": BOB}
        assert await owners.lookup(["file_1"], patient=True) == {"file_1": ANN}
        assert owners.known(["file_1", "file_3"]) is None
        assert ask.asked == []

    on_loop(work)


def test_answer_is_kept_and_that_nobody_knows_only_for_a_moment() -> None:
    async def work() -> None:
        ask, clock = Script({"file_1": ANN}), HeldClock()
        owners = impatient(ask, clock)
        for _ in range(2):
            assert await owners.lookup(["file_1", "file_2"], patient=True) == {"file_1": ANN}
        assert ask.asked == [["file_1", "file_2"]]
        clock.seconds += known.UNKNOWN_SECONDS
        assert await owners.lookup(["file_1", "file_2"], patient=True) == {"file_1": ANN}
        assert ask.asked[1:] == [["file_2"]]
        owners.learn(["file_2"], BOB)
        assert await owners.lookup(["file_2"], patient=True) == {"file_2": BOB}

    on_loop(work)


def test_list_does_not_make_anything_unknown() -> None:
    async def work() -> None:
        ask = Script({}, {"file_1": ANN})
        owners = impatient(ask)
        assert await owners.lookup(["file_1"], patient=False) == {}
        assert await owners.lookup(["file_1"], patient=True) == {"file_1": ANN}

    on_loop(work)


def test_what_was_made_elsewhere_a_moment_ago_is_waited_for() -> None:
    async def work() -> None:
        ask = Script({}, {}, {"file_1": ANN})
        owners = Owners(ask, SystemClock().monotonic, wait_seconds=30.0)
        assert await owners.lookup(["file_1"], patient=True) == {"file_1": ANN}
        assert ask.asked == [["file_1"]] * 3

    on_loop(work)


def test_those_who_ask_meanwhile_share_the_next_question() -> None:
    async def work() -> None:
        ask = Script({"file_1": ANN, "file_2": BOB})
        owners = impatient(ask)
        ask.go.clear()
        first = [asyncio.ensure_future(owners.lookup(["file_1"], patient=True)) for _ in range(3)]
        await soon(lambda: ask.asked)
        others = [asyncio.ensure_future(owners.lookup(["file_2", "file_1"], patient=True)) for _ in range(9)]
        await asyncio.sleep(0)
        others[0].cancel()
        first[0].cancel()
        ask.go.set()
        answers = await asyncio.gather(*first, *others, return_exceptions=True)
        assert sum(isinstance(one, asyncio.CancelledError) for one in answers) == 2
        assert [one for one in answers if isinstance(one, dict)][-1] == {"file_1": ANN, "file_2": BOB}
        assert len(ask.asked) == 2
        assert "0 waited for" in repr(owners)
        await owners.close()

    on_loop(work)


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("a mistake")])
def test_failure_is_told_to_all_who_wait_and_not_kept(failure: Exception) -> None:
    async def work() -> None:
        ask = Script(failure, {"file_1": ANN, "file_2": ANN})
        owners = impatient(ask)
        ask.go.clear()
        waiting = [asyncio.ensure_future(owners.lookup([one], patient=True)) for one in ("file_1", "file_2")]
        await soon(lambda: ask.asked)
        ask.go.set()
        for one in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(one, OwnersUnknown)
            assert {(b"x-should-retry", b"true"), (b"retry-after", b"1")} <= set(error_headers(one))
        assert await owners.lookup(["file_1"], patient=True) == {"file_1": ANN}

    on_loop(work)


def test_end_of_the_worker_ends_the_waiting() -> None:
    async def work() -> None:
        ask = Script({})
        ask.go.clear()
        owners = impatient(ask)
        waiting = asyncio.ensure_future(owners.lookup(["file_1"], patient=True))
        await soon(lambda: ask.asked)
        await owners.close()
        with pytest.raises(OwnersUnknown):
            await waiting

    on_loop(work)


def test_memory_is_bounded() -> None:
    async def work() -> None:
        owners = impatient(Script({}), most_known=3)
        owners.learn([f"file_{number}" for number in range(5)], ANN)
        assert "3 known" in repr(owners)
        assert owners.known(["file_2", "file_4"]) == {"file_2": ANN, "file_4": ANN}
        owners.learn(["file_5"], ANN)
        assert owners.known(["file_2"]) == {"file_2": ANN}, "it was of use after `file_3`"
        assert owners.known(["file_3"]) is None
        with pytest.raises(Overloaded):
            await owners.lookup([f"x_{n}" for n in range(known.MAX_WAITING + 1)], patient=False)
        await owners.lookup([f"x_{n}" for n in range(known.MAX_UNKNOWN + 5)], patient=True)
        assert owners.known(["x_0"]) is None
        assert owners.known([f"x_{known.MAX_UNKNOWN}"]) == {}

    on_loop(work)


# ── the control plane ──


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def control_plane(path: Path, lookup: Callable[[list[str]], dict[str, Owner]]) -> AsyncIterator[None]:
    route = Route(lookup)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    server = Server(create_app(route.routes(), SystemClock()))
    await server.listen([sock])
    try:
        yield
    finally:
        await server.stop()
        route.close()
        path.unlink()  # noqa: ASYNC240  # of a test


def test_worker_asks_the_store_by_way_of_the_control_plane(store: Store, short: Path) -> None:
    made = [Made(f"file_{n}", "files", ANN if n % 2 else BOB, NOON) for n in range(1_500)]
    with store._engines.write.begin() as connection:
        insert_many(connection, made)

    async def work() -> None:
        owners = Owners(asking(Asker(str(short / "c"))), SystemClock().monotonic, wait_seconds=0.0)
        ids = [one.id for one in made]
        async with control_plane(short / "c", store.owners.lookup):
            odd = ["file_x", "\u20ac", "a\0b", "\ud800", "x" * 201, ""]
            found = await owners.lookup([*ids, *odd], patient=True)
            assert found == {one.id: one.owner for one in made}
        with pytest.raises(OwnersUnknown):
            await owners.lookup(["file_y"], patient=True)
        assert await owners.lookup(ids[:3], patient=True) == {"file_0": BOB, "file_1": ANN, "file_2": BOB}
        async with control_plane(short / "c", store.owners.lookup):
            assert await owners.lookup(["file_y"], patient=True) == {}
        await owners.close()

    on_loop(work)


def test_upload_through_another_worker_is_found_when_its_journal_is_read(store: Store, short: Path) -> None:
    async def work() -> None:
        owners = Owners(asking(Asker(str(short / "c"))), SystemClock().monotonic, wait_seconds=30.0)
        async with control_plane(short / "c", store.owners.lookup):
            waiting = asyncio.ensure_future(owners.lookup(["file_1"], patient=True))
            await soon(lambda: "1 waited" not in repr(owners) and not waiting.done())
            with store._engines.write.begin() as connection:
                insert_many(connection, [Made("file_1", "files", ANN, NOON)])
            assert await waiting == {"file_1": ANN}
        await owners.close()

    on_loop(work)


def test_database_that_is_away_lets_nobody_see(short: Path) -> None:
    def away(_ids: list[str]) -> dict[str, Owner]:
        raise StoreUnavailable("away")

    async def work() -> None:
        owners = impatient(asking(Asker(str(short / "c"))))
        async with control_plane(short / "c", away):
            with pytest.raises(OwnersUnknown):
                await owners.lookup(["file_1"], patient=True)

    on_loop(work)


FINE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(FINE + b"Content-Length: 50\r\n\r\n{", id="broken off"),
        pytest.param(FINE + b"Content-Length: 1\r\n\r\n{", id="no JSON"),
        pytest.param(FINE + b"Content-Length: 2\r\n\r\n{}", id="of another shape"),
        pytest.param(b"nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}", id="an error"),
        pytest.param(FINE + b"\r\n" + b" " * (MAX_ANSWER_BYTES + 1), id="too long"),
    ],
)
def test_answer_that_cannot_be_used_is_none(short: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_unix_server(serve, short / "c")
        with pytest.raises(Unavailable):
            await asking(Asker(str(short / "c")))(["file_1"])
        server.close()

    on_loop(work)


def test_answer_that_does_not_come_is_waited_for_in_vain(short: Path) -> None:
    async def work() -> None:
        held: list[asyncio.StreamWriter] = []
        server = await asyncio.start_unix_server(lambda _, writer: held.append(writer), short / "c")
        with pytest.raises(Unavailable, match=r"0\.05 s"):
            await Asker(str(short / "c"), answer_seconds=0.05).post("/x", b"{}")
        for writer in held:
            writer.close()
        server.close()

    on_loop(work)
