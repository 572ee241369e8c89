"""From records to entries, pure: what was closed, and what never will be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from ferryman.ledger.checkpoint import Live
from ferryman.ledger.records import Seen, decode_opened
from ferryman.model import Ended, Entry, Usage

NO_END = "the worker ended before the exchange did"
"""The `error` of an interrupted exchange."""


class Replay:
    """The exchanges of one worker that are open. The same records give the same entries again."""

    def __init__(self, live: Iterable[Live] = ()) -> None:
        """Go on with the exchanges of `live`."""
        # Both by id, and bounded by what the worker relays at once.
        self._opened: dict[str, bytes] = {}
        self._seen: dict[str, Usage] = {}
        for one in live:
            self.open(bytes(one.opened))
            if one.usage is not None:
                self._seen[opened_id(bytes(one.opened))] = one.usage

    def __repr__(self) -> str:
        return f"<Replay {len(self._opened)} open>"

    @property
    def live(self) -> tuple[Live, ...]:
        """The exchanges that are not closed."""
        return tuple(
            Live(msgspec.Raw(payload), self._seen.get(exchange)) for exchange, payload in self._opened.items()
        )

    def open(self, payload: bytes) -> None:
        """An exchange opens, or opens again: `payload` is the JSON of an `Opened`.

        Raises:
            ValueError: it is none.
        """
        self._opened[opened_id(payload)] = payload

    def see(self, seen: Seen) -> None:
        """The input of an exchange was seen."""
        if seen.id in self._opened:  # else its `open` could not be read; the close will tell all the same
            before = self._seen.get(seen.id)
            self._seen[seen.id] = seen.usage if before is None else before.updated(seen.usage)

    def close(self, entry_id: str) -> None:
        """The exchange has its entry."""
        self._opened.pop(entry_id, None)
        if self._seen:
            self._seen.pop(entry_id, None)

    def finish(self, now: float) -> list[Entry]:
        """The worker is dead: an entry for each exchange that is still open, which then is not any more.

        Args:
            now: Unix time in seconds; an interrupted exchange lasted until then at most.
        """
        entries = [interrupted(one, now) for one in self.live]
        self._opened.clear()
        self._seen.clear()
        return entries


def interrupted(one: Live, now: float) -> Entry:
    """The entry of an exchange that its worker did not live to close."""
    opened = decode_opened(one.opened)
    known = {name: getattr(opened, name) for name in opened.__struct_fields__}
    return Entry(
        **known,
        ended=Ended.INTERRUPTED,
        error=NO_END,
        duration_seconds=round(
            max(0.0, (datetime.fromtimestamp(now, UTC) - opened.started_at).total_seconds()), 6
        ),
        response_bytes=0,
        usage=one.usage,
        usage_complete=False,
    )


def opened_id(payload: bytes) -> str:
    """The id in the JSON of an `Opened`.

    Raises:
        ValueError: it is none.
    """
    if payload[43:58] == b'","started_at":':  # as a worker writes it: the rest is right too, by its checksum
        return payload[7:43].decode("latin-1")
    return decode_opened(payload).id
