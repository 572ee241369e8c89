"""The images of requests: fetched once for all who wait, counted, kept, and given up when nobody waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from ferryman.relay.fetch.images import Images, Names
from ferryman.relay.fetch.values import Failed, Inlined
from ferryman.wire.images import Wanted
from tests.conftest import Bench
from tests.support.edge import Connection, Upstream
from tests.support.fetching import DEADLINE_SECONDS, PDF, PNG, fetching, giving, sources
from tests.support.processes import until

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
TOGETHER = "what the request names is larger than {} bytes (`max_images_bytes`) together"


class Gate:
    """A server that answers when it is let, and counts who asks."""

    def __init__(self, line: Bench, body: bytes = PNG) -> None:
        self.open = threading.Event()
        self.body = body
        self.upstream: Upstream = line.upstream(self._script)
        self.url = self.upstream.url
        self.listed = f"127.0.0.1:{self.upstream.port}"

    def _script(self, connection: Connection) -> None:
        connection.request()
        assert self.open.wait(DEADLINE_SECONDS)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body) + self.body)

    async def asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.upstream.requests) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
def gate(line: Bench) -> Gate:
    return Gate(line)


async def outcome(images: Images, url: str, conversation: str = "c") -> Inlined | Failed:
    return (await images.inline(sources(url), conversation))[Wanted("image", url)]


@LOOPS
def test_all_who_want_the_same_wait_for_one_download(gate: Gate, loop: Callable[[], Any]) -> None:
    async def work(images: Images) -> None:
        asking = [asyncio.ensure_future(outcome(images, gate.url)) for _ in range(20)]
        await gate.asked(1)
        assert repr(images) == "<Images: 1 under way, 0 waiting>"
        gate.open.set()
        first, *others = await asyncio.gather(*asking)
        assert isinstance(first, Inlined)
        assert others == [first] * 19
        assert len(gate.upstream.requests) == 1
        assert repr(images) == "<Images: 0 under way, 0 waiting>"

    fetching(work, listed=gate.listed, loop=loop)


def test_other_conversation_and_other_kind_have_a_download_of_their_own(gate: Gate) -> None:
    gate.open.set()

    async def work(images: Images) -> None:
        await asyncio.gather(outcome(images, gate.url, "a"), outcome(images, gate.url, "b"))
        await images.inline(sources(gate.url, kind="document"), "a")
        assert len(gate.upstream.requests) == 3

    fetching(work, listed=gate.listed)


def test_request_without_sources_waits_for_nothing() -> None:
    async def work(images: Images) -> None:
        assert await images.inline([], "c") == {}

    fetching(work)


def test_each_source_of_a_request_has_its_own_outcome(line: Bench) -> None:
    png, pdf, gone = (
        line.upstream(giving(PNG)),
        line.upstream(giving(PDF)),
        line.upstream(giving(b"", status=404)),
    )

    async def work(images: Images) -> None:
        named = [*sources(png.url, gone.url, png.url), *sources(pdf.url, kind="document")]
        outcomes = await images.inline(named, "c")
        assert [wanted.url for wanted in outcomes] == [png.url, gone.url, pdf.url]
        assert [type(one) for one in outcomes.values()] == [Inlined, Failed, Inlined]
        assert len(png.requests) == 1

    fetching(work, listed=",".join(f"127.0.0.1:{one.port}" for one in (png, pdf, gone)))


def test_later_turns_have_the_same_bytes_whatever_the_server_sends_now(gate: Gate, tmp_path: Path) -> None:
    gate.open.set()
    directory = tmp_path / "images"

    async def work(images: Images) -> Inlined | Failed:
        return await outcome(images, gate.url)

    async def other(images: Images) -> Inlined | Failed:
        return await outcome(images, gate.url, "another conversation")

    first = fetching(work, listed=gate.listed, directory=directory)
    gate.body = PNG + b"changed"
    assert fetching(work, listed=gate.listed, directory=directory) == first
    assert len(gate.upstream.requests) == 1
    assert fetching(other, listed=gate.listed, directory=directory) != first


def test_workers_that_fetch_the_same_at_once_send_the_same(line: Bench, tmp_path: Path) -> None:
    numbers = iter(range(100))

    def script(connection: Connection) -> None:
        connection.request()
        body = PNG + b"%d" % next(numbers)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    upstream = line.upstream(script)
    listed = f"127.0.0.1:{upstream.port}"
    urls = [f"{upstream.url}/{number}" for number in range(5)]

    async def work(images: Images) -> dict[Wanted, Inlined | Failed]:
        return await images.inline(sources(*urls), "c")

    results: list[dict[Wanted, Inlined | Failed]] = []
    workers = [
        threading.Thread(
            target=lambda: results.append(fetching(work, listed=listed, directory=tmp_path / "i"))
        )
        for _ in range(3)
    ]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(DEADLINE_SECONDS)
    assert len(results) == 3
    assert results[0] == results[1] == results[2]
    assert all(isinstance(one, Inlined) for one in results[0].values())


def test_sum_of_a_request_is_counted_while_it_comes(line: Bench) -> None:
    """An endless image ends with what the request may have, though each image may be larger."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
        while True:
            connection.send(b"x" * 4096)

    upstreams = [line.upstream(script) for _ in range(3)]

    async def work(images: Images) -> None:
        outcomes = await images.inline(sources(*(one.url for one in upstreams)), "c")
        assert {type(one) for one in outcomes.values()} == {Failed}
        assert TOGETHER.format(50_000) in {one.reason for one in outcomes.values() if isinstance(one, Failed)}
        assert repr(images) == "<Images: 0 under way, 0 waiting>"

    listed = ",".join(f"127.0.0.1:{one.port}" for one in upstreams)
    fetching(work, listed=listed, max_image_bytes=10**9, max_images_bytes=50_000)


def test_image_that_stands_twice_counts_twice(gate: Gate, tmp_path: Path) -> None:
    gate.open.set()

    async def work(images: Images) -> None:
        twice = await images.inline(sources(gate.url, gate.url), "c")
        assert [type(one) for one in twice.values()] == [Inlined]
        thrice = await images.inline(sources(*[gate.url] * 3), "c")
        (failed,) = thrice.values()
        assert isinstance(failed, Failed)
        assert failed.reason == TOGETHER.format(2 * len(gate.body))

    gate.body = PNG.ljust(2048, b"\0")
    for directory in (None, tmp_path / "images"):  # what is kept counts as well
        fetching(work, listed=gate.listed, max_images_bytes=4096, max_image_bytes=4096, directory=directory)


def test_request_that_may_have_no_more_does_not_end_the_download_of_others(gate: Gate) -> None:
    async def work(images: Images) -> None:
        small = asyncio.ensure_future(images.inline(sources(*[gate.url] * 50), "c"))
        other = asyncio.ensure_future(outcome(images, gate.url))
        await gate.asked(1)
        gate.open.set()
        (failed,) = (await small).values()
        assert isinstance(failed, Failed)
        assert isinstance(await other, Inlined)
        assert len(gate.upstream.requests) == 1

    fetching(work, listed=gate.listed, max_images_bytes=2000, max_image_bytes=1024)


def test_who_comes_later_is_held_to_what_has_come_already(line: Bench) -> None:
    begun, finish = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PNG) + 1) + PNG)
        begun.set()
        assert finish.wait(DEADLINE_SECONDS)
        connection.send(b"x")

    upstream = line.upstream(script)

    async def work(images: Images) -> None:
        first = asyncio.ensure_future(outcome(images, upstream.url))
        await asyncio.to_thread(begun.wait, DEADLINE_SECONDS)
        (flight,) = images._flights.values()
        while repr(flight) != f"<Flight for 1, {len(PNG)} bytes>":  # noqa: ASYNC110  # `fetching` bounds it
            await asyncio.sleep(0.005)
        (failed,) = (await images.inline(sources(*[upstream.url] * 50), "c")).values()
        assert isinstance(failed, Failed)
        assert failed.reason == TOGETHER.format(2000)
        finish.set()
        assert isinstance(await first, Inlined)

    listed = f"127.0.0.1:{upstream.port}"
    fetching(work, listed=listed, max_images_bytes=2000, max_image_bytes=1024)


def test_mistake_of_ours_is_told_as_one_and_logged(gate: Gate) -> None:
    async def work(images: Images) -> None:
        failed = await outcome(images, gate.url)
        assert isinstance(failed, Failed)
        assert failed.reason == "Ferryman failed at it; its log says where"

    with capture_logs() as logged:
        fetching(work, listed=gate.listed, directory=Path("no\0path"))
    assert [line["event"] for line in logged] == ["task failed"]


def test_client_that_leaves_ends_its_download_and_nobody_elses(gate: Gate) -> None:
    async def work(images: Images) -> None:
        leaving, staying = (asyncio.ensure_future(outcome(images, gate.url)) for _ in range(2))
        alone = asyncio.ensure_future(outcome(images, gate.url, "alone"))
        await gate.asked(2)
        leaving.cancel()
        alone.cancel()
        await asyncio.wait({leaving, alone})
        gate.open.set()
        assert isinstance(await staying, Inlined)
        assert repr(images) == "<Images: 0 under way, 0 waiting>"
        # Who comes when a download was given up has a new one.
        assert isinstance(await outcome(images, gate.url, "alone"), Inlined)

    fetching(work, listed=gate.listed)


def test_client_that_leaves_before_anything_began_leaves_nothing(gate: Gate) -> None:
    async def work(images: Images) -> None:
        leaving = asyncio.ensure_future(outcome(images, gate.url))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        gate.open.set()
        assert isinstance(await outcome(images, gate.url), Inlined)

    fetching(work, listed=gate.listed)


def test_downloads_at_once_are_bounded_and_the_wait_for_a_place_as_well(gate: Gate) -> None:
    async def work(images: Images) -> None:
        images.limits = images.limits._replace(seconds=0.1)  # for a place; downloads have longer
        urls = [f"{gate.url}/{number}" for number in range(5)]
        asking = asyncio.ensure_future(images.inline(sources(*urls), "c"))
        await gate.asked(2)
        while repr(images) != "<Images: 2 under way, 0 waiting>":  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert len(gate.upstream.requests) == 2
        gate.open.set()
        first, second, *others = (await asking).values()
        assert isinstance(first, Inlined)
        assert isinstance(second, Inlined)
        held = "other downloads held all places for 0.1 s (`image_timeout_seconds`, `image_downloads`)"
        assert [one.reason for one in others if isinstance(one, Failed)] == [held] * 3

    fetching(work, listed=gate.listed, image_downloads=2)


def test_more_than_can_wait_are_told_to_try_again(gate: Gate) -> None:
    async def work(images: Images) -> None:
        many = [f"{gate.url}/{number}" for number in range(1002)]
        asking = asyncio.ensure_future(images.inline(sources(*many), "c"))
        await gate.asked(1)
        gate.open.set()
        last = list((await asking).values())[-1]
        assert isinstance(last, Failed)
        assert last.reason == "too many images wait to be fetched (`image_downloads`); try again in a moment"

    fetching(work, listed=gate.listed, image_downloads=1, max_image_bytes=1024)


def test_end_of_the_worker_leaves_nobody_waiting(gate: Gate) -> None:
    async def work(images: Images) -> None:
        running = asyncio.ensure_future(outcome(images, gate.url))
        await gate.asked(1)
        begun = asyncio.ensure_future(outcome(images, gate.url, "another"))
        await asyncio.sleep(0)
        await images.close()
        gate.open.set()
        for asking in (running, begun):
            failed = await asking
            assert isinstance(failed, Failed)
            assert failed.reason == "Ferryman is shutting down"

    fetching(work, listed=gate.listed)


def test_the_machines_own_resolver_is_asked_on_threads_of_its_own() -> None:
    async def work(_images: Images) -> None:
        found = await Names(1).lookup("localhost", 80)
        assert {address[4][0] for address in found} <= {"127.0.0.1", "::1"}
        with pytest.raises(socket.gaierror):
            await Names(1).lookup("nobody.invalid", 80)

    fetching(work)


def test_no_connection_is_left_open(gate: Gate) -> None:
    async def work(images: Images) -> None:
        asking = asyncio.ensure_future(outcome(images, gate.url))
        await gate.asked(1)
        asking.cancel()
        await asyncio.wait({asking})
        await asyncio.sleep(0)

    fetching(work, listed=gate.listed)
    gate.open.set()
    until(lambda: gate.upstream.ended.acquire(blocking=False), "ended")
