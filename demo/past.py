"""Days before today: copies of the day's entries, dated back. Pure.

No gateway can have served requests before it was started, but charts and lists want a past to be looked at.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time, timedelta
from itertools import groupby

from msgspec.structs import replace

from ferryman.ids import Ids
from ferryman.model import Entry

FIRST_HOUR, LAST_HOUR = 8, 17
"""UTC, between which work begins."""

WEEKEND_SHARE = 0.15
LEAST_SHARE, MOST_SHARE = 0.35, 0.9
"""Of the entries' work that a day repeats; from the first to the last it becomes more."""

LEAST_OF_SESSION = 0.4
"""Which a day repeats: no two sessions are alike. Its last requests are left out."""

SLOWER = 14
"""How much longer a session takes than here, where nobody thinks between two requests."""


def days_before(
    entries: Sequence[Entry], *, days: int, now: datetime, seed: int = 11
) -> Iterator[list[Entry]]:
    """What `days` days before that of `now` may have been, a list for each, the oldest first.

    Args:
        entries: that there are; a session is repeated as a whole, under another id.
        days: how many.
        now: in UTC.
        seed: the same one repeats the same.
    """
    chance, ids = random.Random(seed), Ids()
    works = _works(entries)
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    for back in range(days, 0, -1):
        day = midnight - timedelta(days=back)
        share = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * (days - back) / days
        wanted = WEEKEND_SHARE if day.weekday() >= 5 else share * chance.uniform(0.8, 1.2)
        repeated = [work for work in works if chance.random() < wanted]
        yield sorted(
            (copy for work in repeated for copy in _copies(work, _start(day, chance), chance, ids)),
            key=lambda entry: entry.id,
        )


def _works(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries that belong together: of a session, or one alone; in the order of time."""

    def belongs(entry: Entry) -> str:
        return entry.session_id or entry.id

    ordered = sorted(entries, key=lambda entry: (belongs(entry), entry.started_at))
    return [list(work) for _, work in groupby(ordered, belongs)]


def _start(day: datetime, chance: random.Random) -> datetime:
    return day + timedelta(hours=chance.uniform(FIRST_HOUR, LAST_HOUR))


def _copies(work: Sequence[Entry], start: datetime, chance: random.Random, ids: Ids) -> Iterator[Entry]:
    least = max(round(LEAST_OF_SESSION * len(work)), 1)
    session = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    for entry in work[: chance.randint(least, len(work))]:
        at = start + SLOWER * (entry.started_at - work[0].started_at)
        yield replace(
            entry,
            id=ids.next(at.timestamp()),
            started_at=at,
            session_id=session if entry.session_id is not None else None,
            upstream_request_id=None,  # the upstream has never seen it
        )
