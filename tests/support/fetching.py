"""Fetching under test: real servers on loopback, names that a test resolves, a loop with a bound."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ferryman.clock import SystemClock
from ferryman.http1.resolve import Address
from ferryman.relay.fetch.images import Images, build_images
from ferryman.relay.fetch.values import Failed, Inlined
from ferryman.settings import Settings
from ferryman.wire.images import Kind, UrlSource, Wanted
from tests.support.edge import Connection, Script

T = TypeVar("T")

DEADLINE_SECONDS = 20
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
PDF = b"%PDF-1.7" + b"\0" * 100


class Names:
    """A name server: answers what it is told, one answer after the other, the last again and again."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = {name.replace("_", "."): list(texts) for name, texts in answers.items()}

    async def lookup(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        text = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, port))]


def giving(body: bytes, *, headers: bytes = b"", status: int = 200) -> Script:
    """A server that answers every request alike, and ends each connection as it is asked to."""

    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, headers, len(body))
        connection.send(head + body)

    return script


def sources(*urls: str, kind: Kind = "image") -> list[UrlSource]:
    return [UrlSource(kind, url, 0, 0) for url in urls]


def fetching(
    work: Callable[[Images], Awaitable[T]],
    *,
    listed: str | None = None,
    names: Names | None = None,
    tls: ssl.SSLContext | None = None,
    directory: Path | None = None,
    loop: Callable[[], Any] = asyncio.new_event_loop,
    **settings: Any,
) -> T:
    """Do `work` with the images of a worker, on a loop of its own."""

    async def main() -> T:
        images = build_images(
            Settings(image_hosts=listed, **settings),
            directory=directory,
            monotonic=SystemClock().monotonic,
            lookup=names.lookup if names is not None else None,
            tls=tls,
        )
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await work(images)
        finally:
            await images.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def fetched(url: str, *, kind: Kind = "image", conversation: str = "c", **options: Any) -> Inlined | Failed:
    """What becomes of one URL."""

    async def work(images: Images) -> Inlined | Failed:
        outcomes = await images.inline(sources(url, kind=kind), conversation)
        return outcomes[Wanted(kind, url)]

    return fetching(work, **options)


def reason(url: str, **options: Any) -> str:
    """Why a URL is not fetched."""
    outcome = fetched(url, **options)
    assert isinstance(outcome, Failed), outcome
    return outcome.reason
