"""Copies of bodies, on their way to the control plane: for `log_bodies`.

They go over its socket and through no file, so that nothing is written down before it is redacted. What
cannot be handed over in time, or has no room meanwhile, is dropped: the ledger keeps what must not be lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog

from ferryman.errors import Unavailable
from ferryman.http1.client import Body
from ferryman.http1.message import ResponseHead
from ferryman.process.messages import BODIES_PATH, BodiesTold, BodyCopy, KeptBodies
from ferryman.relay.ask import Asker
from ferryman.tasks import TaskOwner
from ferryman.wire.names import CODING

MAX_HELD_BYTES = 64 << 20
"""Of copies in a worker, of exchanges under way and of those that are to be handed over: 128 with both bodies
at the default cap. Beyond it bodies are dropped, or cut."""

COPY_BYTES = 1_000
"""What a copy takes beside the bodies themselves, so that many small ones are bounded, too."""

BATCH_BYTES = 1 << 20
"""Handed over at once, but for a single exchange that has more; so no more than 1,000 exchanges."""

GATHER_SECONDS = 0.1
"""Before each hand-over, so that one transaction takes several exchanges: a third of the cost of one each."""

HAND_OVER_SECONDS = 30.0
"""For one batch: the control plane redacts and stores it before it answers."""

TRIES = 60
RETRY_SECONDS = 1.0
"""A control plane is started again within seconds; a database may be away for some more."""

CLOSE_SECONDS = 3.0
"""How long the end waits for what is to be handed over."""

MIN_CREDENTIAL_BYTES = 16
"""A shorter one is no virtual key, and may be a word."""

_TYPE = b"content-type"

log = structlog.get_logger("ferryman.relay")

Tell = Callable[[BodiesTold], Awaitable[None]]


def telling(socket_path: str) -> Tell:
    """What hands bodies over to the control plane; it raises Unavailable."""
    asker = Asker(socket_path, answer_seconds=HAND_OVER_SECONDS)

    async def tell(told: BodiesTold) -> None:
        await asker.post(BODIES_PATH, msgspec.json.encode(told))

    return tell


class Copy:
    """What was copied of an exchange; at most `log_bodies_max_bytes` of each body."""

    __slots__ = (
        "answer",
        "answer_bytes",
        "coding",
        "held_bytes",
        "id",
        "mode",
        "request",
        "started_at",
        "type",
    )

    def __init__(self, exchange_id: str, started_at: float, mode: str, request: BodyCopy) -> None:
        """The request is whole, the answer has not begun."""
        self.id = exchange_id
        self.started_at = started_at
        self.mode = mode
        self.request = request
        self.held_bytes = COPY_BYTES + len(request.data)
        self.answer = bytearray()
        self.answer_bytes = 0
        self.type = self.coding = ""

    def told(self) -> KeptBodies:
        """For the control plane."""
        answer = None
        if self.answer_bytes:
            answer = BodyCopy(bytes(self.answer), self.answer_bytes, self.type, self.coding)
        return KeptBodies(self.id, self.started_at, self.mode, self.request, answer)


class Bodies:
    """The copies of a worker.

    Attributes:
        mode: `off`, `redacted` or `full`, for keys that say nothing of it.
        held_bytes: of all copies.
        dropped: exchanges of which nothing is kept, though it should be.
    """

    def __init__(
        self, tell: Tell, mode: str, most_bytes: int, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        """Copy nothing yet.

        Args:
            tell: hands over; see `telling`.
            mode: the setting `log_bodies`.
            most_bytes: of one body.
            retry_seconds: see `RETRY_SECONDS`.
        """
        self.mode = mode
        self.held_bytes = 0
        self.dropped = 0
        self._tell = tell
        self._most_bytes = most_bytes
        self._retry_seconds = retry_seconds
        self._waiting: deque[Copy] = deque()  # bounded by MAX_HELD_BYTES
        self._runs = False
        self._tasks = TaskOwner("bodies")

    def __repr__(self) -> str:
        return f"<Bodies {self.mode}: {len(self._waiting)} waiting, {self.held_bytes} bytes held>"

    def begin(
        self, exchange_id: str, started_at: float, mode: str, text: Body, credentials: Iterable[bytes]
    ) -> Copy | None:
        """Copy a request.

        Args:
            exchange_id: of its exchange.
            started_at: Unix time in seconds.
            mode: of its key; empty for our own.
            text: its body, decoded.
            credentials: that came with it, and are not to be found in the copy.

        Returns:
            `None` if nothing is kept of it.
        """
        mode = mode or self.mode
        if mode == "off":
            return None
        data = bytes(text[: self._most_bytes])
        if self.held_bytes + COPY_BYTES + len(data) > MAX_HELD_BYTES:
            self._drop(1)
            return None
        for one in credentials:
            if len(one) >= MIN_CREDENTIAL_BYTES and one in data:
                data = data.replace(one, b"[key]")
        copy = Copy(exchange_id, started_at, mode, BodyCopy(data, len(text)))
        self.held_bytes += copy.held_bytes
        return copy

    def answered(self, copy: Copy, head: ResponseHead | None, data: bytes) -> None:
        """Copy the next bytes of an answer."""
        if head is not None:
            copy.type = head.fields.text(_TYPE) or ""
            copy.coding = b",".join(head.fields.values(CODING)).decode("latin-1")
        copy.answer_bytes += len(data)
        room = min(self._most_bytes - len(copy.answer), MAX_HELD_BYTES - self.held_bytes)
        if room > 0:
            taken = min(len(data), room)
            copy.answer += data[:taken]
            copy.held_bytes += taken
            self.held_bytes += taken

    def keep(self, copy: Copy) -> None:
        """Its exchange is over: hand it over."""
        self._waiting.append(copy)
        if not self._runs:
            self._runs = True
            self._tasks.spawn(self._hand_over(), "hand over")

    async def close(self) -> None:
        """Hand over what is left, as far as there is time."""
        await self._tasks.finish(CLOSE_SECONDS)
        if self._waiting:
            self._drop(len(self._waiting))

    async def _hand_over(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_SECONDS)
                await self._hand_over_some(self._next())
        finally:
            self._runs = False

    def _next(self) -> list[Copy]:
        """The oldest copies, as many as go together."""
        batch = [self._waiting.popleft()]
        size = batch[0].held_bytes
        while self._waiting and size + self._waiting[0].held_bytes <= BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].held_bytes
        return batch

    async def _hand_over_some(self, batch: list[Copy]) -> None:
        told = BodiesTold([copy.told() for copy in batch])
        try:
            for _ in range(TRIES):
                try:
                    await self._tell(told)
                except (Unavailable, OSError):
                    await asyncio.sleep(self._retry_seconds)
                else:
                    return
            self._drop(len(batch))
        finally:
            self.held_bytes -= sum(copy.held_bytes for copy in batch)

    def _drop(self, number: int) -> None:
        if not self.dropped:
            log.warning("bodies dropped", reason="the control plane does not take them as fast as they come")
        self.dropped += number
