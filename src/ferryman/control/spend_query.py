"""The parameters of `/spend/logs` and `/spend/logs/v2`. What is not known is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.datastructures import QueryParams

from ferryman.dates import FORMS, first_moment, moment_after
from ferryman.errors import InvalidRequest
from ferryman.store.access_look import token_of
from ferryman.store.read import MAX_PAGE, Cursor, Filter

MAX_LISTED = 10_000
"""Rows of `/spend/logs`, as in LiteLLM."""

MAX_WALKED = 10_000
"""How deep pages are numbered: the database walks over all that stands before a page."""

PAGE_SIZE = 50

LIST_PARAMETERS = ("api_key", "request_id", "user_id", "start_date", "end_date", "summarize")
PAGE_PARAMETERS = (
    *("start_date", "end_date", "page", "page_size", "cursor", "end_user", "model", "status_filter"),
    *("api_key", "request_id", "session_id", "min_spend", "max_spend", "sort_by", "sort_order"),
)

NOT_BUILT = frozenset(
    {
        *("user_id", "team_id", "key_alias", "model_id", "model_group", "error_code"),
        *("error_message", "cache_hit_filter", "group_by_session", "summarize"),
    }
)
"""LiteLLM's parameters that are not served: they are told from mistakes."""

DOLLARS = "wanted dollars, such as `0.25`"

_DOLLARS = re.compile(r"\d{1,9}(\.\d{1,18})?", re.ASCII)

T = TypeVar("T")


class PageQuery(NamedTuple):
    """What a page of `/spend/logs/v2` is to hold.

    Attributes:
        page: its number from 1 on, `None` for the one behind `cursor`.
        skip: so many entries first.
    """

    wanted: Filter
    page: int | None
    page_size: int
    skip: int
    cursor: Cursor | None
    oldest_first: bool


def list_query(parameters: QueryParams) -> Filter:
    """The entries that `/spend/logs` is asked for.

    Raises:
        InvalidRequest: a parameter is not known, not built, or has a value that cannot be used.
    """
    given = checked(parameters, LIST_PARAMETERS)
    if given.get("summarize", "false").lower() != "false":
        raise InvalidRequest(
            "`summarize`: `/spend/logs` gives entries only; ask `/user/daily/activity` for sums by day."
        )
    return _filter(given, {"api_key": "principal", "request_id": "id", "user_id": "end_user"})


def page_query(parameters: QueryParams) -> PageQuery:
    """The page that `/spend/logs/v2` is asked for.

    Raises:
        InvalidRequest: as for `list_query`.
    """
    given = checked(parameters, PAGE_PARAMETERS)
    names = {"request_id": "id", "end_user": "end_user", "model": "model", "session_id": "session_id"}
    names["api_key"] = "principal"
    wanted = _filter(given, names | {"status_filter": "outcome"})
    least = read_value(given, "min_spend", least_nanousd, DOLLARS)
    most = read_value(given, "max_spend", most_nanousd, DOLLARS)
    if least is not None and most is not None and least > most:
        raise InvalidRequest("`max_spend` is less than `min_spend`; nothing can lie between them.")
    wanted = msgspec.structs.replace(wanted, min_nanousd=least, max_nanousd=most)
    one_of(given, "status_filter", ("success", "failure"))
    one_of(given, "sort_by", ("startTime",))
    one_of(given, "sort_order", ("asc", "desc"))
    page_size = number_in(given, "page_size", PAGE_SIZE, MAX_PAGE)
    page = number_in(given, "page", 1, None)
    cursor = read_value(given, "cursor", Cursor.parse, "wanted the `next_cursor` of the page before")
    if cursor is not None and "page" in given:
        raise InvalidRequest("`page` and `cursor` exclude each other; send one of them.")
    if page * page_size > MAX_WALKED:
        raise InvalidRequest(
            f"`page`: page {page} of {page_size} ends beyond {MAX_WALKED} rows, which are as many as are "
            "numbered; send the `next_cursor` of a page as `cursor`, or narrow `start_date` and `end_date`."
        )
    return PageQuery(
        wanted=wanted,
        page=page if cursor is None else None,
        page_size=page_size,
        skip=(page - 1) * page_size,
        cursor=cursor,
        oldest_first=given.get("sort_order") == "asc",
    )


def least_nanousd(text: str) -> int:
    """The fewest nano-dollars that are not less than `text` dollars; ValueError if that is no amount."""
    return -most_nanousd(text, -1)


def most_nanousd(text: str, sign: int = 1) -> int:
    """The most nano-dollars that are not more than `text` dollars times `sign`; ValueError as above."""
    if not _DOLLARS.fullmatch(text):
        raise ValueError(text)
    whole, _, decimals = text.partition(".")
    return sign * int(whole + decimals.ljust(18, "0")) // 10**9


def checked(
    parameters: QueryParams, known: tuple[str, ...], not_built: frozenset[str] = NOT_BUILT
) -> dict[str, str]:
    """The parameters that were sent, once each.

    Raises:
        InvalidRequest: one is not among `known`, is there twice, or has no value.
    """
    given: dict[str, str] = {}
    for name, value in parameters.multi_items():
        if name not in known:
            problem = "is not built yet" if name in not_built else "is not known here"
            raise InvalidRequest(f"`{name[:80]}` {problem}; known are {_listed(known)}.")
        if name in given:
            raise InvalidRequest(f"`{name}` is there twice; send it once.")
        if not value or "\x00" in value:
            raise InvalidRequest(f"`{name}` has no value that can be looked for; send one, or leave it out.")
        given[name] = value
    return given


def _filter(given: Mapping[str, str], names: Mapping[str, str]) -> Filter:
    """A filter with the dates, and with the parameters in `names` under the names they have there."""
    equal: dict[str, Any] = equal_in(given, names)
    start: datetime | None = read_value(given, "start_date", first_moment, FORMS)
    end: datetime | None = read_value(given, "end_date", moment_after, FORMS)
    if start is not None and end is not None and start >= end:
        raise InvalidRequest("`end_date` is before `start_date`; nothing can lie between them.")
    return Filter(start=start, end=end, **equal)


def equal_in(given: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The parameters in `names` under the names they have there; a key by its id, however it is told."""
    found = {ours: given[name] for name, ours in names.items() if name in given}
    if found.get("principal", "").startswith("sk-"):
        found["principal"] = token_of(found["principal"])
    return found


def read_value(given: Mapping[str, str], name: str, parse: Callable[[str], T], hint: str) -> T | None:
    """What `parse` makes of a parameter; InvalidRequest if that is a ValueError."""
    if (text := given.get(name)) is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidRequest(f"`{name}`: `{text[:80]}` cannot be used; {hint}.") from error


def number_in(given: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    """A parameter that is a number from 1 on; InvalidRequest if it is none."""
    text = given.get(name, str(default))
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
    if number < 1 or (most is not None and number > most):
        bound = "from 1 on" if most is None else f"from 1 to {most}"
        raise InvalidRequest(f"`{name}`: `{text[:80]}` cannot be used; wanted a number {bound}.")
    return number


def one_of(given: Mapping[str, str], name: str, values: tuple[str, ...]) -> None:
    """Raise InvalidRequest if the parameter is there and is none of `values`."""
    if (text := given.get(name)) is not None and text not in values:
        raise InvalidRequest(f"`{name}`: `{text[:80]}` is not served; wanted {_listed(values)}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
