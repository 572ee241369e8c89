"""One file on its way, for all requests that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ferryman.relay.fetch.values import Failed, Inlined
from ferryman.wire.images import Wanted

Hold = Callable[[int], bool]
"""Counts so many more bytes in memory, or less, and tells whether there is room for them."""


def uncounted(_size_bytes: int) -> bool:
    """For who has room for everything."""
    return True


class Share:
    """What one request may still take, over all files that it waits for.

    Attributes:
        limit_bytes: of all of them.
        left_bytes: of that.
        flights: that it waits for.
        reason: why it gets no more, for people.
    """

    def __init__(self, limit_bytes: int, hold: Hold) -> None:
        """`hold` is told what has come for the request, as large as it will be in its body."""
        self.limit_bytes = limit_bytes
        self.left_bytes = limit_bytes
        self.flights: list[Flight] = []
        self.reason = (
            f"what the request names is larger than {limit_bytes} bytes (`max_images_bytes`) together"
        )
        self._hold = hold
        self._held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count what has come; beyond the limit no file that is on its way is waited for any more."""
        self.left_bytes -= size_bytes
        in_base64 = (size_bytes + 2) // 3 * 4
        self._held_bytes += in_base64
        if not self._hold(in_base64):
            self.left_bytes = -1
            self.reason = "there is no room for it now (`max_held_bytes`)"
        if self.left_bytes < 0:
            for flight in self.flights:
                flight.give_up(self)

    def leave(self) -> None:
        """The request waits no more; what has come for it is its own to count."""
        self._hold(-self._held_bytes)
        self._held_bytes = 0
        flights, self.flights = self.flights, []
        for flight in flights:
            flight.drop(self)


class Flight:
    """One file on its way.

    It is given up when nobody waits for it any more, and goes on as long as one request does.

    Attributes:
        wanted: what is fetched.
        is_abandoned: it was given up; who comes now needs another.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.is_abandoned = False
        self._received_bytes = 0
        self._waiting: dict[Share, tuple[int, asyncio.Future[Inlined | Failed]]] = {}
        self._task: asyncio.Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<Flight for {len(self._waiting)}, {self._received_bytes} bytes>"

    def join(self, share: Share, times: int) -> asyncio.Future[Inlined | Failed]:
        """Wait for the file, which stands `times` in the request that `share` is of."""
        future: asyncio.Future[Inlined | Failed] = asyncio.get_running_loop().create_future()
        self._waiting[share] = times, future
        share.flights.append(self)
        if share.left_bytes < self._received_bytes * times:
            self.give_up(share)
        else:
            share.take(self._received_bytes * times)
        return future

    async def run(self, work: Coroutine[Any, Any, Inlined]) -> Inlined | Failed:
        """Do `work`, unless everybody has left before it began."""
        self._task = asyncio.current_task()
        if self.is_abandoned:
            work.close()
            return Failed(self.wanted, "nobody waits for it")
        return await work

    def on_bytes(self, size_bytes: int) -> None:
        """Count what has come against the shares of all who wait."""
        self._received_bytes += size_bytes
        for share, (times, _) in list(self._waiting.items()):
            share.take(size_bytes * times)

    def give_up(self, share: Share) -> None:
        """The request that `share` is of takes too much."""
        self._settle(share, Failed(self.wanted, share.reason))
        self._abandon_if_alone()

    def drop(self, share: Share) -> None:
        """The request that `share` is of waits no more."""
        self._waiting.pop(share, None)
        self._abandon_if_alone()

    def end(self, outcome: Inlined | Failed) -> None:
        """Tell all who wait."""
        self.is_abandoned = True
        for share in list(self._waiting):
            self._settle(share, outcome)

    def _settle(self, share: Share, outcome: Inlined | Failed) -> None:
        _, future = self._waiting.pop(share, (0, None))
        if future is not None and not future.done():
            future.set_result(outcome)

    def _abandon_if_alone(self) -> None:
        if not self._waiting and not self.is_abandoned:
            self.is_abandoned = True
            if self._task is not None:
                self._task.cancel()
