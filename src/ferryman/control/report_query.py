"""The parameters of the reports. What is not known is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from starlette.datastructures import QueryParams

from ferryman.control.spend_query import checked, equal_in, number_in, one_of, read_value
from ferryman.errors import InvalidRequest

DAY = "wanted a day (UTC) as `2026-11-22`: sums are by day"

MAX_ROWS = 10_000
"""Of one list."""

MAX_DAYS = 50
"""Of a page of `/user/daily/activity`: 15,000 rows of sums for 300 callers."""

TOP_DAYS = 30
"""What `/global/spend/models` and its like look back at, as in LiteLLM."""

TOP_ROWS = 100

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9999, 12, 31)

GROUPS = ("team", "customer", "api_key")

NOT_BUILT = frozenset({"team_id", "internal_user_id", "timezone", "exclude_team_ids", "summarize", "view"})
"""LiteLLM's parameters that are not served: they are told from mistakes."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Period(NamedTuple):
    """The UTC days from the first to the last."""

    first: date
    last: date


class ReportQuery(NamedTuple):
    """What a report is asked for.

    Attributes:
        equal: dimensions of the roll-ups that must have a value.
        limit: of rows.
        page: from 1 on.
        group_by: one of `GROUPS`.
    """

    period: Period
    equal: dict[str, str]
    limit: int = MAX_ROWS
    page: int = 1
    group_by: str = "team"


def list_query(parameters: QueryParams, **names: str) -> ReportQuery:
    """A list over all time, or over the days that are named.

    Args:
        parameters: of the request.
        **names: further ones → the dimension that they are about.

    Raises:
        InvalidRequest: a parameter is not known, not built, or has a value that cannot be used.
    """
    given = checked(parameters, ("start_date", "end_date", "limit", *names), NOT_BUILT)
    limit = number_in(given, "limit", MAX_ROWS, MAX_ROWS)
    return ReportQuery(_period(given), equal_in(given, names), limit)


def top_query(parameters: QueryParams, now: float) -> ReportQuery:
    """The first of a list over the last `TOP_DAYS`, or over the days that are named; errors as above."""
    given = checked(parameters, ("start_date", "end_date", "limit"), NOT_BUILT)
    period = _period(given)
    if "start_date" not in given:
        today = datetime.fromtimestamp(now, UTC).date()
        last = min(period.last, today)
        period = Period(last - timedelta(days=TOP_DAYS - 1), last)
    return ReportQuery(period, {}, number_in(given, "limit", TOP_ROWS, MAX_ROWS))


def report_query(parameters: QueryParams) -> ReportQuery:
    """What `/global/spend/report` is asked for; errors as above."""
    names = {"api_key": "principal", "customer_id": "end_user"}
    given = checked(parameters, ("start_date", "end_date", "group_by", *names), NOT_BUILT)
    one_of(given, "group_by", GROUPS)
    period = _required_period(given)
    return ReportQuery(period, equal_in(given, names), group_by=given.get("group_by", "team"))


def activity_query(parameters: QueryParams) -> ReportQuery:
    """What `/user/daily/activity` is asked for; errors as above."""
    names = {"model": "model", "api_key": "principal", "user_id": "end_user"}
    given = checked(parameters, ("start_date", "end_date", *names, "page", "page_size"), NOT_BUILT)
    size = number_in(given, "page_size", MAX_DAYS, 1_000)
    page = number_in(given, "page", 1, None)
    return ReportQuery(_required_period(given), equal_in(given, names), min(size, MAX_DAYS), page)


def period_between(first: str | None, last: str | None) -> Period:
    """The days that a body names, `None` for no bound; a time of the day counts as its day.

    Raises:
        InvalidRequest: one is no day.
    """
    named = {"startTime": first, "endTime": last}
    given = {name: text[:10] for name, text in named.items() if text is not None}
    return _checked_period(read_value(given, "startTime", _day, DAY), read_value(given, "endTime", _day, DAY))


def _required_period(given: Mapping[str, str]) -> Period:
    missing = [name for name in ("start_date", "end_date") if name not in given]
    if missing:
        raise InvalidRequest(f"`{missing[0]}` is missing; {DAY}.")
    return _period(given)


def _period(given: Mapping[str, str]) -> Period:
    return _checked_period(
        read_value(given, "start_date", _day, DAY), read_value(given, "end_date", _day, DAY)
    )


def _checked_period(first: date | None, last: date | None) -> Period:
    period = Period(first or FIRST_DAY, last or LAST_DAY)
    if period.last < period.first:
        raise InvalidRequest("the last day is before the first; nothing can lie between them.")
    return period


def _day(text: str) -> date:
    if not _DAY.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)
