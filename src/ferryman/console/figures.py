"""What was used in some days, from the sums by day: totals, what they are made of, and a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from ferryman.store.read import Dimension, Reader, Sums

TOP = 7
"""Rows of a list of the dearest."""

CHARTED = 4
"""Models that have a color of their own; all others share the last one."""

NANO = 10**9

NOBODY = ("",)
"""In the place of principals, for a caller who sees none: no entry has it."""


class Slice(NamedTuple):
    """What some entries come to.

    Attributes:
        name: of the model, key or user; `None` for a total.
    """

    name: str | None
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cost_nanousd: int = 0

    @property
    def total_input_tokens(self) -> int:
        """All that was sent, from the cache or not."""
        return self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens

    def plus(self, one: Sums) -> Slice:
        """With `one` added."""
        return Slice(self.name, *(getattr(self, name) + getattr(one, name) for name in Slice._fields[1:]))


class Period(NamedTuple):
    """The UTC days from the first to the last."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """Each of them."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def latest(days: int, now: float) -> Period:
    """So many days that end with today."""
    today = datetime.fromtimestamp(now, UTC).date()
    return Period(today - timedelta(days=days - 1), today)


class Figures:
    """Reads sums, of everybody or of some principals."""

    def __init__(self, reader: Reader, principals: Sequence[str] | None = None) -> None:
        """Read from `reader`; `None` is everybody."""
        self._reader = reader
        self._principals = principals

    def __repr__(self) -> str:
        return f"<Figures of {'all' if self._principals is None else len(self._principals)}>"

    def sums(self, period: Period, by: tuple[Dimension, ...], **equal: str) -> list[Sums]:
        """Sums as of `Reader.sums`; of several principals one after the other."""
        wanted: list[dict[str, str]] = [equal]
        if self._principals is not None:
            wanted = [{**equal, "principal": one} for one in self._principals]
        return [
            found
            for one in wanted
            for found in self._reader.sums(period.first, period.last, by=by, equal=one)
        ]

    def dearest(self, period: Period, by: Dimension, limit: int = TOP) -> list[Slice]:
        """What costs most, without what has no name."""
        if self._principals is None:
            found = self._reader.sums(
                period.first, period.last, by=(by,), limit=limit + 1, dearest_first=True
            )
        else:
            found = self.sums(period, (by,))
        return [one for one in grouped(found, lambda one: getattr(one, by)) if one.name][:limit]


def total(found: Iterable[Sums]) -> Slice:
    """All together."""
    whole = Slice(None)
    for one in found:
        whole = whole.plus(one)
    return whole


def grouped(found: Iterable[Sums], name_of: Callable[[Sums], str | None]) -> list[Slice]:
    """By name, dearest first."""
    slices: dict[str, Slice] = {}
    for one in found:
        name = name_of(one) or ""
        slices[name] = slices.get(name, Slice(name)).plus(one)
    return sorted(slices.values(), key=lambda one: (-one.cost_nanousd, -one.requests, one.name or ""))


def chart(found: Sequence[Sums], period: Period) -> dict[str, Any]:
    """Dollars by day and model for the chart of the page, of sums by day and model."""
    ranked = [one.name or "" for one in grouped(found, lambda one: one.model) if one.cost_nanousd]
    named = ranked[:CHARTED] if len(ranked) > CHARTED + 1 else ranked[: CHARTED + 1]
    days = {day: index for index, day in enumerate(period.days)}
    rows = {name: [0] * len(days) for name in named}
    if len(ranked) > len(named):
        rows["other models"] = [0] * len(days)
    for one in found:
        name = one.model if one.model in rows else "other models"
        if one.day is not None and name in rows:
            rows[name][days[one.day]] += one.cost_nanousd
    seconds = [int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in days]
    return {
        "days": seconds,
        "series": [
            {"name": name or "no model", "values": [value / NANO for value in values]}
            for name, values in rows.items()
        ],
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of `values` are, `None` of none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None
