"""Traces: a span for each entry that was stored, made and sent by a thread, so that nobody waits for it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from ferryman.control.server import LogHandler
from ferryman.errors import SettingsError
from ferryman.http1.origin import Origin, origin_of
from ferryman.limits.patterns import compiled
from ferryman.model import SETTLEMENT
from ferryman.settings import Settings
from ferryman.settings_targets import upstreams_of
from ferryman.store.flat import Row
from ferryman.store.rows import entry_of_row
from ferryman.telemetry.spans import span_of

if TYPE_CHECKING:
    from ferryman.clock import Clock
    from ferryman.telemetry.otel import Tracing

log = structlog.get_logger("ferryman.traces")

MAX_WAITING = 64
"""Batches of the ledger that wait, of up to some hundred entries each: a minute of a busy gateway. What comes
while a collector is away for longer has no span; the ledger has it."""

FLUSH_SPANS = 256
"""After so many all are sent before the next is made: OpenTelemetry's own queue (of 2,048) forgets what is
too much for it, and the ledger may bring hours at once."""

END_SECONDS = 2.0
"""At the end nobody waits longer for a collector."""

QUIET_SECONDS = 60.0
"""Between two complaints of the same kind: a collector that is away is one event, not one each second."""


class Traces:
    """Sends the spans of entries."""

    def __init__(self, tracing: Tracing, upstream: Callable[[str | None], Origin]) -> None:
        """Start the thread; `upstream` tells who is asked for a model."""
        self._tracing = tracing
        self._upstream = upstream
        self._waiting: queue.Queue[Sequence[Row] | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="ferryman.traces", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Traces {self._waiting.qsize()} batches waiting, {self._dropped} entries dropped>"

    def take(self, rows: Sequence[Row]) -> None:
        """Take what was stored. Never waits: what is too much is dropped, and that is logged."""
        try:
            self._waiting.put_nowait(rows)
        except queue.Full:
            if not self._dropped:
                log.warning("spans dropped", reason="the collector takes them more slowly than they come")
            self._dropped += len(rows)
            return
        if self._dropped:
            log.info("spans are sent again", dropped=self._dropped)
            self._dropped = 0

    def close(self) -> None:
        """Send what is left, as far as that is done in `END_SECONDS`; the thread ends with the process."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=END_SECONDS)
            self._thread.join(END_SECONDS)

    def _work(self) -> None:
        made = 0
        while (rows := self._waiting.get()) is not None:
            for row in rows:
                self._send(row)
                made += 1
                if made % FLUSH_SPANS == 0:
                    self._tracing.flush()
        self._tracing.close()

    def _send(self, row: Row) -> None:
        try:
            entry = entry_of_row(row)
            if entry.method != SETTLEMENT:  # no request was made for it
                self._tracing.send(span_of(entry, self._upstream(entry.model)))
        except Exception:
            log.exception("span not made", entry=row.values[1])


def open_traces(settings: Settings, clock: Clock) -> Traces | None:
    """What sends the spans under these settings, `None` if they are off; then nothing is loaded for them.

    Raises:
        SettingsError: the libraries are missing, or an `OTEL_*` variable cannot be used.
    """
    if settings.otel_traces_exporter == "none":
        return None
    try:
        from ferryman.telemetry.otel import Tracing  # noqa: PLC0415  # an extra
    except ImportError as error:
        hint = "traces need more libraries; install them with `pip install 'ferryman[otel]'`."
        raise SettingsError([f"otel_traces_exporter: {hint}"]) from error
    handler = LogHandler()
    handler.addFilter(Seldom(clock.monotonic))
    logging.getLogger("opentelemetry").addHandler(handler)
    try:
        tracing = Tracing()
    except ValueError as error:
        problem = f"an `OTEL_*` variable cannot be used: {error}"
        raise SettingsError([f"otel_traces_exporter: {problem}."]) from error
    return Traces(tracing, _asked_for(settings))


class Seldom(logging.Filter):
    """Lets a message through once in `QUIET_SECONDS`, whatever values stand in it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._told: dict[tuple[str, int], float] = {}  # as many as there are calls in the library

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is told."""
        now, kind = self._monotonic(), (record.pathname, record.lineno)
        if now < self._told.get(kind, now):
            return False
        self._told[kind] = now + QUIET_SECONDS
        return True


def _asked_for(settings: Settings) -> Callable[[str | None], Origin]:
    """Tells the upstream that a worker asks for a model; see `ferryman.relay.target.target_of`."""
    every = upstreams_of(settings)
    others = [(compiled(one.models), origin_of(one.parts)) for one in every if one.models]
    first = origin_of(every[0].parts)

    def upstream(model: str | None) -> Origin:
        if model is None:
            return first
        return next((origin for models, origin in others if models.fullmatch(model)), first)

    return upstream
