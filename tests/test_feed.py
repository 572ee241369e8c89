"""The feed between the control plane and its workers, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ferryman.clock import SystemClock
from ferryman.control.feed import FeedServer
from ferryman.process.messages import (
    MAX_MESSAGE_BYTES,
    MAX_PART_BYTES,
    MAX_SNAPSHOT_BYTES,
    Part,
    Snapshot,
    Version,
    WorkerState,
    framed,
    read_message,
)
from ferryman.relay.feed import Feed

DEADLINE_SECONDS = 10.0


def state(pid: int = 7, number: int = 1) -> WorkerState:
    return WorkerState(number=number, pid=pid, live=2, pool_open=3, held_bytes=4, snapshot_version=5)


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def call() -> None:
        await work()

    asyncio.run(call())


class Pair:
    """A control plane's end and a worker's, and what the worker has taken."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = str(path)
        self.taken: list[Snapshot] = []
        self.server = FeedServer(SystemClock())
        self.feed = Feed(self.path, self.state, on_snapshot=self.taken.append, **options)

    def state(self) -> WorkerState:
        version = self.feed.snapshot.version if self.feed.snapshot is not None else 0
        return WorkerState(number=1, pid=7, live=0, pool_open=0, held_bytes=0, snapshot_version=version)

    async def publish(self, parts: dict[str, bytes | None]) -> dict[str, Any]:
        """Publish, and wait until the worker has told that it works with it; what it then holds."""
        version = self.server.publish(parts)
        await soon(lambda: 1 in self.server.states and self.server.states[1].snapshot_version == version)
        assert self.feed.snapshot is not None
        return dict(self.feed.snapshot.parts)

    async def close(self) -> None:
        await self.feed.close()
        await self.server.close()


def test_worker_gets_what_is_published_and_tells_how_it_fares(short: Path) -> None:
    async def work() -> None:
        pair = Pair(short / "f")
        pair.feed.start()  # before anybody listens
        await asyncio.sleep(0.02)
        await pair.server.start(pair.path)
        assert await pair.publish({"a": b"1", "b": b"[2]"}) == {"a": b"1", "b": b"[2]"}
        assert not pair.server.all_gone.is_set()
        gone: list[bool] = []
        pair.server.on_gone = lambda: gone.append(True)
        assert await pair.publish({"b": b"3"}) == {"a": b"1", "b": b"3"}
        assert await pair.publish({"c": b"4", "a": None}) == {"b": b"3", "c": b"4"}
        first, last = pair.taken[0].version, pair.taken[-1].version
        assert (len(pair.taken), last) == (3, first + 2)
        assert pair.server.publish({"c": b"4", "a": None}) == last, "nothing has changed"
        await pair.feed.close()
        await soon(pair.server.all_gone.is_set)
        assert pair.server.states == {}
        assert gone == [True]
        await pair.close()

    on_loop(work)


def test_worker_keeps_what_it_has_until_the_next_control_plane_knows_what_there_is(short: Path) -> None:
    """A control plane that starts has read nothing yet: an empty snapshot would turn everybody away."""

    async def work() -> None:
        pair = Pair(short / "f")
        await pair.server.start(pair.path)
        pair.feed.start()
        await pair.publish({"a": b"1", "b": b"2"})
        await pair.server.close()
        (short / "f").unlink(missing_ok=True)
        assert pair.server.all_gone.is_set()
        pair.server = FeedServer(SystemClock())
        await pair.server.start(pair.path)
        await soon(lambda: pair.server.states)
        assert len(pair.taken) == 1
        assert await pair.publish({"b": b"3"}) == {"b": b"3"}, "all that there is now"
        assert len(pair.taken) == 2
        await pair.close()

    on_loop(work)


def test_exchanges_go_on_between_the_parts_of_a_large_snapshot(short: Path) -> None:
    """10 MB, as of 50,000 keys; decoded at once they would hold up a worker for a tenth of a second."""
    rows = {f"keys/{number}": msgspec.json.encode(["x" * 190] * 330) for number in range(160)}

    async def work() -> None:
        turns = 0
        turn_of_part: list[int] = []

        def made_of(_: str, data: msgspec.Raw) -> int:
            turn_of_part.append(turns)
            return len(msgspec.json.decode(data))

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        pair = Pair(short / "f", made_of=made_of)
        await pair.server.start(pair.path)
        pair.feed.start()
        turn()
        began = loop.time()
        parts = await pair.publish({**rows})
        assert loop.time() - began < 5
        assert parts == dict.fromkeys(rows, 330)
        assert len(set(turn_of_part)) == len(rows)
        assert len(pair.taken) == 1, "taken whole"
        await pair.publish({"keys/7": b"[]"})
        assert len(turn_of_part) == len(rows) + 1, "only what has changed is told"
        await pair.close()

    on_loop(work)


def test_slow_worker_gets_the_latest_and_nothing_is_queued_for_it(short: Path) -> None:
    async def work() -> None:
        server = FeedServer(SystemClock())
        await server.start(str(short / "f"))
        first = server.publish({"a": b"[%b]" % (b" " * MAX_PART_BYTES)[2:], "b": b"0"})
        reader, writer = await asyncio.open_unix_connection(str(short / "f"), limit=1024)
        await soon(lambda: server._changed and not any(one.is_set() for one in server._changed))
        last = 0
        for number in range(1, 100):
            last = server.publish({"b": b"%d" % number})
            await asyncio.sleep(0)
        told: list[Part | Version | None] = []
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not told or told[-1] != Version(last, whole=False):
                told.append(await read_message(reader, Part | Version))  # type: ignore[arg-type]  # a union is a type to msgspec
        assert [part.name for part in told if isinstance(part, Part)] == ["a", "b", "b"]
        assert told[2] == Version(first, whole=True)
        assert told[3] == Part("b", msgspec.Raw(b"99"))
        writer.close()
        await server.close()

    on_loop(work)


@pytest.mark.parametrize("mistake", ["malformed", "fails"])
def test_part_that_cannot_be_read_leaves_all_as_it_was(mistake: str, short: Path) -> None:
    def made_of(name: str, data: msgspec.Raw) -> Any:
        if name == "bad" and bytes(data) == b"0":
            raise ValueError("malformed") if mistake == "malformed" else ZeroDivisionError
        return bytes(data)

    async def work() -> None:
        pair = Pair(short / "f", made_of=made_of)
        await pair.server.start(pair.path)
        pair.feed.start()
        before = await pair.publish({"a": b"1"})
        pair.server.publish({"a": b"2", "bad": b"0"})
        await soon(pair.server.all_gone.is_set)
        assert pair.feed.snapshot is not None
        assert pair.feed.snapshot.parts == before
        assert await pair.publish({"bad": b"1"}) == {"a": b"2", "bad": b"1"}
        await pair.close()

    on_loop(work)


def test_what_is_too_large_is_not_published(short: Path) -> None:
    async def work() -> None:
        pair = Pair(short / "f")
        await pair.server.start(pair.path)
        pair.feed.start()
        largest = b'"%b"' % (b"x" * (MAX_PART_BYTES - 2))
        await pair.publish({"a": largest})
        with pytest.raises(ValueError, match=f"`b` has {MAX_PART_BYTES + 1} bytes"):
            pair.server.publish({"a": b"1", "b": largest + b" "})
        many = MAX_SNAPSHOT_BYTES // MAX_PART_BYTES
        with pytest.raises(ValueError, match="all parts have"):
            pair.server.publish({str(number): largest for number in range(many)})
        assert await pair.publish({"c": b"1"}) == {"a": largest, "c": b"1"}
        await pair.close()

    on_loop(work)


@pytest.mark.parametrize("noise", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x09{"])
def test_nonsense_on_the_feed_ends_its_connection_alone(short: Path, noise: bytes) -> None:
    async def work() -> None:
        server = FeedServer(SystemClock())
        version = server.publish({})
        await server.start(str(short / "f"))
        reader, writer = await asyncio.open_unix_connection(str(short / "f"))
        writer.write(noise)
        writer.write_eof()
        assert await read_message(reader, Version) == Version(version, whole=True)
        assert await reader.read() == b""
        writer.close()
        await soon(server.all_gone.is_set)
        await server.close()

    on_loop(work)


def test_state_of_a_worker_that_came_back_is_not_forgotten_with_its_former_connection(short: Path) -> None:
    async def work() -> None:
        server = FeedServer(SystemClock())
        await server.start(str(short / "f"))
        first, second, third = [(await asyncio.open_unix_connection(str(short / "f")))[1] for _ in range(3)]
        for writer in (first, second, third):
            server.states.clear()
            writer.write(framed(state()))
            await soon(lambda: server.states)
        first.close()
        await soon(lambda: len(server._changed) == 2)
        assert server.states == {1: state()}
        third.close()
        await soon(lambda: len(server._changed) == 1)
        second.close()  # its successor has told, and has gone
        await soon(lambda: not server._changed)
        assert server.states == {}
        await server.close()

    on_loop(work)


def test_message_that_is_too_large_is_refused() -> None:
    async def work() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))
        with pytest.raises(ValueError, match="at most"):
            await read_message(reader, Version)
        reader = asyncio.StreamReader()
        reader.feed_data(framed(Version(1, whole=True))[:-1])
        reader.feed_eof()
        assert await read_message(reader, Version) is None

    on_loop(work)
