"""`GET /spend/logs` and `GET /spend/logs/v2`: the entries of the ledger, with LiteLLM's names and our own.

The sums of them are in `ferryman.control.reports`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ferryman.control.asking import NOT_STORED, Asking
from ferryman.control.calculate import Calculator
from ferryman.control.key_names import KeyNames
from ferryman.control.reports import Reports
from ferryman.control.spend_query import MAX_LISTED, PageQuery, list_query, page_query
from ferryman.control.spend_row import row_of
from ferryman.pricing.catalog import Catalog, load_catalog
from ferryman.store.access import Access
from ferryman.store.read import MAX_PAGE, Cursor, Filter, Reader


def routes(
    reader: Reader, catalog: Callable[[], Catalog] = load_catalog, access: Access | None = None
) -> list[Route]:
    """What is served of the ledger."""
    return Spend(reader, catalog, access).routes()


class Spend:
    """Answers from a `Reader`, a few at a time."""

    def __init__(
        self, reader: Reader, catalog: Callable[[], Catalog] = load_catalog, access: Access | None = None
    ) -> None:
        """Read from `reader`; `catalog` tells the prices in force, and `access` how keys are called."""
        self._reader = reader
        self._names = KeyNames(access)
        self.asking = Asking()
        self._reports = Reports(reader, self.asking, names=self._names)
        self._calculator = Calculator(self.asking, catalog)

    def __repr__(self) -> str:
        return f"<Spend {self.asking!r}>"

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [
            Route("/spend/logs", self._list, methods=["GET"]),
            Route("/spend/logs/v2", self._page, methods=["GET"]),
            *self._reports.routes(),
            *self._calculator.routes(),
        ]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self.asking.close()

    async def _list(self, request: Request) -> Response:
        wanted = list_query(request.query_params)
        # What the first page tells may be an error, so it is there before the answer begins.
        known, first = await self.asking.in_thread(lambda: self._begun(wanted))
        parts = self._parts(known, *first)
        return StreamingResponse(parts, media_type="application/json", headers=NOT_STORED)

    def _begun(self, wanted: Filter) -> tuple[Filter, tuple[list[bytes], Cursor | None]]:
        known = self._known(wanted)
        return known, self._rows(known, 0, None)

    async def _parts(self, wanted: Filter, rows: list[bytes], after: Cursor | None) -> AsyncIterator[bytes]:
        """The list, a page at a time: as fast as the client takes it, and no more of it in memory."""
        listed = len(rows)
        yield b"[" + b",".join(rows)
        while after is not None and listed < MAX_LISTED:
            ask = partial(self._rows, wanted, listed, after)
            rows, after = await asyncio.get_running_loop().run_in_executor(self.asking.threads, ask)
            listed += len(rows)
            yield b"".join(b"," + row for row in rows)
        yield b"]"

    def _rows(self, wanted: Filter, listed: int, after: Cursor | None) -> tuple[list[bytes], Cursor | None]:
        page = self._reader.page(wanted, limit=min(MAX_LISTED - listed, MAX_PAGE), after=after)
        # Each by itself: one call for all would hold the interpreter for ten milliseconds.
        return [msgspec.json.encode(row_of(entry)) for entry in page.entries], page.after

    async def _page(self, request: Request) -> Response:
        query = page_query(request.query_params)
        return await self.asking.answered(lambda: msgspec.json.encode(self._paged(query)))

    def _paged(self, query: PageQuery) -> dict[str, Any]:
        wanted = self._known(query.wanted)
        count = self._reader.count(wanted)
        page = self._reader.page(
            wanted,
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

    def _known(self, wanted: Filter) -> Filter:
        """`wanted` with the id of the key that it names, if it names one."""
        if wanted.principal is None:
            return wanted
        return msgspec.structs.replace(wanted, principal=self._names.id_of(wanted.principal))
