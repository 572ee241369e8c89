"""Sends entries to sinks: each on a thread of its own, so that one that hangs holds up nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from ferryman.errors import SettingsError, SinkFailed, StoreError
from ferryman.settings_telemetry import callback_names, otlp_headers
from ferryman.store.outbox import Found
from ferryman.telemetry.sinks.callback import found as callback
from ferryman.telemetry.sinks.file import FileSink
from ferryman.telemetry.sinks.otlp import OtlpLogs
from ferryman.telemetry.sinks.sink import Batch, Sink
from ferryman.telemetry.sinks.webhook import Webhook

if TYPE_CHECKING:
    from ferryman.clock import Clock
    from ferryman.settings import Settings
    from ferryman.store.store import Store

log = structlog.get_logger("ferryman.sinks")

BATCH_ENTRIES = 200
"""Sent together: some 200 KB of JSON."""

POLL_SECONDS = 5.0
"""Between two looks when nobody says that there is more."""

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
"""Between two attempts: twice as long each time."""

MAX_REFUSALS = 5
"""How often a sink may refuse the same entries before they are left out; they would hold up all others."""

TRIM_SECONDS = 30.0
CLOSE_SECONDS = 5.0
"""How long the end waits for what is left to be sent; the rest is sent after the next start."""


class Runner:
    """Sends to one sink.

    Attributes:
        delivered: entries that it has taken.
        failures: attempts that failed.
        dropped: entries that were left out: refused again and again, or not taken in time.
    """

    def __init__(
        self,
        sink: Sink,
        store: Store,
        clock: Clock,
        may_begin: Callable[[], bool] = lambda: True,
        trim: Callable[[], None] = lambda: None,
        *,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """Send nothing yet.

        Args:
            sink: where to.
            store: has what is to be sent.
            clock: the time.
            may_begin: whether the outbox is ready, and ours to send; it is asked before each look.
            trim: called before each look, so that what is too old goes though a sink takes nothing.
            pause_seconds: after the first failure in a row.
        """
        self.sink = sink
        self.delivered = self.failures = self.dropped = 0
        self._outbox = store.outbox
        self._machine = store.write.machine
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._may_begin = may_begin
        self._trim = trim
        self._counting = threading.Lock()
        self._more = threading.Event()
        self._ending = threading.Event()
        self._failed_in_row = self._refused_in_row = 0
        self._pending: Found | None = None
        self._thread = threading.Thread(target=self._run, name=f"ferryman.{sink.name}", daemon=True)

    def __repr__(self) -> str:
        return f"<Runner of {self.sink!r}: {self.delivered} delivered>"

    def start(self) -> None:
        """Send what there is, and what comes."""
        self._thread.start()

    def wake(self) -> None:
        """There is more."""
        self._more.set()

    def end(self) -> None:
        """Send what is left, and try nothing again."""
        self._ending.set()
        self._more.set()

    def join(self, seconds: float) -> None:
        """Wait for the end; what hangs is left behind."""
        self._thread.join(seconds)

    def behind_seconds(self) -> float:
        """See `Outbox.behind`."""
        return self._outbox.behind(self._machine, self.sink.name, self._now())

    def miss(self, number: int) -> None:
        """Entries are gone from the outbox that the sink has not taken; any thread may say so."""
        # What failed may be among them. What is not, is found again.
        self._pending = None
        self._drop("not taken within seven days", number)

    def _run(self) -> None:
        while True:
            self._more.clear()
            last = self._ending.is_set()
            try:
                pause = 0.0 if self._may_begin() and self._step() else POLL_SECONDS
            except (SinkFailed, StoreError) as error:
                pause = self._after(error)
            except Exception as error:  # a mistake of ours stops no sink for good
                log.exception("sink failed", sink=self.sink.name)
                pause = self._after(error)
            if last and pause:
                break
            if pause:
                (self._ending if self._failed_in_row else self._more).wait(pause)
        self.sink.close()

    def _step(self) -> bool:
        """Send some entries; whether there may be more.

        Raises:
            SinkFailed: the sink has not taken them.
            StoreError: the database is away, or refuses.
        """
        name = self.sink.name
        self._trim()
        # What failed is sent again as it was, under the same id.
        found = self._pending
        if found is None:
            found = self._outbox.next(self._machine, name, BATCH_ENTRIES)
            self._refused_in_row = 0
        if found is None:
            return False
        self._pending = found
        if found.entries:
            before = found.before
            batch_id = f"{self._machine or 'ferryman'}-{before.sequence}-{before.beyond}-{len(found.entries)}"
            records = [msgspec.json.encode(entry) for entry in found.entries]
            try:
                self.sink.deliver(Batch(batch_id, found.entries, records))
            except SinkFailed as error:
                self._refused_in_row += error.refused
                if self._refused_in_row < MAX_REFUSALS:
                    raise
                self._drop(str(error), len(records))
            else:
                self.delivered += len(records)
            self._pending = found._replace(entries=[])
        self._outbox.move(self._machine, name, found.after)
        self._pending = None
        if self._failed_in_row:
            log.info("sink takes entries again", sink=name)
        self._failed_in_row = 0
        return True

    def _drop(self, reason: str, number: int) -> None:
        with self._counting:
            self.dropped += number
        log.error("entries left out", sink=self.sink.name, number=number, reason=reason)

    def _after(self, error: Exception) -> float:
        """How long to wait after `error`."""
        if not self._failed_in_row:  # once, not at every attempt
            log.warning("sink not reached", sink=self.sink.name, reason=str(error), now="it is tried again")
        self.failures += 1
        pause: float = min(self._pause_seconds * 2 ** min(self._failed_in_row, 10), MAX_PAUSE_SECONDS)
        self._failed_in_row += 1
        wanted = error.after_seconds if isinstance(error, SinkFailed) else 0.0
        return max(pause, min(wanted, MAX_PAUSE_SECONDS))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


class Sinks:
    """All that are set."""

    def __init__(
        self, sinks: Sequence[Sink], store: Store, clock: Clock, stands_by: Callable[[], bool] = lambda: False
    ) -> None:
        """Have the store note what is to be sent, if there are any sinks; send nothing yet.

        Args:
            sinks: with different names.
            store: has the entries.
            clock: the time.
            stands_by: whether another control plane does the work for these journals.
        """
        self._names = [sink.name for sink in sinks]
        self._store = store
        self._clock = clock
        self._stands_by = stands_by
        self._lock = threading.Lock()
        self._begun = False
        self._trim_at = 0.0
        self.runners = [Runner(sink, store, clock, self._may_begin, self._trim) for sink in sinks]
        if sinks:
            store.write.noting = lambda: datetime.fromtimestamp(clock.now(), UTC)

    def __repr__(self) -> str:
        return f"<Sinks {self._names}>"

    def start(self) -> None:
        """Send what there is, and what comes."""
        for runner in self.runners:
            runner.start()

    def wake(self) -> None:
        """Something was stored."""
        for runner in self.runners:
            runner.wake()

    def close(self) -> None:
        """Send what is left, as far as `CLOSE_SECONDS` allow."""
        for runner in self.runners:
            runner.end()
        deadline = self._clock.monotonic() + CLOSE_SECONDS
        for runner in self.runners:
            runner.join(max(0.0, deadline - self._clock.monotonic()))

    def _may_begin(self) -> bool:
        """Whether the outbox is ours; it is told of the sinks then, once."""
        if self._stands_by():
            return False
        with self._lock:
            if not self._begun:
                self._store.outbox.begin(self._store.write.machine, self._names)
                self._begun = True
        return True

    def _trim(self) -> None:
        """Make room in the outbox now and then, whichever of the sinks takes anything.

        Raises:
            StoreError: the database is away, or refuses.
        """
        with self._lock:
            if self._clock.monotonic() < self._trim_at:
                return
            self._trim_at = self._clock.monotonic() + TRIM_SECONDS
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        missed = self._store.outbox.trim(self._store.write.machine, now)
        for runner in self.runners:
            if runner.sink.name in missed:
                runner.miss(missed[runner.sink.name])


def sinks_of(settings: Settings, clock: Clock) -> list[Sink]:
    """The sinks that are set.

    Raises:
        SettingsError: one of them cannot be used.
    """
    found: list[Sink] = []
    if settings.log_file is not None:
        path = Path(settings.log_file)
        if not path.parent.is_dir() or path.is_dir():
            raise SettingsError([f"log_file: `{path}` is no file that can be made; is its directory there?"])
        found.append(FileSink(path, max_bytes=settings.log_file_max_bytes, keep=settings.log_file_keep))
    if settings.webhook_url is not None:
        found.append(Webhook(settings.webhook_url, settings.webhook_secret, clock.now))
    if settings.otlp_logs_url is not None:
        found.append(OtlpLogs(settings.otlp_logs_url, otlp_headers(settings), host=socket.gethostname()))
    found += map(callback, callback_names(settings))
    return found
