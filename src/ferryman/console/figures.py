"""What was used in some days, from the sums by day: totals, what they are made of, and a chart."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Literal, NamedTuple

from ferryman.store.read import MAX_SUMS, Dimension, Reader, Sums

TOP = 7
"""Rows of a list of the dearest."""

CHARTED = 4
"""Models that have a color of their own; all others share the last one."""

NANO = 10**9

PAST_SECONDS = 60.0
MAX_ANSWERS = 64
"""About the past that are remembered: those of ten people who look at different pages. Most have some hundred
sums, 40 KB."""

COMMON_DAYS = 30
"""Of these the overview tells at first; where more are asked for, they are known already."""

MAX_RANKED = 2_000
"""Keys or end users of the past and of today among which the dearest are looked for."""


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


MEASURES = Slice._fields[1:]
"""All that pages show."""

COMPARED = ("requests", "errors", "cost_nanousd")
"""What is shown of the time before."""

Equal = dict[str, tuple[str, ...]]
"""Dimensions that must have one of these values."""

Ranked = Literal["model", "principal", "end_user"]


class Period(NamedTuple):
    """The UTC days from the first to the last."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """Each of them."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]

    def cut(self, *days: date) -> list[Period]:
        """The same in parts: each but the first begins with one of `days`, which come in their order."""
        parts = [self]
        for day in days:
            whole = parts[-1]
            if whole.first < day <= whole.last:
                parts[-1:] = [Period(whole.first, day - timedelta(days=1)), Period(day, whole.last)]
        return parts


def latest(days: int, now: float) -> Period:
    """So many days that end with today."""
    today = datetime.fromtimestamp(now, UTC).date()
    return Period(today - timedelta(days=days - 1), today)


class Past:
    """Sums of days that are over, for a while: pages ask for them again and again. Safe to call from threads.

    They can change: journals are read late, and entries are priced anew.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Know nothing yet; `now` is Unix time."""
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, list[Sums]]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Past {len(self._known)} answers>"

    @property
    def today(self) -> date:
        """The UTC day that is not over."""
        return datetime.fromtimestamp(self._now(), UTC).date()

    def forget(self) -> None:
        """Something has changed them."""
        with self._lock:
            self._known.clear()

    def answer(self, question: Hashable, ask: Callable[[], list[Sums]]) -> list[Sums]:
        """What `ask` returns, or has returned to the same question within `PAST_SECONDS`."""
        with self._lock:
            known = self._known.get(question)
        if known is not None and known[0] > self._now():
            return known[1]
        found = ask()
        with self._lock:
            self._known[question] = (self._now() + PAST_SECONDS, found)
            self._known.move_to_end(question)
            if len(self._known) > MAX_ANSWERS:
                self._known.popitem(last=False)
        return found


class Figures:
    """Reads sums, of everybody or of some principals."""

    def __init__(self, reader: Reader, past: Past, principals: Sequence[str] | None = None) -> None:
        """Read from `reader` what `past` does not have; `None` is everybody."""
        self._reader = reader
        self._past = past
        self._principals = principals

    def __repr__(self) -> str:
        return f"<Figures of {'all' if self._principals is None else len(self._principals)}>"

    def sums(
        self, period: Period, by: tuple[Dimension, ...], measures: tuple[str, ...] = MEASURES
    ) -> list[Sums]:
        """Sums as of `Reader.sums`.

        They are to be added up: there may be several with the same dimensions, of the past and of today.
        """

        def ask(part: Period, equal: Equal) -> list[Sums]:
            return self._reader.sums(*part, by=by, equal=equal, measures=measures)

        return self._found(period, ask, ("sums", by, measures))

    def ranked(self, period: Period, *by: Ranked) -> list[Sums]:
        """Sums by each of these dimensions alone, to be added up; see `dearest`.

        All models are there, and of keys and end users the dearest `MAX_RANKED`.
        """
        most = {one: MAX_SUMS if one == "model" else MAX_RANKED for one in by}

        def ask(part: Period, equal: Equal) -> list[Sums]:
            return self._reader.ranked(*part, most, equal=equal, measures=MEASURES)

        return self._found(period, ask, ("ranked", by))

    def _found(
        self, period: Period, ask: Callable[[Period, Equal], list[Sums]], question: Hashable
    ) -> list[Sums]:
        """What `ask` returns of the past, if it is not known, and of today, of all principals at once."""
        today = self._past.today
        parts = period.cut(today - timedelta(days=COMMON_DAYS - 1), today)
        equal: Equal = {} if self._principals is None else {"principal": tuple(self._principals)}
        found: list[Sums] = []
        for part in parts:
            of_part = partial(ask, part, equal)
            is_over = part.last < today
            key = (part, question, *equal.values())
            found += self._past.answer(key, of_part) if is_over else of_part()
        return found


def dearest(found: Iterable[Sums], by: Ranked, limit: int = TOP) -> list[Slice]:
    """What costs most of what `Figures.ranked` has found by one dimension, without what has no name."""
    named = [one for one in found if getattr(one, by)]
    return grouped(named, lambda one: getattr(one, by))[:limit]


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
