"""Addresses are looked up once for all who ask, used for a while, and kept when a lookup fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from ferryman.http1.resolve import Address, Lookup, Resolver
from tests.support.gateway import HeldClock

DEADLINE_SECONDS = 5
GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(work: Coroutine[Any, Any, None], loop: Callable[[], Any] = asyncio.new_event_loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await work

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


def at(host: str) -> list[Address]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 443))]


class Names:
    """A name server: answers with `found` while `open` is set."""

    def __init__(self, found: Sequence[Address] | Exception = ()) -> None:
        self.found = found
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def lookup(self, host: str, port: int) -> Sequence[Address]:
        assert (host, port) == ("api.example", 443)
        self.asked += 1
        await self.open.wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def resolver(lookup: Lookup, clock: HeldClock, *, refresh: float = 30.0, patience: float = 5.0) -> Resolver:
    return Resolver(
        *("api.example", 443),
        refresh_seconds=refresh,
        monotonic=clock.monotonic,
        lookup=lookup,
        patience_seconds=patience,
    )


@LOOPS
def test_connects_at_the_same_time_share_one_lookup(clock: HeldClock, loop: Callable[[], Any]) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        names.open.clear()
        one = resolver(names.lookup, clock, refresh=0)
        asking = asyncio.gather(*(one.addresses() for _ in range(50)))
        await asyncio.sleep(0)
        names.open.set()
        assert await asking == [at("10.0.0.1")] * 50
        assert names.asked == 1
        assert repr(one) == "<Resolver api.example: 1 addresses>"

    run(main(), loop)


def test_answer_is_used_until_it_is_to_be_refreshed(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        one = resolver(names.lookup, clock)
        assert await one.addresses() == at("10.0.0.1")
        names.found = at("10.0.0.2")
        clock.seconds += 29.9
        assert (await one.addresses(), names.asked) == (at("10.0.0.1"), 1)
        clock.seconds += 0.1
        assert (await one.addresses(), names.asked) == (at("10.0.0.2"), 2)

    run(main())


def test_without_a_time_for_it_no_answer_is_used_twice(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        one = resolver(names.lookup, clock, refresh=0)
        for asked in range(1, 4):
            assert (await one.addresses(), names.asked) == (at("10.0.0.1"), asked)

    run(main())


@pytest.mark.parametrize("failure", [GONE, OSError(24, "Too many open files"), ()])
def test_last_addresses_are_used_on_with_one_warning_for_each_streak(
    clock: HeldClock, failure: Sequence[Address] | Exception
) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        one = resolver(names.lookup, clock)
        await one.addresses()
        for _ in range(2):
            names.found = failure
            for _ in range(3):
                clock.seconds += 30
                assert await one.addresses() == at("10.0.0.1")
                assert await one.addresses() == at("10.0.0.1")  # not asked again at once
            names.found = at("10.0.0.1")
            clock.seconds += 30
            await one.addresses()
        assert names.asked == 1 + 2 * 4

    with capture_logs() as logged:
        run(main())
    assert [each["log_level"] for each in logged] == ["warning", "info"] * 2
    assert logged[0]["host"] == "api.example"
    assert logged[0]["reason"]


def test_lookup_that_hangs_holds_up_nobody_who_has_addresses(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        one = resolver(names.lookup, clock, patience=0.01)
        await one.addresses()
        names.open.clear()
        names.found = at("10.0.0.2")
        for _ in range(3):
            clock.seconds += 30
            assert await one.addresses() == at("10.0.0.1")
        assert names.asked == 2  # the one that hangs goes on
        names.open.set()
        clock.seconds += 30
        assert await one.addresses() == at("10.0.0.2")
        await one.close()

    with capture_logs() as logged:
        run(main())
    assert [each["log_level"] for each in logged] == ["warning", "info"]
    assert logged[0]["reason"] == "no answer within 0.01 s"


def test_name_that_was_never_found_is_an_error_for_each_and_asked_for_again(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(GONE)
        one = resolver(names.lookup, clock)
        failed = await asyncio.gather(*(one.addresses() for _ in range(3)), return_exceptions=True)
        assert [(type(error), str(error)) for error in failed] == [(socket.gaierror, str(GONE))] * 3
        assert len({id(error) for error in failed}) == 3
        names.found = at("10.0.0.1")
        assert await one.addresses() == at("10.0.0.1")
        assert names.asked == 2

    with capture_logs() as logged:
        run(main())
    assert logged == []  # the requests that fail tell it


def test_mistake_in_a_lookup_is_logged_and_leaves_nobody_waiting(clock: HeldClock) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="broken off"):
            await resolver(Names(LookupError("ours")).lookup, clock).addresses()

    with capture_logs() as logged:
        run(main())
    assert [each["event"] for each in logged] == ["task failed"]


def test_one_who_gives_up_takes_the_lookup_from_nobody(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        names.open.clear()
        one = resolver(names.lookup, clock)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await one.addresses()
        names.open.set()
        assert (await one.addresses(), names.asked) == (at("10.0.0.1"), 1)

    run(main())


def test_end_gives_up_what_is_looked_up(clock: HeldClock) -> None:
    async def main() -> None:
        names = Names(at("10.0.0.1"))
        names.open.clear()
        one = resolver(names.lookup, clock)
        asking = asyncio.gather(one.addresses(), return_exceptions=True)
        await asyncio.sleep(0)
        await one.close()
        assert [type(error) for error in await asking] == [OSError]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@pytest.mark.parametrize(
    ("host", "family"), [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)]
)
def test_address_is_its_own_answer(host: str, family: int, clock: HeldClock) -> None:
    async def main() -> None:
        never = Names()
        one = Resolver(host, 80, refresh_seconds=0, monotonic=clock.monotonic, lookup=never.lookup)
        ((found, *_, address),) = await one.addresses()
        assert (found, address[:2], never.asked) == (family, (host, 80), 0)

    run(main())


def test_address_with_a_zone_is_looked_up_as_the_zone_has_a_number(clock: HeldClock) -> None:
    async def main() -> None:
        async def lookup(host: str, _: int) -> Sequence[Address]:
            return at(host)

        one = Resolver("fe80::1%lo", 80, refresh_seconds=0, monotonic=clock.monotonic, lookup=lookup)
        assert await one.addresses() == at("fe80::1%lo")

    run(main())


@LOOPS
def test_system_is_asked_by_default(clock: HeldClock, loop: Callable[[], Any]) -> None:
    async def main() -> None:
        one = Resolver("localhost", 80, refresh_seconds=0, monotonic=clock.monotonic)
        found = await one.addresses()
        assert found
        for _, kind, protocol, _, address in found:
            assert (kind, protocol) == (socket.SOCK_STREAM, socket.IPPROTO_TCP)
            assert address[0] in {"127.0.0.1", "::1"}

    run(main(), loop)
