"""Logging: the line per exchange on a fast path of its own, structlog for everything else.

The line goes to standard output, everything else to standard error. Neither ever holds a
credential, a body, or a query string.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable
from typing import IO, TextIO

import msgspec
import structlog

from ferryman.model import Entry

MAX_PENDING_BYTES = 8 << 20
"""What may wait for a slow reader of the log, about 15,000 lines. Beyond it lines are dropped and
counted: the log informs, the ledger keeps."""

FLUSH_SECONDS = 0.1
"""Lines are written together, at the latest after this time."""

_encode = msgspec.json.Encoder().encode


def configure(*, level: str, text: bool, stream: TextIO | None = None) -> None:
    """Set structlog up: coloured text for people, JSON lines for programs."""
    target = stream if stream is not None else sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=target.isatty())
        if text
        else structlog.processors.JSONRenderer(serializer=lambda value, **_: _encode(value).decode())
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not text:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def json_line(entry: Entry) -> bytes:
    """`entry` as one line of JSON."""
    return _encode(entry) + b"\n"


def text_line(entry: Entry) -> bytes:
    """`entry` as one line for people."""
    parts = [
        f"{entry.started_at:%H:%M:%S}",
        f"{entry.status or '---'}",
        f"{entry.method} {entry.path}",
    ]
    if entry.model is not None:
        parts.append(ascii(entry.model)[1:-1][:80] + (" stream" if entry.stream else ""))
    if entry.usage is not None:
        usage = entry.usage
        tokens = f"in {usage.input_tokens or 0:,}"
        if usage.cache_read_input_tokens:
            tokens += f" + {usage.cache_read_input_tokens:,} from cache"
        if usage.cache_creation_input_tokens:
            tokens += f" + {usage.cache_creation_input_tokens:,} to cache"
        parts.append(f"{tokens}, out {usage.output_tokens or 0:,} tokens")
    if entry.time_to_first_byte_seconds is not None:
        parts.append(f"first byte {entry.time_to_first_byte_seconds * 1000:.0f} ms")
    parts.append(f"{entry.duration_seconds * 1000:.0f} ms")
    if entry.overhead_seconds is not None:
        parts.append(f"ours {entry.overhead_seconds * 1e6:.0f} µs")
    if entry.ended != "done":
        parts.append(f"{entry.ended}: {entry.error}" if entry.error else entry.ended)
    parts.append(entry.id)
    return "  ".join(parts).encode() + b"\n"


class LineLog:
    """Writes the line per exchange, from a thread of its own, so that a slow pipe stops nobody."""

    def __init__(
        self,
        stream: IO[bytes],
        *,
        render: Callable[[Entry], bytes],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Begin to write.

        Args:
            stream: where lines go.
            render: an entry as a line.
            call_later: the event loop's, to flush after `FLUSH_SECONDS`.
        """
        self.dropped = 0
        self._stream = stream
        self._render = render
        self._call_later = call_later
        self._lines: list[bytes] = []
        self._pending_bytes = 0
        self._flush_due = False
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # bounded by MAX_PENDING_BYTES
        self._thread = threading.Thread(target=self._write_all, name="ferryman.log", daemon=True)
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Take the line of `entry`."""
        if self._pending_bytes > MAX_PENDING_BYTES:
            self.dropped += 1
            return
        line = self._render(entry)
        self._pending_bytes += len(line)
        self._lines.append(line)
        if not self._flush_due:
            self._flush_due = True
            self._call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand what has come to the thread."""
        self._flush_due = False
        if self._lines:
            lines, self._lines = self._lines, []
            self._queue.put(b"".join(lines))

    def close(self) -> None:
        """Write what is left; waits a few seconds for a slow reader."""
        self.flush()
        self._queue.put(None)
        self._thread.join(timeout=5)
        if self.dropped:
            structlog.get_logger("ferryman.log").warning("log lines dropped", count=self.dropped)

    def _write_all(self) -> None:
        while (data := self._queue.get()) is not None:
            try:
                self._stream.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += data.count(b"\n")  # the reader has gone; what is to come may still be read
            self._pending_bytes -= len(data)
