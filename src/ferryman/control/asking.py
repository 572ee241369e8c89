"""Questions to the database, a few at a time and in threads, never on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.responses import Response

from ferryman.errors import Overloaded, StoreUnavailable, Unavailable

THREADS = 2
"""Reports at once: of the store's few connections some stay free for writing and for all else."""

MAX_WAITING = 32
"""Reports under way and waiting; some seconds of work."""

NOT_STORED = {"cache-control": "no-store"}

T = TypeVar("T")


class Asking:
    """Threads for reports.

    Attributes:
        threads: for the rest of a report that is under way.
    """

    def __init__(self, what: str = "reports", source: str = "the ledger") -> None:
        """Threads are started when they are needed.

        Args:
            what: is asked, for messages.
            source: of whom.
        """
        self.threads = ThreadPoolExecutor(THREADS, f"ferryman.{what}")
        self._what = what
        self._source = source
        self._waiting = 0
        self._refusals = 0  # of the database
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<Asking {self._waiting} waiting>"

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def answered(self, answer: Callable[[], bytes]) -> Response:
        """The JSON that `answer` makes, as a response; errors as of `in_thread`."""
        body = await self.in_thread(answer)
        return Response(body, media_type="application/json", headers=NOT_STORED)

    async def in_thread(self, ask: Callable[[], T]) -> T:
        """What `ask` returns.

        Raises:
            Overloaded: too many are asking.
            Unavailable: the database is away.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} {self._what} are under way already; try again in a moment.")
        self._waiting += 1
        before = self._refusals

        def ask_unless_refused() -> T:
            # Whoever waited for a thread meanwhile would wait as long again, one after the other.
            if self._refusals != before:
                raise StoreUnavailable(self._refusal)
            try:
                return ask()
            except StoreUnavailable as error:
                self._refusal = str(error)
                self._refusals += 1
                raise

        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, ask_unless_refused)
        except StoreUnavailable as error:
            raise Unavailable(f"{self._source} cannot be read for now: {error}.") from error
        finally:
            self._waiting -= 1
