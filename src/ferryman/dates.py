"""Points in time as people write them in parameters and options."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

FORMS = "wanted a day as `2026-11-22` or a time as `2026-11-22T15:30:00Z`"

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_LOST_PLUS = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$", re.ASCII)
"""The `+` of an offset that stands unescaped in a query is read as a space."""

_STEP = timedelta(microseconds=1)


def first_moment(text: str) -> datetime:
    """The UTC time that `text` begins with: of a day its midnight. Without an offset UTC is meant.

    Raises:
        ValueError: it is neither a day nor a time.
    """
    return _moment(text)[0]


def moment_after(text: str) -> datetime:
    """The first UTC time that is later than `text`: of a day the midnight at its end.

    Raises:
        ValueError: it is neither a day nor a time.
    """
    return _moment(text)[1]


def _moment(text: str) -> tuple[datetime, datetime]:
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            return start, start + timedelta(days=1)
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment, moment + _STEP
    except OverflowError as error:
        raise ValueError(text) from error
