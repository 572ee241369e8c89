"""`GET /spend/logs` and `GET /spend/logs/v2`: the entries of the ledger, with LiteLLM's names and our own.

The database is asked in threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ferryman.control.spend_query import MAX_LISTED, PageQuery, list_query, page_query
from ferryman.control.spend_row import row_of
from ferryman.errors import Overloaded, StoreUnavailable, Unavailable
from ferryman.store.read import MAX_PAGE, Cursor, Filter, Reader

THREADS = 2
"""Reports at once: of the store's few connections some stay free for writing and for all else."""

MAX_WAITING = 32
"""Reports under way and waiting; some seconds of work."""

NOT_STORED = {"cache-control": "no-store"}

T = TypeVar("T")


def routes(reader: Reader) -> list[Route]:
    """What is served of the ledger."""
    return Spend(reader).routes()


class Spend:
    """Answers from a `Reader`, a few at a time."""

    def __init__(self, reader: Reader) -> None:
        """Read from `reader`; threads are started when they are needed."""
        self._reader = reader
        self._threads = ThreadPoolExecutor(THREADS, "ferryman.spend")
        self._waiting = 0
        self._refusals = 0  # of the database
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<Spend {self._waiting} waiting>"

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [
            Route("/spend/logs", self._list, methods=["GET"]),
            Route("/spend/logs/v2", self._page, methods=["GET"]),
        ]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _list(self, request: Request) -> Response:
        wanted = list_query(request.query_params)
        # What the first page tells may be an error, so it is there before the answer begins.
        first = await self._in_thread(lambda: self._rows(wanted, 0, None))
        parts = self._parts(wanted, *first)
        return StreamingResponse(parts, media_type="application/json", headers=NOT_STORED)

    async def _parts(self, wanted: Filter, rows: list[bytes], after: Cursor | None) -> AsyncIterator[bytes]:
        """The list, a page at a time: as fast as the client takes it, and no more of it in memory."""
        listed = len(rows)
        yield b"[" + b",".join(rows)
        while after is not None and listed < MAX_LISTED:
            ask = partial(self._rows, wanted, listed, after)
            rows, after = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
            listed += len(rows)
            yield b"".join(b"," + row for row in rows)
        yield b"]"

    def _rows(self, wanted: Filter, listed: int, after: Cursor | None) -> tuple[list[bytes], Cursor | None]:
        page = self._reader.page(wanted, limit=min(MAX_LISTED - listed, MAX_PAGE), after=after)
        # Each by itself: one call for all would hold the interpreter for ten milliseconds.
        return [msgspec.json.encode(row_of(entry)) for entry in page.entries], page.after

    async def _page(self, request: Request) -> Response:
        query = page_query(request.query_params)
        return await self._answered(lambda: msgspec.json.encode(self._paged(query)))

    def _paged(self, query: PageQuery) -> dict[str, Any]:
        count = self._reader.count(query.wanted)
        page = self._reader.page(
            query.wanted,
            limit=query.page_size,
            after=query.cursor,
            skip=query.skip,
            oldest_first=query.oldest_first,
        )
        return {
            "data": [row_of(entry) for entry in page.entries],
            "total": count.number,
            "total_is_exact": count.exact,
            "page": query.page,
            "page_size": query.page_size,
            "total_pages": -(-count.number // query.page_size),
            "next_cursor": None if page.after is None else str(page.after),
        }

    async def _answered(self, answer: Callable[[], bytes]) -> Response:
        body = await self._in_thread(answer)
        return Response(body, media_type="application/json", headers=NOT_STORED)

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        """What `ask` returns.

        Raises:
            Overloaded: too many are asking.
            Unavailable: the database is away.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} reports are under way already; try again in a moment.")
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
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask_unless_refused)
        except StoreUnavailable as error:
            raise Unavailable(f"the ledger cannot be read for now: {error}.") from error
        finally:
            self._waiting -= 1
