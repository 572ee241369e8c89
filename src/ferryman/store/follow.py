"""Entries as they come: what `ferryman logs --follow` shows.

Entries are stored when their exchange has ended and its journal has been read, so that neither their
start nor their id tells which of them are new. What is new is told by what has ended lately, and by which
of it has been seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ferryman.clock import Clock
from ferryman.model import Entry
from ferryman.store.place import place_of
from ferryman.store.read import MAX_PAGE, Ending, Filter, Reader
from ferryman.store.rows import moment

OVERLAP = timedelta(minutes=5)
"""How much later than another an entry may be stored that ended before it: one worker's journal may be read
later than another's, and machines' clocks differ."""

SHORT = timedelta(minutes=10)
LONG = timedelta(days=1)
"""How long an exchange may have taken. Most polls look as far back as `SHORT`, some as `LONG`."""

LONG_EVERY = 20

MAX_SEEN = 50_000
"""Places in memory, about 7 MB: 160 entries a second over `OVERLAP`."""


class Follower:
    """Tells each entry once that is stored after `begin`.

    An entry that is stored more than `OVERLAP` later than one that ended after it may be missed.
    """

    def __init__(self, reader: Reader, wanted: Filter, clock: Clock) -> None:
        """Follow the entries that are `wanted`."""
        self._reader = reader
        self._wanted = wanted
        self._clock = clock
        self._seen: dict[int, datetime] = {}
        self._latest: datetime | None = None
        self._polls = 0

    def __repr__(self) -> str:
        return f"<Follower {len(self._seen)} seen, latest {self._latest}>"

    def begin(self, limit: int) -> list[Entry]:
        """The newest entries that are there, oldest first; from now on they are old.

        Raises:
            StoreUnavailable: the database is away; it may be called again.
        """
        # In this order: what is stored in between is either told here or new at the next poll.
        self._advance()
        there = self._lately(LONG)
        told = newest(self._reader, self._wanted, limit)
        self._note([*there, *(Ending(place_of(entry.id), _end(entry)) for entry in told)])
        return told

    def new(self) -> list[Entry]:
        """The entries that have come since it was called last, in the order in which they ended.

        Raises:
            StoreUnavailable: the database is away; nothing is missed when it is called again.
        """
        there = self._lately(LONG if self._polls % LONG_EVERY == 0 else SHORT)
        fresh = [ending for ending in there if ending.place not in self._seen]
        found = self._reader.entries([ending.place for ending in fresh])
        self._advance()
        self._polls += 1
        self._note(fresh)
        return sorted(found, key=lambda entry: (_end(entry), entry.id))

    def _lately(self, duration: timedelta) -> list[Ending]:
        since, wanted = None, self._wanted
        if self._latest is not None:
            since = self._latest - OVERLAP
            earliest = since - duration
            if wanted.start is None or wanted.start < earliest:
                wanted = msgspec.structs.replace(wanted, start=earliest)
        return self._reader.ended_since(wanted, since, at_most=MAX_SEEN)

    def _advance(self) -> None:
        """Take note of how far the ledger has come, also by entries that are not wanted."""
        newest_one = self._reader.page(Filter(), limit=1).entries
        if not newest_one:
            return
        # A clock of another machine that is ahead would hide what ends before it.
        latest = min(_end(newest_one[0]), moment(round(self._clock.now() * 1_000_000)))
        self._latest = latest if self._latest is None else max(latest, self._latest)

    def _note(self, endings: list[Ending]) -> None:
        self._seen.update((ending.place, ending.ended_at) for ending in endings)
        since = None if self._latest is None else self._latest - OVERLAP
        kept = [(at, one) for one, at in self._seen.items() if since is None or at >= since]
        # In the order of `ended_since`: what is forgotten here is beyond its bound there.
        kept.sort(reverse=True)
        self._seen = {one: at for at, one in kept[:MAX_SEEN]}


def newest(reader: Reader, wanted: Filter, limit: int) -> list[Entry]:
    """The newest `limit` entries, oldest first."""
    found: list[Entry] = []
    after = None
    while len(found) < limit:
        page = reader.page(wanted, limit=min(limit - len(found), MAX_PAGE), after=after)
        found += page.entries
        after = page.after
        if after is None:
            break
    return found[::-1]


def _end(entry: Entry) -> datetime:
    return entry.started_at + timedelta(seconds=entry.duration_seconds)
