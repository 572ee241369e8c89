"""Who spent what: LiteLLM's reports, from the sums by day, never from the entries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.clock import Clock, SystemClock
from ferryman.control import report_rows as rows
from ferryman.control.asking import Asking
from ferryman.control.bodies import body_of
from ferryman.control.key_names import KeyNames, named_row
from ferryman.control.report_query import (
    FIRST_DAY,
    LAST_DAY,
    TOP_ROWS,
    ReportQuery,
    activity_query,
    list_query,
    period_between,
    report_query,
    top_query,
)
from ferryman.control.spend_query import checked, equal_in
from ferryman.control.spend_row import dollars_of
from ferryman.errors import InvalidRequest
from ferryman.store.read import MAX_SUMS, Dimension, Reader, Sums

MAX_BODY_BYTES = 4_096
"""Of a question; a few short fields."""

_KEY = {"api_key": "principal"}

RowOf = Callable[[Sums], dict[str, Any]]
QueryOf = Callable[[QueryParams], ReportQuery]


class EndUsers(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /global/spend/end_users`, with LiteLLM's names.

    Attributes:
        api_key: the principal.
        startTime, endTime: a day, or a time that counts as its day.
    """

    api_key: str | None = None
    startTime: str | None = None  # noqa: N815  # LiteLLM's
    endTime: str | None = None  # noqa: N815  # the same


class Reports:
    """Answers from the roll-ups."""

    def __init__(
        self, reader: Reader, asking: Asking, clock: Clock | None = None, names: KeyNames | None = None
    ) -> None:
        """Read from `reader`, in the threads of `asking`; `names` tells how keys are called."""
        self._reader = reader
        self._asking = asking
        self._names = names or KeyNames()
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        return f"<Reports {self._asking!r}>"

    def routes(self) -> list[Route]:
        """What is served of it."""
        top = self._top_query
        users = partial(list_query, user_id="end_user")
        lists: list[tuple[str, QueryOf, Dimension, RowOf]] = [
            ("/spend/keys", list_query, "principal", rows.key_row),
            ("/spend/users", users, "end_user", rows.user_row),
            ("/spend/tags", list_query, "tag", rows.tag_row),
            ("/global/spend/models", top, "model", rows.global_model_row),
            ("/global/spend/keys", top, "principal", rows.global_key_row),
        ]
        return [
            *(
                Route(path, self._lister(query_of, by, row_of), methods=["GET"])
                for path, query_of, by, row_of in lists
            ),
            Route("/global/spend", self._total, methods=["GET"]),
            Route("/global/spend/tags", self._global_tags, methods=["GET"]),
            Route("/global/spend/end_users", self._end_users, methods=["GET", "POST"]),
            Route("/global/spend/report", self._report, methods=["GET"]),
            Route("/user/daily/activity", self._activity, methods=["GET"]),
        ]

    def _top_query(self, parameters: QueryParams) -> ReportQuery:
        return top_query(parameters, self._clock.now())

    def _lister(self, query_of: QueryOf, by: Dimension, row_of: RowOf) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await self._list(query_of(request.query_params), by, row_of)

        return answer

    async def _list(
        self, query: ReportQuery, by: Dimension, row_of: RowOf, wrap: Callable[[Any], Any] = list
    ) -> Response:
        def ask() -> bytes:
            first, last = query.period
            equal = self._known(query.equal)
            found = self._reader.sums(
                first, last, by=(by,), limit=query.limit, dearest_first=True, equal=equal
            )
            names = self._names.of(one.principal for one in found)
            return msgspec.json.encode(wrap([named_row(row_of(one), one.principal, names) for one in found]))

        return await self._asking.answered(ask)

    async def _global_tags(self, request: Request) -> Response:
        query = self._top_query(request.query_params)
        return await self._list(query, "tag", rows.global_tag_row, lambda found: {"spend_per_tag": found})

    async def _end_users(self, request: Request) -> Response:
        if request.method == "GET":
            query = self._top_query(request.query_params)
        else:
            asked = await body_of(request, EndUsers, MAX_BODY_BYTES)
            equal = {} if asked.api_key is None else equal_in({"api_key": asked.api_key}, _KEY)
            query = ReportQuery(period_between(asked.startTime, asked.endTime), equal, TOP_ROWS)
        return await self._list(query, "end_user", rows.end_user_row)

    async def _total(self, request: Request) -> Response:
        checked(request.query_params, ())

        def ask() -> bytes:
            (one,) = self._reader.sums(FIRST_DAY, LAST_DAY, by=())
            told = {"spend": dollars_of(one.cost_nanousd), "cost_nanousd": one.cost_nanousd}
            return msgspec.json.encode({**told, "max_budget": None})

        return await self._asking.answered(ask)

    async def _report(self, request: Request) -> Response:
        query = report_query(request.query_params)

        def ask() -> bytes:
            if query.group_by == "customer":
                found = self._all(query, ("day", "end_user", "model"))
                return msgspec.json.encode(rows.customers_by_day(found))
            by_team = query.group_by == "team"
            found = self._all(query, ("day", "principal", "model") if by_team else ("principal", "model"))
            names = self._names.of(one.principal for one in found)
            told = rows.teams_by_day(found, names) if by_team else rows.keys_with_models(found, names)
            return msgspec.json.encode(told)

        return await self._asking.answered(ask)

    async def _activity(self, request: Request) -> Response:
        query = activity_query(request.query_params)
        return await self._asking.answered(lambda: msgspec.json.encode(self._activity_of(query)))

    def _activity_of(self, query: ReportQuery) -> dict[str, Any]:
        everything = self._all(query, ("day",))[::-1]
        begin = (query.page - 1) * query.limit
        days = everything[begin : begin + query.limit]
        by_model: list[Sums] = []
        by_principal: list[Sums] = []
        if days:
            first, last = _day_of(days[-1]), _day_of(days[0])
            page = query._replace(period=query.period._replace(first=first, last=last))
            by_model = self._all(page, ("day", "model"))
            by_principal = self._all(page, ("day", "principal"))
        names = self._names.of(one.principal for one in by_principal)
        return rows.activity(query, days, by_model, by_principal, len(everything), names)

    def _all(self, query: ReportQuery, by: tuple[Dimension, ...]) -> list[Sums]:
        """Every sum: a report that leaves some out would be wrong.

        Raises:
            InvalidRequest: there are too many.
        """
        equal = self._known(query.equal)
        found = self._reader.sums(query.period.first, query.period.last, by=by, equal=equal)
        if len(found) == MAX_SUMS:
            raise InvalidRequest(
                f"`start_date` and `end_date` have more than {MAX_SUMS} sums between them; ask for less."
            )
        return found

    def _known(self, equal: dict[str, str]) -> dict[str, str]:
        """`equal` with the id of the key that it names, if it names one."""
        if (token := equal.get("principal")) is None:
            return equal
        return {**equal, "principal": self._names.id_of(token)}


def _day_of(one: Sums) -> date:
    assert one.day is not None  # noqa: S101  # it was asked for
    return one.day
