"""LiteLLM's words for lengths of time, where keys end and where budgets begin anew."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from ferryman.limits.windows import parse

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_duration(word: str) -> bool:
    """Whether a budget can have `word` as its window."""
    try:
        parse(word)
    except ValueError:
        return False
    return True


def end_of(word: str, begin_microseconds: int) -> int:
    """When a time of this length that begins then is over, in microseconds since 1970.

    Raises:
        ValueError: it is no duration, or ends after the year 9999.
    """
    number, unit = parse(word)
    begin = _EPOCH + timedelta(microseconds=begin_microseconds)
    try:
        end = (
            _months_later(begin, number)
            if unit == "mo"
            else begin + timedelta(seconds=number * _SECONDS[unit])
        )
    except OverflowError as error:
        raise ValueError(word) from error
    return (end - _EPOCH) // _MICROSECOND


def _months_later(begin: datetime, number: int) -> datetime:
    """The same day of a later month, or its last one, as LiteLLM counts `1mo`."""
    months = begin.year * 12 + begin.month - 1 + number
    year, month = divmod(months, 12)
    if year > 9999:
        raise OverflowError(number)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return begin.replace(year=year, month=month + 1, day=day)
