"""What entries add to the sums of their sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ferryman.store.flat import Row
from ferryman.store.schema import COLUMNS

Key = tuple[str, str, str]
"""A session, principal and model; `''` is what an entry does not have."""

_NUMBER = {name: number for number, name in enumerate(COLUMNS)}
_PLACE, _STARTED, _DURATION = (
    _NUMBER[name] for name in ("place", "started_at_microseconds", "duration_microseconds")
)
_SESSION, _PRINCIPAL, _MODEL = (_NUMBER[name] for name in ("session_id", "principal", "model"))
_FAILED, _COST = _NUMBER["failed"], _NUMBER["cost_nanousd"]


def summed(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Rows of `session_sums` for these of `entries`, sorted: two writers take the locks in one order."""
    alike: dict[Key, list[tuple[int, ...]]] = {}
    for row in rows:
        values = row.values
        if session_id := values[_SESSION]:
            started, nanousd = values[_STARTED], values[_COST] or 0
            ended = started + values[_DURATION]
            key = session_id, values[_PRINCIPAL], values[_MODEL]
            alike.setdefault(key, []).append((values[_PLACE], started, ended, values[_FAILED], nanousd))
    return [(*key, *_totals(alike[key])) for key in sorted(alike)]


def _totals(measures: list[tuple[int, ...]]) -> tuple[int, ...]:
    places, starts, ends, errors, costs = zip(*measures, strict=True)
    return max(places), min(starts), max(ends), len(places), sum(errors), sum(costs)
