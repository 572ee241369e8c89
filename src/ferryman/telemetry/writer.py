"""Writing from a thread, so that a slow reader of the log stops nobody."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Protocol

MAX_PENDING_BYTES = 8 << 20
"""What may wait for a slow reader, about 15,000 lines. Beyond it lines are dropped and counted: the log
informs, the ledger keeps."""

ATOMIC_BYTES = 4_096
"""A pipe takes so many from several writers without mixing them (PIPE_BUF in pipe(7))."""

CLOSE_SECONDS = 5.0
"""How long the end waits for what is left to be written."""


class Stream(Protocol):
    """Where lines go, without a buffer."""

    def write(self, data: memoryview, /) -> int | None:
        """Write what there is room for; how much that was, `None` for nothing."""


class BackgroundWriter:
    """Writes lines in order from a thread of its own."""

    def __init__(self, stream: Stream, name: str, *, shared: bool = False) -> None:
        """Begin to write.

        Args:
            stream: where lines go, unbuffered: the interpreter aborts at its end if a thread holds
                the lock of a buffered standard output, as ours does while it waits for a reader.
            name: of the thread.
            shared: other processes write there too: what is written at once is kept short.
        """
        self._shared = shared
        self._stream = stream
        # Each number is changed by one thread alone: `+=` is not atomic.
        self._taken_bytes = 0  # by the caller
        self._refused = 0
        self._settled_bytes = 0  # by the writing thread
        self._lost = 0
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # bounded by MAX_PENDING_BYTES
        self._writing = threading.Thread(target=self._write_all, name=name, daemon=True)
        self._writing.start()

    def __repr__(self) -> str:
        return f"<BackgroundWriter {self._writing.name}: {self.pending_bytes} bytes pending>"

    @property
    def pending_bytes(self) -> int:
        """What has been taken and not been written."""
        return self._taken_bytes - self._settled_bytes

    @property
    def full(self) -> bool:
        """Whether what comes now is dropped."""
        return self.pending_bytes > MAX_PENDING_BYTES

    @property
    def dropped(self) -> int:
        """Lines that were not written: too many were waiting, or the reader had gone."""
        return self._refused + self._lost

    def write(self, data: bytes) -> None:
        """Take whole lines, or drop them if too much waits."""
        if self.full:
            self._refused += data.count(b"\n")
            return
        self._taken_bytes += len(data)
        self._queue.put(data)

    def close(self) -> None:
        """Write what is left; waits `CLOSE_SECONDS` for a slow reader."""
        self._queue.put(None)
        self._writing.join(CLOSE_SECONDS)

    def _write_all(self) -> None:
        while (data := self._queue.get()) is not None:
            for piece in _pieces(data) if self._shared else (data,):
                self._write(piece)
            self._settled_bytes += len(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest and (count := self._stream.write(rest)) is not None:
                rest = rest[count:]
        except (OSError, ValueError):
            pass  # the reader has gone; what is to come may still be read
        self._lost += bytes(rest).count(b"\n")


def _pieces(data: bytes) -> Iterator[bytes]:
    """`data` in pieces of whole lines, of `ATOMIC_BYTES` at most where a line is no longer."""
    start = 0
    while len(data) - start > ATOMIC_BYTES:
        end = data.rfind(b"\n", start, start + ATOMIC_BYTES) + 1
        end = end or data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]
