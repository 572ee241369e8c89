"""A transport and an event loop without a network, fast enough for thousands of connections a second."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

CONTROL_BYTES = 4
"""An input begins with a mode and three sizes of pieces, in turns; size 0 is all that is left."""

MAX_TURNS = 100_000
"""More than any input can ask for: what goes beyond it would never end."""


def parted(data: bytes) -> tuple[int, list[int], bytes]:
    """The mode, the sizes of pieces and the bytes themselves of a fuzzer's input."""
    control = data[:CONTROL_BYTES].ljust(CONTROL_BYTES, b"\0")
    return control[0], list(control[1:]), data[CONTROL_BYTES:]


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """`data` in pieces of `sizes`, over and over."""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        end = at + size if size else len(data)
        yield data[at:end]
        at = end


class Turns:
    """As much of an event loop as our protocols use: what is to be called soon."""

    def __init__(self) -> None:
        self._due: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()  # emptied by `run`

    def call_soon(self, work: Callable[..., object], *arguments: object) -> None:
        """Call `work` in the next turn."""
        self._due.append((work, arguments))

    def run(self) -> None:
        """Take turns until nothing is due."""
        for _ in range(MAX_TURNS):
            if not self._due:
                return
            work, arguments = self._due.popleft()
            work(*arguments)
        raise AssertionError("it goes on for ever")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop."""
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


class Transport(asyncio.Transport):
    """A transport that keeps what is written, and treats its protocol as asyncio's does."""

    def __init__(self, turns: Turns, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.turns = turns
        self.protocol = protocol
        self.written = bytearray()
        self.reading = True
        self.closing = False
        self.lost = False
        protocol.connection_made(self)

    def bring(self, data: bytes) -> None:
        """Bytes arrive."""
        if not self.closing:
            assert self.reading
            self.protocol.data_received(data)

    def end(self, error: Exception | None) -> None:
        """The peer closes, or resets with `error`."""
        if not self.closing:
            if error is None:
                self.protocol.eof_received()
            self.lose(error)

    def lose(self, error: Exception | None) -> None:
        """The connection ends."""
        if not self.closing:
            self.closing = True
            self.turns.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self.lost = True
        self.protocol.connection_lost(error)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data`."""
        if not self.closing:
            self.written += data

    def close(self) -> None:
        """Close our side."""
        self.lose(None)

    abort = close

    def is_closing(self) -> bool:
        """Whether it has ended, or is about to."""
        return self.closing

    def is_reading(self) -> bool:
        """Whether bytes may come."""
        return self.reading

    def pause_reading(self) -> None:
        """Let bytes wait."""
        self.reading = False

    def resume_reading(self) -> None:
        """Let them come."""
        self.reading = True

    def can_write_eof(self) -> bool:
        """As TCP's."""
        return True

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def write_eof(self, *_: object) -> None:
        """Nothing to do."""

    setsockopt = write_eof  # it is its own socket

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The socket."""
        return self if name == "socket" else default
