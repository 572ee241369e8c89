"""Logging: the line per exchange on a fast path of its own, structlog for everything else.

The line goes to standard output, everything else to standard error. Neither ever holds a
credential, a body, or a query string.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

import msgspec
import structlog

from ferryman.model import Entry
from ferryman.telemetry.writer import BackgroundWriter

BATCH_ENTRIES = 64
"""Lines are rendered together, behind the answers they tell of: a client waits for none of them.
So many take about 0.3 ms, which is as long as one exchange may hold up the others."""

FLUSH_SECONDS = 0.1
"""Lines are written together, at the latest after this time."""

_decode = msgspec.json.Decoder(Entry).decode


def configure(
    *,
    level: str,
    text: bool,
    stream: TextIO | None = None,
    writer: BackgroundWriter | None = None,
    process: str | None = None,
) -> None:
    """Set structlog up: coloured text for people, JSON lines for programs.

    Args:
        level: the least that is told.
        text: for people.
        stream: where to, by default standard error.
        writer: who writes there in place of the caller, `None` for the caller itself.
        process: the name of this one in each message, `None` for none.
    """
    target = stream if stream is not None else sys.stderr
    output = _Output(target) if writer is None else _BackgroundOutput(writer)
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process is not None:
        processors.append(_Named(process))
    if text:
        processors += [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), sort_keys=False, exception_formatter=_write_traceback
            ),
        ]
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )


class _Named:
    """Puts the name of this process into each message."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = self._name
        return event


class _Output(structlog.PrintLogger):
    """Prints as long as somebody reads: nothing fails because its message could not be told."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _BackgroundOutput:
    """Hands messages to a thread, so that an undrained pipe cannot stop the event loop."""

    def __init__(self, writer: BackgroundWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.write(message.encode("utf-8", "backslashreplace") + b"\n")

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(target: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write `error` as the interpreter would. structlog's own way shows local variables, keys among them."""
    lines = "".join(traceback.format_exception(*error)).rstrip().split("\n")
    target.write("\n" + "\n".join(printable(line) for line in lines))


def printable(text: str) -> str:
    """`text` with all but printable ASCII escaped: nothing in it can move a terminal's cursor."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode()


def json_line(record: bytes) -> bytes:
    """`record`, the JSON of an `Entry`, as one line."""
    # Line breaks can only be white space within `iterations`, which are kept as they came.
    return record.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


def text_line(record: bytes) -> bytes:
    """`record`, the JSON of an `Entry`, as one line for people."""
    return _text_of(_decode(record))


def _text_of(entry: Entry) -> bytes:
    parts = [
        f"{entry.started_at:%H:%M:%S}",
        f"{entry.status or '---'}",
        printable(f"{entry.method} {entry.path}"),
    ]
    if entry.model is not None:
        parts.append(printable(entry.model)[:80] + (" stream" if entry.stream else ""))
    if entry.usage is not None:
        usage = entry.usage
        tokens = f"in {usage.input_tokens or 0:,}"
        if usage.cache_read_input_tokens:
            tokens += f" + {usage.cache_read_input_tokens:,} from cache"
        if usage.cache_creation_input_tokens:
            tokens += f" + {usage.cache_creation_input_tokens:,} to cache"
        parts.append(f"{tokens}, out {usage.output_tokens or 0:,} tokens")
    if entry.cost is not None:
        parts.append(f"{'about ' if entry.cost.estimated else ''}${entry.cost.nanousd / 1e9:.6f}")
    if entry.time_to_first_byte_seconds is not None:
        parts.append(f"first byte {entry.time_to_first_byte_seconds * 1000:.0f} ms")
    parts.append(f"{entry.duration_seconds * 1000:.0f} ms")
    if entry.overhead_seconds is not None:
        parts.append(f"ours {entry.overhead_seconds * 1e6:.0f} µs")
    if entry.ended != "done":
        parts.append(f"{entry.ended}: {printable(entry.error)}" if entry.error else entry.ended)
    parts.append(entry.id)
    return "  ".join(parts).encode() + b"\n"


class LineLog:
    """The line per exchange: rendered in batches, written by a thread."""

    def __init__(
        self,
        writer: BackgroundWriter,
        *,
        render: Callable[[bytes], bytes],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Begin to take entries.

        Args:
            writer: where lines go; it is closed with the log.
            render: the JSON of an `Entry` as a line.
            call_later: the event loop's, to flush after `FLUSH_SECONDS`.
        """
        self._writer = writer
        self._render = render
        self._call_later = call_later
        self._records: list[bytes] = []
        self._flush_due = False
        self._refused = 0

    def __repr__(self) -> str:
        return f"<LineLog {self.pending_bytes} bytes pending, {self.dropped} lines dropped>"

    @property
    def pending_bytes(self) -> int:
        """What has been rendered and not been written."""
        return self._writer.pending_bytes

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._refused + self._writer.dropped

    def write(self, record: bytes) -> None:
        """Take the line of `record`, the JSON of an `Entry`."""
        if self._writer.full:
            self._refused += 1
            return
        self._records.append(record)
        if len(self._records) >= BATCH_ENTRIES:
            self._render_batch()
        elif not self._flush_due:
            self._flush_due = True
            self._call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand what has come to the thread."""
        self._flush_due = False
        if self._records:
            self._render_batch()

    def _render_batch(self) -> None:
        records, self._records = self._records, []
        self._writer.write(b"".join(map(self._render, records)))

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._writer.close()
        if self.dropped or self.pending_bytes:
            structlog.get_logger("ferryman.log").warning(
                "log lines lost", dropped=self.dropped, unwritten_bytes=self.pending_bytes
            )
