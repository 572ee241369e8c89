"""The time of day by which batches end and files expire. Tests move it; it never waits."""

import threading
from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's time of day until a test holds or advances it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_at: datetime | None = None
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The time, in UTC."""
        with self._lock:
            return self._now()

    def hold(self, at: datetime) -> None:
        """Stand still at a time, until it is moved or advanced."""
        with self._lock:
            self._held_at = at.astimezone(UTC)

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds; a clock that stands still stands still there.

        Raises:
            OverflowError: Beyond the year 9999.
        """
        with self._lock:
            if self._held_at is None:
                self._ahead += timedelta(seconds=seconds)
                self._now()  # fails now rather than at the next request
            else:
                self._held_at += timedelta(seconds=seconds)

    def reset(self) -> None:
        """Go with the machine's time again."""
        with self._lock:
            self._held_at, self._ahead = None, timedelta()

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead if self._held_at is None else self._held_at


def rfc3339(at: datetime | None) -> str | None:
    """A time as the API writes it, in microseconds; None stays None."""
    return (
        None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
