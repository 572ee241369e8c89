"""From records to entries, pure: what was closed, and what never will be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from ferryman.ledger.records import Seen, decode_opened, opened_id
from ferryman.model import Ended, Entry, Usage

NO_END = "the worker ended before the exchange did"
"""The `error` of an interrupted exchange."""


class Live(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An exchange that is not closed, as far as it was told of.

    Attributes:
        opened: the JSON of an `Opened`, which is read only if nothing closes it: nearly all are closed.
        usage: that was seen.
    """

    opened: msgspec.Raw
    usage: Usage | None = None


class Replay:
    """The exchanges of one worker that are open. The same records give the same entries again."""

    def __init__(self, live: Iterable[Live] = ()) -> None:
        """Go on with the exchanges of `live`."""
        self._live = {
            opened_id(bytes(one.opened)): one for one in live
        }  # bounded by what the worker relays at once

    def __repr__(self) -> str:
        return f"<Replay {len(self._live)} open>"

    @property
    def live(self) -> tuple[Live, ...]:
        """The exchanges that are not closed."""
        return tuple(self._live.values())

    def open(self, payload: bytes) -> None:
        """An exchange opens, or opens again: `payload` is the JSON of an `Opened`.

        Raises:
            ValueError: it is none.
        """
        exchange = opened_id(payload)
        one = self._live.get(exchange)
        self._live[exchange] = Live(msgspec.Raw(payload), one.usage if one is not None else None)

    def see(self, seen: Seen) -> None:
        """The input of an exchange was seen."""
        one = self._live.get(seen.id)
        if one is not None:  # else its `open` could not be read; the close will tell all the same
            usage = one.usage.updated(seen.usage) if one.usage is not None else seen.usage
            self._live[seen.id] = Live(one.opened, usage)

    def close(self, entry_id: str) -> None:
        """The exchange has its entry."""
        self._live.pop(entry_id, None)

    def finish(self, now: float) -> list[Entry]:
        """The worker is dead: an entry for each exchange that is still open, which then is not any more.

        Args:
            now: Unix time in seconds; an interrupted exchange lasted until then at most.
        """
        entries = [interrupted(one, now) for one in self._live.values()]
        self._live.clear()
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
