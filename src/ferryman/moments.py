"""Points in time, as prices and records have them."""

from __future__ import annotations

from datetime import UTC, datetime


class Moments:
    """Makes what all moments of a second have in common once: a busy worker asks hundreds of times in it."""

    __slots__ = ("_at", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._at = datetime.fromtimestamp(0, UTC)
        self._text = ""

    def second(self, unix_seconds: float) -> datetime:
        """The UTC time of the second in which `unix_seconds` is."""
        self._enter(int(unix_seconds))
        return self._at

    def json(self, unix_seconds: float) -> bytes:
        """The JSON of `unix_seconds` to the microsecond, as msgspec writes and reads a UTC time."""
        second = int(unix_seconds)
        self._enter(second)
        microseconds = min(int((unix_seconds - second) * 1e6 + 0.5), 999_999)
        if not microseconds:
            return f'"{self._text}Z"'.encode()
        return f'"{self._text}.{str(1_000_000 + microseconds)[1:]}Z"'.encode()

    def _enter(self, second: int) -> None:
        if second != self._second:
            self._at = datetime.fromtimestamp(second, UTC)
            self._text = f"{self._at:%Y-%m-%dT%H:%M:%S}"
            self._second = second
