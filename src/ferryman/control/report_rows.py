"""Sums of the ledger in the shapes of LiteLLM's reports, pure.

Each amount is there twice: in dollars, as a float with LiteLLM's name, and exactly, as `cost_nanousd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from ferryman.control.key_names import Named, named_row
from ferryman.control.report_query import ReportQuery
from ferryman.control.spend_row import dollars_of, key_id_in
from ferryman.store.read import Sums


def key_row(one: Sums) -> dict[str, Any]:
    """A row of `/spend/keys`; where no keys are asked for, the principal stands for one."""
    return {"token": key_id_in(one.principal), "key_name": None, "key_alias": one.principal, **_spend(one)}


def user_row(one: Sums) -> dict[str, Any]:
    """A row of `/spend/users`."""
    return {"user_id": one.end_user, **_spend(one)}


def tag_row(one: Sums) -> dict[str, Any]:
    """A row of `/spend/tags`."""
    return {
        "individual_request_tag": one.tag,
        "log_count": one.requests,
        "total_spend": dollars_of(one.cost_nanousd),
        "cost_nanousd": one.cost_nanousd,
    }


def global_tag_row(one: Sums) -> dict[str, Any]:
    """A row of `/global/spend/tags`."""
    return {"name": one.tag, "log_count": one.requests, **_spend(one)}


def global_model_row(one: Sums) -> dict[str, Any]:
    """A row of `/global/spend/models`."""
    return {"model": one.model, **_total(one)}


def global_key_row(one: Sums) -> dict[str, Any]:
    """A row of `/global/spend/keys`."""
    return {"api_key": key_id_in(one.principal), "key_name": None, "key_alias": one.principal, **_total(one)}


def end_user_row(one: Sums) -> dict[str, Any]:
    """A row of `/global/spend/end_users`."""
    return {"end_user": one.end_user, "total_count": one.requests, **_total(one)}


def customers_by_day(rows: Iterable[Sums]) -> list[dict[str, Any]]:
    """`/global/spend/report` by customer, of sums by day, end user and model in this order."""
    days: dict[date, dict[str, list[Sums]]] = {}
    for one in rows:
        assert one.day is not None  # noqa: S101  # it was asked for
        assert one.end_user is not None  # noqa: S101  # the same
        days.setdefault(one.day, {}).setdefault(one.end_user, []).append(one)
    return [
        {
            "group_by_day": day.isoformat(),
            "customers": [_customer(name, sums) for name, sums in customers.items()],
        }
        for day, customers in days.items()
    ]


def _customer(name: str, sums: list[Sums]) -> dict[str, Any]:
    nanousd = sum(one.cost_nanousd for one in sums)
    return {
        "customer": name,
        "total_spend": dollars_of(nanousd),
        "cost_nanousd": nanousd,
        "metadata": [
            {"model": one.model, **_spend(one), "total_tokens": _tokens(one), "api_key": None} for one in sums
        ],
    }


def teams_by_day(rows: Iterable[Sums], names: Mapping[str, Named]) -> list[dict[str, Any]]:
    """`/global/spend/report` by team, of sums by day, principal and model in this order.

    A key counts for the team that it is in now; who is in none is told at last, as team `null`.
    """
    days: dict[date, dict[str, list[Sums]]] = {}
    aliases: dict[str, str | None] = {}
    for one in rows:
        assert one.day is not None  # noqa: S101  # it was asked for
        named = names.get(one.principal or "")
        team_id = "" if named is None else named.team_id or ""
        aliases[team_id] = None if named is None or not team_id else named.team_alias or team_id
        days.setdefault(one.day, {}).setdefault(team_id, []).append(one)
    return [
        {
            "group_by_day": day.isoformat(),
            "teams": [
                _team(team_id, aliases[team_id], sums)
                for team_id, sums in sorted(teams.items(), key=lambda team: (not team[0], team[0]))
            ],
        }
        for day, teams in days.items()
    ]


def _team(team_id: str, name: str | None, sums: list[Sums]) -> dict[str, Any]:
    nanousd = sum(one.cost_nanousd for one in sums)
    return {
        "team_name": name,
        "team_id": team_id or None,
        "total_spend": dollars_of(nanousd),
        "cost_nanousd": nanousd,
        "metadata": [
            {"model": one.model, **_spend(one), "total_tokens": _tokens(one), "api_key": one.principal}
            for one in sums
        ],
    }


def keys_with_models(rows: Iterable[Sums], names: Mapping[str, Named]) -> list[dict[str, Any]]:
    """`/global/spend/report` by key, of sums by principal and model in this order."""
    keys: dict[str | None, list[Sums]] = {}
    for one in rows:
        keys.setdefault(one.principal, []).append(one)
    return [
        named_row(
            {
                "api_key": name,
                **_cost(sums),
                "model_details": [{"model": one.model, **_cost([one])} for one in sums],
            },
            name,
            names,
        )
        for name, sums in keys.items()
    ]


def _cost(sums: list[Sums]) -> dict[str, Any]:
    nanousd = sum(one.cost_nanousd for one in sums)
    return {
        "total_cost": dollars_of(nanousd),
        "cost_nanousd": nanousd,
        "total_input_tokens": sum(_prompt(one) for one in sums),
        "total_output_tokens": sum(one.output_tokens for one in sums),
    }


def activity(  # one for each part of the answer
    query: ReportQuery,
    days: list[Sums],
    by_model: list[Sums],
    by_principal: list[Sums],
    all_days: int,
    names: Mapping[str, Named],
) -> dict[str, Any]:
    """`/user/daily/activity`: a page of days, newest first.

    Args:
        query: what was asked for.
        days: sums of the days of the page, newest first.
        by_model: the same by day and model.
        by_principal: the same by day and principal.
        all_days: days with any entry, on all pages.
        names: of the keys among the principals.
    """
    found = [_day(one, by_model, by_principal, names) for one in days]
    metrics = _metrics(days)
    pages = -(-all_days // query.limit)
    metadata = {f"total_{name}": value for name, value in metrics.items() if name != "total_tokens"}
    metadata |= {"total_tokens": metrics["total_tokens"]}
    return {
        "results": found,
        "metadata": metadata
        | {
            "page": query.page,
            "page_size": query.limit,
            "total_pages": pages,
            "has_more": query.page < pages,
        },
    }


def _day(
    one: Sums, by_model: list[Sums], by_principal: list[Sums], names: Mapping[str, Named]
) -> dict[str, Any]:
    assert one.day is not None  # noqa: S101  # it was asked for
    models = {
        each.model or "": {"metrics": _metrics([each]), "metadata": {}, "api_key_breakdown": {}}
        for each in by_model
        if each.day == one.day
    }
    keys = {
        each.principal or "": {
            "metrics": _metrics([each]),
            "metadata": _key_metadata(each.principal, names.get(each.principal or "")),
        }
        for each in by_principal
        if each.day == one.day
    }
    metrics = _metrics([one])
    return {
        "date": one.day.isoformat(),
        "metrics": metrics,
        "breakdown": {
            "models": models,
            "model_groups": models,
            "providers": {"anthropic": {"metrics": metrics, "metadata": {}, "api_key_breakdown": {}}},
            "endpoints": {},
            "mcp_servers": {},
            "api_keys": keys,
            "entities": {},
        },
    }


def _key_metadata(principal: str | None, named: Named | None) -> dict[str, Any]:
    if named is None:
        return {"key_alias": principal, "team_id": None}
    return {"key_alias": named.alias, "key_name": named.name, "team_id": named.team_id}


def _metrics(sums: list[Sums]) -> dict[str, Any]:
    nanousd, requests = sum(one.cost_nanousd for one in sums), sum(one.requests for one in sums)
    failed = sum(one.errors for one in sums)
    return {
        "spend": dollars_of(nanousd),
        "cost_nanousd": nanousd,
        "prompt_tokens": sum(_prompt(one) for one in sums),
        "completion_tokens": sum(one.output_tokens for one in sums),
        "cache_read_input_tokens": sum(one.cache_read_input_tokens for one in sums),
        "cache_creation_input_tokens": sum(one.cache_creation_input_tokens for one in sums),
        "total_tokens": sum(_tokens(one) for one in sums),
        "api_requests": requests,
        "successful_requests": requests - failed,
        "failed_requests": failed,
    }


def _spend(one: Sums) -> dict[str, Any]:
    return {"spend": dollars_of(one.cost_nanousd), "cost_nanousd": one.cost_nanousd}


def _total(one: Sums) -> dict[str, Any]:
    return {"total_spend": dollars_of(one.cost_nanousd), "cost_nanousd": one.cost_nanousd}


def _prompt(one: Sums) -> int:
    """LiteLLM's prompt tokens, which include the cache's."""
    return one.input_tokens + one.cache_creation_input_tokens + one.cache_read_input_tokens


def _tokens(one: Sums) -> int:
    return _prompt(one) + one.output_tokens
