"""A worker's questions to the control plane, over its socket and with the code that asks upstreams."""

from __future__ import annotations

import asyncio

from ferryman.errors import RelayError, Unavailable
from ferryman.http1.client import ClientConnection
from ferryman.http1.dial import UnixDialer
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader
from ferryman.http1.message import ResponseHead

ANSWER_SECONDS = 5.0
"""For an answer, the connection included. The question is a look-up by primary keys; what takes longer waits
for a database that does not answer, and a client with a stream to begin waits for us."""

MAX_ANSWER_BYTES = 1 << 22
"""Of an answer: the owners of as many ids as are asked for at once, at some 200 bytes each."""


class Asker:
    """Asks the control plane, over a connection for each question: it costs 0.1 ms, and is never stale."""

    def __init__(self, socket_path: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Open nothing yet.

        Args:
            socket_path: that on which the control plane believes whoever calls.
            answer_seconds: for one answer.
        """
        self._dialer = UnixDialer(socket_path)
        self._reader = FieldReader(NOT_PASSED_ON, frozenset())
        self._answer_seconds = answer_seconds

    def __repr__(self) -> str:
        return f"<Asker of {self._dialer}>"

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer to a POST of JSON.

        Raises:
            Unavailable: there is none in time, or it is an error.
        """
        answer = _Answer()
        connection: ClientConnection | None = None
        head = b"POST %b HTTP/1.1\r\nhost: ferryman\r\ncontent-type: application/json\r\n"
        head = (head + b"content-length: %d\r\n\r\n") % (path.encode(), len(body))
        try:
            async with asyncio.timeout(self._answer_seconds):
                connection = await self._dialer.dial(
                    lambda: ClientConnection(ClientConnection.abort, _nothing, self._reader)
                )
                connection.send(head, body, answer, bodiless=False)
                return await answer.body
        except TimeoutError as error:
            raise Unavailable(f"The control plane gave no answer in {self._answer_seconds:g} s.") from error
        finally:
            if connection is not None:
                connection.abort()


def _nothing() -> None:
    """Nobody counts these connections."""


class _Answer:
    """Takes one answer."""

    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._pieces = bytearray()

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Hold what came, as far as there is room."""
        if head is not None:
            self._status = head.status
        self._pieces += data
        if self.body.done():
            return
        if len(self._pieces) > MAX_ANSWER_BYTES:
            self._fail("is too long")
        elif end and self._status != 200:
            self._fail(f"has the status {self._status}")
        elif end:
            self.body.set_result(bytes(self._pieces))

    def on_upstream_blocked(self) -> None:
        """The question is written anyway: it is small."""

    def on_upstream_ready(self) -> None:
        """It has been taken."""

    def on_upstream_lost(
        self, error: Exception | None, *, fresh: bool, answered: bool
    ) -> None:  # as the protocol has it
        """There will be no answer."""
        if not self.body.done():
            reason = error.message if isinstance(error, RelayError) else "broke off"
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        self.body.set_exception(Unavailable(f"The control plane's answer {reason}."))
