"""Windows of budgets: from when to when, by a duration as LiteLLM spells it, in a time zone. Pure.

LiteLLM 1.109.1, `duration_parser.py`, is where the words are from, and most of what they mean:

- `30s`, `30m`, `30h`: aligned to the clock, counted from each midnight; the last one of a day ends with it.
  Longer than a day they are counted, in real seconds, from the midnight of the anchor.
- `1d`: from midnight to midnight. `7d` and `1w`: from Monday. `30d` and `1mo`: from the first of the month.
- any other number of days or weeks: so many days from the anchor's midnight.
- `3mo`: from the first of a month, so many months from the anchor's.
- the empty word: without end.

Without an anchor it is the first of January 1970, and for weeks the first Monday after it, so that `3mo` are
quarters. LiteLLM counts these from the day on which a budget was last reset.

A midnight is the first moment of a day in its time zone: a day on which clocks are changed has 23 or 25
hours, and a window within it as much less or more as its clock shows. A window that would begin in the hour
that is left out begins when that is over.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY_SECONDS = 86_400

ENDLESS_START = 1
"""Where the window without end begins: 0 stands for what has not begun in the table of counters."""

MAX_SECONDS = 100 * 365 * DAY_SECONDS
"""Of a duration: what is longer is a slip of the keyboard, and dates end at the year 9999."""

MAX_SPANS = 1_024
"""Spans that a `Calendar` keeps; one for each word and anchor, so that some ten are in use. When it is full
it starts anew, which costs each that is in use some ten microseconds."""

_UNIT_SECONDS = {
    "s": 1, "m": 60, "h": 3_600, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS, "mo": 30 * DAY_SECONDS
}  # fmt: skip
_WORD = re.compile(r"([0-9]{1,10})(mo|[smhdw])")
_FIRST_DAY = date(1970, 1, 1)
_FIRST_MONDAY = date(1970, 1, 5)


class Duration(NamedTuple):
    """A word, read.

    Attributes:
        amount: at least 1.
        unit: `s`, `m`, `h`, `d`, `w` or `mo`.
    """

    amount: int
    unit: str

    @property
    def seconds(self) -> int:
        """How long it is, with 30 days to a month."""
        return self.amount * _UNIT_SECONDS[self.unit]


class Span(NamedTuple):
    """A window, in Unix seconds.

    Attributes:
        start: the first second in it; `ENDLESS_START` if it has no end.
        end: the first second behind it, `None` for never.
    """

    start: int
    end: int | None


def parse(word: str) -> Duration:
    """What `word` says.

    Raises:
        ValueError: it is no duration; the sentence says what is wanted.
    """
    match = _WORD.fullmatch(word)
    if match is None or int(match[1]) == 0:
        wanted = "wanted a number and a unit (s, m, h, d, w or mo), as `30d` or `1mo`"
        raise ValueError(f"`{word[:40]}` is no duration: {wanted}")
    duration = Duration(int(match[1]), match[2])
    if duration.seconds > MAX_SECONDS:
        raise ValueError(f"the duration `{word}` is too long: at most 100 years")
    return duration


def seconds_of(word: str) -> int:
    """How long a key lives, or its grace lasts, with 30 days to a month.

    Raises:
        ValueError: it is no duration.
    """
    return parse(word).seconds


def period(word: str) -> str:
    """The name that is nearest to a window's length, of those that Claude Code knows.

    `daily`, `weekly` or `monthly`; what has no end is `monthly`, too. What lies between two counts as the
    nearer by ratio: two days are daily, three weekly, a fortnight weekly, and fifteen days monthly.

    Raises:
        ValueError: it is no duration.
    """
    if not word:
        return "monthly"
    days_squared = (parse(word).seconds / DAY_SECONDS) ** 2
    return "daily" if days_squared <= 1 * 7 else "weekly" if days_squared <= 7 * 30 else "monthly"


def span(word: str, anchor: str, zone: ZoneInfo, now_seconds: float) -> Span:
    """The window of the duration `word` that `now_seconds`, a Unix time, is in.

    Args:
        word: as LiteLLM spells it; empty for without end.
        anchor: a day as `YYYY-MM-DD`, or empty.
        zone: whose midnights count.
        now_seconds: a Unix time.

    Raises:
        ValueError: the word is no duration, or the anchor no day.
    """
    if not word:
        return Span(ENDLESS_START, None)
    count, unit = parse(word)
    origin = date.fromisoformat(anchor) if anchor else None
    now = int(now_seconds // 1)
    if unit in ("s", "m", "h"):
        seconds = count * _UNIT_SECONDS[unit]
        if seconds < DAY_SECONDS:
            return _clock_span(seconds, zone, now)
        if seconds > DAY_SECONDS:
            first = _midnight(origin or _FIRST_DAY, zone)
            start = first + (now - first) // seconds * seconds
            return Span(start, start + seconds)
        count, unit = 1, "d"
    today = _day(now, zone)
    if unit == "mo" or (count, unit) == (30, "d"):
        months = count if unit == "mo" else 1
        since = (origin.year * 12 + origin.month - 1) % months if origin is not None else 0
        month = today.year * 12 + today.month - 1
        month -= (month - since) % months
        return Span(_first_of(month, zone), _first_of(month + months, zone))
    days = count * 7 if unit == "w" else count
    if days in (1, 7):
        origin = _FIRST_MONDAY
    elif origin is None:
        origin = _FIRST_MONDAY if unit == "w" else _FIRST_DAY
    day = today - timedelta(days=(today - origin).days % days)
    return Span(_midnight(day, zone), _midnight(day + timedelta(days=days), zone))


class Calendar:
    """Spans in one time zone, remembered while they last. One for each process."""

    def __init__(self, zone: str = "UTC") -> None:
        """In the time zone with this IANA name.

        Raises:
            ZoneInfoNotFoundError: there is none (a `KeyError`).
        """
        self.zone = ZoneInfo(zone)
        self._spans: dict[tuple[str, str], Span] = {}

    def __repr__(self) -> str:
        return f"<Calendar of {self.zone.key}>"

    def span(self, word: str, anchor: str, now_seconds: float) -> Span:
        """See `span`."""
        found = self._spans.get((word, anchor))
        if found is not None and found[0] <= now_seconds and (found[1] is None or now_seconds < found[1]):
            return found
        if len(self._spans) >= MAX_SPANS:
            self._spans.clear()
        found = self._spans[word, anchor] = span(word, anchor, self.zone, now_seconds)
        return found


def _day(now: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(now, zone).date()


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first second of `day`: of two midnights the first; without one, when the clock goes on."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _first_of(month: int, zone: ZoneInfo) -> int:
    return _midnight(date(month // 12, month % 12 + 1, 1), zone)


class _Stretch(NamedTuple):
    """A part of a day in which clocks are not changed.

    Attributes:
        start, end: Unix seconds.
        offset: what the clock shows at a Unix time, in seconds since its midnight, is so much more.
        skipped: the clock was put forward at the start, and showed so much before.
    """

    start: int
    end: int
    offset: int
    skipped: int | None = None

    def last_mark(self, step: int, at: int) -> int | None:
        """The last moment until `at` at which a window begins."""
        mark = at - (at + self.offset) % step
        if mark >= self.start:
            return mark
        return self.start if self._begins(step) else None

    def first_mark(self, step: int) -> int | None:
        """The first moment at which a window begins."""
        if self._begins(step):
            return self.start
        mark = self.start + -(self.start + self.offset) % step
        return mark if mark < self.end else None

    def _begins(self, step: int) -> bool:
        """Whether a window begins with the stretch, since its own moment has been left out."""
        clock = self.start + self.offset
        return self.skipped is not None and clock // step > self.skipped // step


def _clock_span(step: int, zone: ZoneInfo, now: int) -> Span:
    """The window of `step` seconds, less than a day, that `now` is in."""
    day = _day(now, zone)
    stretches = _stretches(day, zone)
    end_of_day = stretches[-1].end
    number = next(n for n, one in enumerate(stretches) if now < one.end)
    begun = [stretches[n].last_mark(step, min(now, stretches[n].end - 1)) for n in range(number, -1, -1)]
    start = next((mark for mark in begun if mark is not None), stretches[0].start)
    following = now - (now + stretches[number].offset) % step + step
    if following < stretches[number].end:
        return Span(start, following)
    later = [one.first_mark(step) for one in stretches[number + 1 :]]
    return Span(start, next((mark for mark in later if mark is not None), end_of_day))


def _stretches(day: date, zone: ZoneInfo) -> list[_Stretch]:
    """One, or two on a day on which clocks are changed."""
    start, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    shown = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    first, last = _offset(start, zone) - shown, _offset(end - 1, zone) - shown
    if first == last:
        return [_Stretch(start, end, first)]
    low, high = start, end - 1  # the change is behind the one, and not behind the other
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) - shown == first else (low, middle)
    skipped = high - 1 + first if last > first else None
    return [_Stretch(start, high, first), _Stretch(high, end, last, skipped)]


def _offset(at: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
