"""The first page: what is spent, by whom, for what, and how fast."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from starlette.responses import Response

from ferryman.console.figures import (
    COMPARED,
    Figures,
    Period,
    Slice,
    chart,
    dearest,
    grouped,
    latest,
    percentile,
    total,
)
from ferryman.console.own import names_of, principals_of, shown_name
from ferryman.console.visit import Page, Visit
from ferryman.control.key_names import Named
from ferryman.limits.spec import GATEWAY
from ferryman.model import Entry
from ferryman.settings_limits import gateway_limits
from ferryman.store.read import Filter, Sums

SPANS = {"1": "Today", "7": "7 days", "30": "30 days", "90": "90 days"}
DEFAULT_SPAN = "30"

LATEST = 300
"""Entries of which the times are told: the sums by day have none."""

BUDGETS = 5
"""That are nearest to their ends."""

SMALLEST_SHARE = 0.5
"""Of a budget, from which on it is shown here."""


class Capped(NamedTuple):
    """A budget of somebody."""

    kind: str
    name: str
    path: str | None
    spent_nanousd: int
    cap_nanousd: int
    resets_at: str | float | None

    @property
    def share(self) -> float:
        """How much of it is used; 1 is all."""
        return self.spent_nanousd / self.cap_nanousd if self.cap_nanousd else 1.0


def pages() -> list[Page]:
    """The one there is."""
    return [Page("/ui", show)]


def foresee(figures: Figures, now: float) -> None:
    """Ask what the page will ask at first: what it tells of days that are over is known then."""
    period = latest(int(DEFAULT_SPAN), now)
    _by_day(figures, period)
    _ranked(figures, period)
    _before(figures, period)


def _by_day(figures: Figures, period: Period) -> list[Sums]:
    return figures.sums(period, ("day", "model"), measures=("cost_nanousd",))


def _ranked(figures: Figures, period: Period) -> list[Sums]:
    return figures.ranked(period, "model", "principal", "end_user")


def _before(figures: Figures, period: Period) -> list[Sums]:
    """Sums of as many days before."""
    first = period.first - timedelta(days=len(period.days))
    return figures.sums(Period(first, period.first - timedelta(days=1)), (), measures=COMPARED)


async def show(visit: Visit) -> Response:
    """The page; it asks for itself every few seconds."""
    days = visit.query.get("days", DEFAULT_SPAN)
    days = days if days in SPANS else DEFAULT_SPAN
    principals = await principals_of(visit)
    figures, period = visit.figures(principals), latest(int(days), visit.now)
    # Two at a time, as long as each other, on the two threads there are; budgets have threads of their own.
    (by_day, entries), (ranked, before, keys, names), budgets = await asyncio.gather(
        visit.ask(lambda: (_by_day(figures, period), _latest(visit, principals))),
        visit.ask(lambda: _compared(visit, figures, period)),
        _budgets(visit),
    )
    models = grouped((one for one in ranked if one.model is not None), lambda one: one.model)
    return visit.render(
        "overview.html",
        days=days,
        spans=SPANS.items(),
        budgets=budgets,
        period=period,
        whole=total(one for one in ranked if one.model is not None),
        before=total(before),
        models=models[:8],
        keys=[(one, shown_name(one.name, names), one.name in names) for one in keys],
        users=dearest(ranked, "end_user"),
        chart=chart(by_day, period),
        times=_times(entries),
        is_unused=not entries,
    )


def _compared(
    visit: Visit, figures: Figures, period: Period
) -> tuple[list[Sums], list[Sums], list[Slice], dict[str, Named]]:
    """Sums by model, key and end user; those of the time before; the dearest keys, and their names."""
    ranked = _ranked(figures, period)
    keys = dearest(ranked, "principal")
    return ranked, _before(figures, period), keys, names_of(visit, [one.name for one in keys])


def _latest(visit: Visit, principals: Sequence[str] | None) -> list[Entry]:
    reader = visit.backing.store.read
    if principals is None:
        return reader.page(Filter(), limit=LATEST).entries
    return [
        entry
        for one in principals
        for entry in reader.page(Filter(principal=one), limit=LATEST // max(len(principals), 1) + 1).entries
    ]


def _times(entries: list[Entry]) -> dict[str, Any]:
    """Median and 95th percentile of the answers among `entries`, in seconds."""
    good = [entry for entry in entries if entry.ended.value == "done" and (entry.status or 500) < 400]
    kinds = {
        "first": [one for entry in good if (one := entry.time_to_first_byte_seconds) is not None],
        "whole": [entry.duration_seconds for entry in good],
        "overhead": [one for entry in good if (one := entry.overhead_seconds) is not None],
    }
    return {"number": len(good)} | {
        name: (percentile(values, 0.5), percentile(values, 0.95)) for name, values in kinds.items()
    }


async def _budgets(visit: Visit) -> dict[str, Any]:
    """The gateway's own budget, and those of others that are nearest to their end."""
    found: list[Capped] = []
    keys = (await visit.glance("GET /key/list", return_full_object=True, size=100))["keys"]
    rows = [("key", one["key_alias"] or one["key_name"], f"/ui/keys/{one['token']}", one) for one in keys]
    whole = None
    if visit.caller.sees_all:
        teams = (await visit.glance("GET /team/list"))[:100]
        users = (await visit.glance("GET /user/list", page_size=100))["users"]
        rows += [
            ("team", one["team_alias"] or one["team_id"], f"/ui/teams/{one['team_id']}", one) for one in teams
        ]
        rows += [("user", one["user_id"], f"/ui/users/{one['user_id']}", one) for one in users]
        whole = await visit.ask(lambda: _of_gateway(visit))
    for kind, name, path, row in rows:
        lent = row.get("litellm_budget_table") or {}
        cap = row["max_budget"] if row["max_budget"] is not None else lent.get("max_budget")
        if cap is not None:
            spent, ends_at = row["spend_nanousd"], row["budget_reset_at"]
            found.append(Capped(kind, name, path, spent, round(cap * 10**9), ends_at))
    found.sort(key=lambda one: -one.share)
    return {"gateway": whole, "tight": [one for one in found if one.share >= SMALLEST_SHARE][:BUDGETS]}


def _of_gateway(visit: Visit) -> Capped | None:
    limits, spends = gateway_limits(visit.backing.settings), visit.backing.spends
    if limits.max_budget_nanousd is None:
        return None
    window = limits.budget_duration
    spent = spends.spent(GATEWAY, window)
    return Capped(
        "gateway", "Everybody", None, spent, limits.max_budget_nanousd, spends.resets_at(window, "")
    )
