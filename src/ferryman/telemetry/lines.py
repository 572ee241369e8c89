"""The line per exchange, on a fast path of its own: rendered in batches, written by a thread."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ferryman.telemetry.writer import BackgroundWriter

BATCH_ENTRIES = 64
"""Lines are rendered together, behind the answers they tell of: a client waits for none of them.
So many take about 0.3 ms, which is as long as one exchange may hold up the others."""

FLUSH_SECONDS = 0.1
"""Lines are written together, at the latest after this time."""


def json_line(record: bytes) -> bytes:
    """`record`, the JSON of an `Entry`, as one line."""
    # Line breaks can only be white space within `iterations`, which are kept as they came.
    return record.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


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
