"""What a sink is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ferryman.model import Entry


class Batch(NamedTuple):
    """Entries that are sent together.

    Attributes:
        id: the same when they are sent again.
        entries: at least one, in the order in which they were stored.
        records: the JSON of each, on one line, as in the log.
    """

    id: str
    entries: list[Entry]
    records: list[bytes]


class Sink(Protocol):
    """Takes entries."""

    @property
    def name(self) -> str:
        """Stays the same over restarts: by it Ferryman knows how far this sink is."""

    def deliver(self, batch: Batch) -> None:
        """Take all of `batch`, or fail.

        Raises:
            SinkFailed: it is to be sent again.
        """

    def close(self) -> None:
        """Let go of what is open."""
