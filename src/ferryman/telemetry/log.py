"""Logging: structlog for all but the line per exchange (`ferryman.telemetry.lines`), and that for people.

The line goes to standard output, everything else to standard error. Neither ever holds a
credential, a body, or a query string.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TextIO

import msgspec
import structlog

from ferryman.model import Entry
from ferryman.telemetry.writer import BackgroundWriter

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
