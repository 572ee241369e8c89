"""Every task has a name, an owner and an end."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import structlog

from ferryman.tasks import TaskOwner
from ferryman.telemetry.log import configure

DEADLINE_SECONDS = 10


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged meanwhile, as JSON lines."""
    before = structlog.get_config()
    target = io.StringIO()
    configure(level="info", text=False, stream=target)
    yield target
    structlog.configure(**before)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await work

    asyncio.run(bounded())


async def fail() -> None:
    raise LookupError("what went wrong")


async def wait_forever(begun: asyncio.Event) -> None:
    begun.set()
    await asyncio.Event().wait()


def test_task_is_named_after_its_owner_and_its_work() -> None:
    async def main() -> None:
        owner, names = TaskOwner("pool"), asyncio.Queue[str]()

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            names.put_nowait(task.get_name())

        owner.spawn(work(), "connect")
        assert repr(owner) == "<TaskOwner pool: 1 running>"
        assert await names.get() == "pool.connect"
        await owner.close()
        assert repr(owner) == "<TaskOwner pool: 0 running>"

    run(main())


def test_what_a_task_raises_is_logged_with_its_traceback(logged: io.StringIO) -> None:
    async def main() -> None:
        owner = TaskOwner("pool")
        owner.spawn(fail(), "connect")
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait([task])
        assert repr(owner) == "<TaskOwner pool: 0 running>"

    run(main())
    (line,) = logged.getvalue().splitlines()
    record = json.loads(line)
    assert (record["level"], record["event"], record["task"]) == ("error", "task failed", "pool.connect")
    assert "in fail\n" in record["exception"]
    assert record["exception"].endswith("LookupError: what went wrong")


def test_close_cancels_what_runs_and_waits_for_its_end(logged: io.StringIO) -> None:
    ended = []

    async def main() -> None:
        owner = TaskOwner("pool")

        async def tidy(begun: asyncio.Event, number: int) -> None:
            try:
                await wait_forever(begun)
            finally:
                await asyncio.sleep(0)  # an end may take its time
                ended.append(number)

        begun = [asyncio.Event() for _ in range(3)]
        for number, event in enumerate(begun):
            owner.spawn(tidy(event, number), f"tidy-{number}")
        for event in begun:
            await event.wait()
        await owner.close()
        assert repr(owner) == "<TaskOwner pool: 0 running>"
        await owner.close()  # nothing is left; that is fine

    run(main())
    assert sorted(ended) == [0, 1, 2]
    assert logged.getvalue() == ""


def test_task_that_has_not_begun_is_cancelled_too() -> None:
    begun = asyncio.Event()

    async def main() -> None:
        owner = TaskOwner("pool")
        owner.spawn(wait_forever(begun), "never")
        await owner.close()

    run(main())
    assert not begun.is_set()


def test_failure_while_it_is_cancelled_is_logged_and_stops_nobody(logged: io.StringIO) -> None:
    async def main() -> None:
        owner, begun = TaskOwner("pool"), asyncio.Event()

        async def clumsy() -> None:
            try:
                await wait_forever(begun)
            finally:
                await fail()

        owner.spawn(clumsy(), "clumsy")
        await begun.wait()
        await owner.close()

    run(main())
    assert json.loads(logged.getvalue())["task"] == "pool.clumsy"
