"""The poller: settles the batches whose results nobody reads through Ferryman.

It asks the upstream with the server's own key, so there is none where clients come with theirs. Its methods
wait: they are called on threads, a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
import structlog

from ferryman.control.upstream import Questions, Response
from ferryman.errors import StoreError
from ferryman.pricing.batch import LIFE_DAYS, Tally
from ferryman.pricing.catalog import Catalog, load_catalog
from ferryman.tasks import TaskOwner

if TYPE_CHECKING:
    from ferryman.clock import Clock
    from ferryman.settings import Settings
    from ferryman.store.batches import Due
    from ferryman.store.store import Store

log = structlog.get_logger("ferryman.batches")

AT_ONCE = 2
"""Batches that are asked for at once: the poller has all the time in the world, the upstream's limits not."""

ROUND = 100
"""Batches of one look into the database."""

LONGEST_SECONDS = 900.0
"""Between two questions about one batch; before that, a tenth of its age. Most end within an hour."""

PIECE_BYTES = 65_536

MAX_ANSWER_BYTES = 1 << 20
"""Of the answer that shows a batch."""

_GONE = frozenset({404, 410})


class _Shown(msgspec.Struct, gc=False):
    processing_status: str | None = None


class _Failed(Exception):
    """The upstream did not say what was asked."""


class Poller:
    """Asks for batches that are open."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        catalog: Callable[[], Catalog] = load_catalog,
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: with the server's key.
            store: has the batches.
            clock: the time.
            catalog: tells the prices in force.
        """
        self._catalog = catalog
        self._settings = settings
        self._store = store
        self._clock = clock
        self._questions = Questions(settings)
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Poller {self._questions!r}>"

    def due(self) -> list[Due]:
        """The batches whose turn it is.

        Raises:
            StoreError: the database is away, or refuses.
        """
        return self._store.batches.due(self._now(), ROUND)

    def ask(self, one: Due) -> None:
        """Ask for a batch, and settle it if it has ended.

        Raises:
            StoreError: the database is away, or refuses.
        """
        now = self._now()
        age_seconds = (now - one.created_at).total_seconds()
        least = self._settings.batch_poll_seconds
        wait_seconds = max(least, min(age_seconds / 10, LONGEST_SECONDS))
        if self._stopped or not self._store.batches.claim(one, now + timedelta(seconds=wait_seconds)):
            return
        try:
            has_ended = self._has_ended(one)
            if has_ended:
                self._settle(one)
        except _Failed as error:
            if age_seconds > LIFE_DAYS * 86_400:
                self._lose(one, str(error))
            else:
                log.warning("batch not settled", batch=one.id, reason=str(error), now="it is tried again")
        except (OSError, http.client.HTTPException) as error:
            if not self._stopped:
                log.warning("batch not settled", batch=one.id, reason=str(error), now="it is tried again")

    def stop(self) -> None:
        """End what is under way; it is done again by whoever comes next."""
        self._stopped = True
        self._questions.stop()

    def _has_ended(self, one: Due) -> bool:
        with self._get(one.id, "") as (status, body):
            if status in _GONE:
                self._lose(one, f"the upstream answers {status}")
                return False
            if status != 200:
                raise _Failed(f"the upstream answers {status}")
            text = body.read(MAX_ANSWER_BYTES)
        try:
            return msgspec.json.decode(text, type=_Shown).processing_status == "ended"
        except (ValueError, RecursionError) as error:
            raise _Failed("the upstream's answer cannot be read") from error

    def _settle(self, one: Due) -> None:
        tally = Tally(one.id, self._catalog(), self._now())
        with self._get(one.id, "/results") as (status, body):
            if status != 200:
                raise _Failed(f"the upstream answers {status} to the question for results")
            while data := body.read1(PIECE_BYTES):
                tally.feed(data)
            if body.length:  # of a body in chunks it is None, and their end is seen to
                raise _Failed("the results broke off")
        results = tally.results()
        if results is None:
            raise _Failed("the results cannot be read")
        self._store.write.settle(results, self._now())
        log.info("batch settled", batch=one.id, results=results.lines)

    def _lose(self, one: Due, reason: str) -> None:
        if self._store.batches.lose(one.id):
            log.error("batch lost", batch=one.id, reason=reason, now="nothing will tell what it has cost")

    def _get(self, batch_id: str, rest: str) -> AbstractContextManager[Response]:
        """Ask for a path below that of a batch; errors as of `Questions.get`."""
        settings = self._settings
        url = f"{settings.upstream_url.rstrip('/')}/v1/messages/batches/{quote(batch_id, safe='')}{rest}"
        return self._questions.get(url, {"x-api-key": settings.anthropic_api_key or ""})

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


async def poll(
    settings: Settings,
    store: Store,
    clock: Clock,
    stopping: asyncio.Event,
    catalog: Callable[[], Catalog] = load_catalog,
) -> None:
    """Ask for open batches every `batch_poll_seconds` until `stopping` is set.

    Does nothing without a key of the server's own.
    """
    if settings.effective_auth == "passthrough" or settings.anthropic_api_key is None:
        return
    poller = Poller(settings, store, clock, catalog)
    tasks = TaskOwner("batches")
    tasks.spawn(_stop(poller, stopping), "stop")
    away = False
    try:
        while not stopping.is_set():
            try:
                await _round(poller)
            except StoreError as error:
                if not away:
                    log.warning("batches wait for the database", reason=str(error))
                away = True
            else:
                away = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), settings.batch_poll_seconds)
    finally:
        await tasks.close()


async def _stop(poller: Poller, stopping: asyncio.Event) -> None:
    await stopping.wait()
    poller.stop()


async def _round(poller: Poller) -> None:
    due = await asyncio.to_thread(poller.due)
    for first in range(0, len(due), AT_ONCE):
        await asyncio.gather(*(asyncio.to_thread(poller.ask, one) for one in due[first : first + AT_ONCE]))
