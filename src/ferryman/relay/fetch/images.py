"""The images and PDFs of a request: from the store, from a download under way, or from a new one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from ferryman.http1.resolve import Address, Lookup
from ferryman.relay.fetch.download import Bound, Downloader
from ferryman.relay.fetch.flight import Flight, Hold, Share, uncounted
from ferryman.relay.fetch.store import Store, name_of
from ferryman.relay.fetch.target import Refused
from ferryman.relay.fetch.values import Failed, FetchLimits, Inlined
from ferryman.settings import Settings
from ferryman.settings_images import listed_hosts
from ferryman.tasks import TaskOwner
from ferryman.wire.images import UrlSource, Wanted, base64_source

T = TypeVar("T")

MAX_WAITING = 1_000
"""Files that wait for their turn in a worker: as many as one request may name."""

FILE_THREADS = 2
"""For the store, apart from those that look up names: a name server that is slow holds up no turn whose
images are here."""


_SHUTTING_DOWN = "Ferryman is shutting down"


class Images:
    """Fetches for the requests of one worker."""

    def __init__(self, limits: FetchLimits, downloader: Downloader, store: Store | None) -> None:
        """Fetch nothing yet.

        Args:
            limits: the bounds.
            downloader: fetches one file.
            store: keeps files for later turns, `None` keeps none.
        """
        self.limits = limits
        self._downloader = downloader
        self._store = store
        self._threads = ThreadPoolExecutor(FILE_THREADS, "images")
        self._flights: dict[str, Flight] = {}
        self._turns = asyncio.Semaphore(limits.downloads)
        self._waiting = 0
        self._tasks = TaskOwner("images")

    def __repr__(self) -> str:
        return f"<Images: {len(self._flights)} under way, {self._waiting} waiting>"

    async def inline(
        self, sources: Iterable[UrlSource], conversation: str, hold: Hold = uncounted
    ) -> dict[Wanted, Inlined | Failed]:
        """What stands in the place of each of `sources`, or why nothing does; each `Wanted` once.

        It takes at most twice `limits.seconds`. If it is cancelled, what nobody else waits for is given up.

        Args:
            sources: as `ferryman.wire.images.url_sources` finds them.
            conversation: within it a URL stands for the same bytes, as long as the store has them: the id of
                a session, else of whoever asks. Never one that two callers share.
            hold: counts what has come while others are waited for; where it says that there is no room, the
                rest is given up. By default there always is.
        """
        share = Share(self.limits.request_bytes, hold)
        waits: dict[Wanted, asyncio.Future[Inlined | Failed]] = {}
        try:
            for wanted, times in Counter(source.wanted for source in sources).items():
                waits[wanted] = self._flight_for(wanted, conversation).join(share, times)
            if waits:
                await asyncio.wait(waits.values())
            return {wanted: future.result() for wanted, future in waits.items()}
        finally:
            share.leave()

    async def close(self) -> None:
        """Give up what is under way."""
        await self._tasks.close()
        for flight in self._flights.values():  # whose tasks had not begun
            flight.end(Failed(flight.wanted, _SHUTTING_DOWN))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _flight_for(self, wanted: Wanted, conversation: str) -> Flight:
        name = name_of(wanted, conversation)
        flight = self._flights.get(name)
        if flight is None or flight.is_abandoned:
            flight = self._flights[name] = Flight(wanted)
            self._tasks.spawn(self._run(flight, name), "fetch")
        return flight

    async def _run(self, flight: Flight, name: str) -> None:
        outcome: Inlined | Failed = Failed(flight.wanted, _SHUTTING_DOWN)
        try:
            outcome = await flight.run(self._get(flight, name))
        except Refused as refusal:
            outcome = Failed(flight.wanted, str(refusal))
        except Exception:
            outcome = Failed(flight.wanted, "Ferryman failed at it; its log says where")
            raise
        finally:
            if self._flights.get(name) is flight:
                del self._flights[name]
            flight.end(outcome)

    async def _get(self, flight: Flight, name: str) -> Inlined:
        """From the store, else from its server.

        Raises:
            Refused: it may not be had, or could not.
        """
        store, wanted = self._store, flight.wanted
        if store is not None and (kept := await self._aside(partial(store.read, name))) is not None:
            flight.on_bytes(kept.size_bytes)
            return kept
        limit_bytes, setting = self.limits.request_bytes, "max_images_bytes"
        if wanted.kind == "image":
            limit_bytes, setting = self.limits.image_bytes, "max_image_bytes"
        async with self._turn():
            bound = Bound(wanted.kind, limit_bytes, setting, flight.on_bytes)
            file = await self._downloader.fetch(wanted.url, bound)
            text = await self._aside(partial(base64_source, file.media_type, file.data))
        fetched = Inlined(text, len(file.data))
        return fetched if store is None else await self._aside(partial(store.keep, name, fetched))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the downloads that may run at once."""
        if self._waiting >= MAX_WAITING:
            raise Refused("too many images wait to be fetched (`image_downloads`); try again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self._turns.acquire()
        except TimeoutError:
            bounds = f"{self.limits.seconds:g} s (`image_timeout_seconds`, `image_downloads`)"
            raise Refused(f"other downloads held all places for {bounds}") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Names:
    """The system's resolver, on threads of its own: lookups for the line never wait behind these."""

    def __init__(self, threads: int) -> None:
        """Look up at most `threads` names at once; threads are started when they are needed."""
        self._threads = ThreadPoolExecutor(threads, "image-names")

    async def lookup(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of `host`.

        Raises:
            OSError: there are none.
        """
        find = partial(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        return await asyncio.get_running_loop().run_in_executor(self._threads, find)


def build_images(
    settings: Settings,
    *,
    directory: Path | None,
    monotonic: Callable[[], float],
    lookup: Lookup | None = None,
    tls: ssl.SSLContext | None = None,
) -> Images:
    """What `settings` describe.

    Args:
        settings: the settings in force, which were checked.
        directory: the workers' common one for what was fetched, `None` keeps nothing.
        monotonic: the clock, in seconds.
        lookup: finds the addresses of a name; by default the system's resolver.
        tls: how to verify servers, by default against this machine's authorities.
    """
    downloader = Downloader(
        seconds=settings.image_timeout_seconds,
        listed=listed_hosts(settings.image_hosts or ""),
        monotonic=monotonic,
        lookup=lookup if lookup is not None else Names(settings.image_downloads).lookup,
        tls=tls,
    )
    limits = FetchLimits(
        seconds=settings.image_timeout_seconds,
        image_bytes=settings.max_image_bytes,
        request_bytes=settings.max_images_bytes,
        downloads=settings.image_downloads,
    )
    return Images(limits, downloader, Store(directory) if directory is not None else None)
