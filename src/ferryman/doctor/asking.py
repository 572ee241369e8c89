"""One question over HTTP, on the connections that workers use, so that it fails as theirs do."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ferryman.errors import RelayError, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from ferryman.http1.client import ClientConnection
from ferryman.http1.dial import Dialer, UnixDialer, connect_error
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader
from ferryman.http1.message import ResponseHead

MAX_ANSWER_BYTES = 1 << 20
"""A page of models or the list of processes has some kilobytes."""

WATCHED = frozenset({b"date", b"location", b"content-type"})


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: of HTTP.
        date: the header's value, `None` if there is none.
        location: likewise, where a redirect leads.
        body: decoded of its framing.
    """

    status: int
    date: str | None
    location: str | None
    body: bytes


async def ask(
    dialer: Dialer | UnixDialer, request: bytes, *, connect_seconds: float, answer_seconds: float
) -> Answer:
    """The answer to `request`, a head with its blank line, on a connection of its own.

    Raises:
        RelayError: there is none. Its message says why and what to do.
    """
    try:
        async with asyncio.timeout(connect_seconds):
            connection = await dialer.dial(_connection)
    except (OSError, RelayError) as error:
        raise connect_error(error, dialer, connect_seconds) from error
    finally:
        await dialer.close()
    taker = _Taker(str(dialer))
    try:
        connection.send(request, b"", taker, bodiless=False)
        async with asyncio.timeout(answer_seconds):
            return await taker.answer
    except TimeoutError as error:
        told = f"{dialer} takes connections, and has not answered within {answer_seconds:g} s; try again."
        raise UpstreamTimeout(told) from error
    finally:
        connection.abort()


def _connection() -> ClientConnection:
    return ClientConnection(lambda _: None, lambda: None, FieldReader(NOT_PASSED_ON, WATCHED))


class _Taker:
    """Collects an answer."""

    def __init__(self, name: str) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._name = name
        self._head: ResponseHead | None = None
        self._body = b""

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Keep what came."""
        self._head = head or self._head
        self._body += data
        if self.answer.done() or self._head is None:
            return
        if len(self._body) > MAX_ANSWER_BYTES:
            self._fail(UpstreamInvalid(f"{self._name} answers with more than {MAX_ANSWER_BYTES} bytes."))
        elif end:
            text = self._head.fields.text
            self.answer.set_result(Answer(self._head.status, text(b"date"), text(b"location"), self._body))

    def on_upstream_blocked(self) -> None:
        """There is no body to hold back."""

    def on_upstream_ready(self) -> None:
        """Likewise."""

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """Say what came in the place of an answer."""
        if isinstance(error, RelayError):
            self._fail(error)
            return
        what = "breaks its answer off" if answered else "closes the connection without an answer"
        self._fail(UpstreamUnreachable(f"{self._name} {what}; check `upstream_url`."))

    def _fail(self, error: RelayError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
