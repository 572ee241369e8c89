"""Records as LiteLLM shows them, with our own fields beside. Nothing here has a key's text."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ferryman.control.access.operation import Spends
from ferryman.control.access.terms import shown_terms
from ferryman.control.spend_row import dollars_of
from ferryman.store.access_rows import AuditRow, Budget, Customer, Key, Record, Tag, Team, User

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(microseconds: int | None) -> str | None:
    """A point in time as LiteLLM writes it, `None` for none."""
    if microseconds is None:
        return None
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def anchor_of(record: Record) -> str:
    """The UTC day from which windows of so many days are counted: that on which the record was made."""
    return (time_of(record.created_at_microseconds) or "")[:10]


def key_row(key: Key, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """A key without its text."""
    return {
        "token": key.id,
        "key_name": key.name,
        "key_alias": key.alias,
        **spend_fields("key", key, spends, budget),
        "expires": time_of(key.expires_at_microseconds),
        "duration": key.duration,
        "models": key.models,
        "aliases": key.aliases,
        "config": {},
        "user_id": key.user_id,
        "team_id": key.team_id,
        "permissions": {},
        **shown_terms(key),
        **_common(key),
        "tags": key.tags or None,
        "allowed_routes": key.allowed_routes,
        "allowed_cache_controls": [],
        "share": key.share,
        "log_bodies": key.log_bodies,
        "organization_id": None,
        "rotation_count": key.regenerated,
        "litellm_budget_table": None if budget is None else budget_row(budget),
    }


def generated(key: Key, text: str, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """The one answer that has a key's text."""
    return {**key_row(key, spends, budget), "key": text, "token_id": key.id, "guardrails": None}


def key_info(key: Key, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """What `/key/info` tells of a key: by its token, whatever it was asked by."""
    row = key_row(key, spends, budget)
    del row["token"]
    return {"key": key.id, "info": row}


def user_row(user: User, spends: Spends, teams: Iterable[Team] = ()) -> dict[str, Any]:
    """A user."""
    return {
        "user_id": user.id,
        "user_alias": user.alias,
        "user_email": user.email,
        "user_role": user.role,
        "teams": [team.id for team in teams],
        **spend_fields("user", user, spends),
        "models": user.models,
        **shown_terms(user),
        **_common(user),
    }


def team_row(team: Team, spends: Spends) -> dict[str, Any]:
    """A team."""
    return {
        "team_id": team.id,
        "team_alias": team.alias,
        "organization_id": None,
        "admins": [],
        "members": [],
        "members_with_roles": [{"user_id": one.user_id, "role": one.role} for one in team.members],
        **spend_fields("team", team, spends),
        "models": team.models,
        "tags": team.tags or None,
        **shown_terms(team),
        **_common(team),
    }


def customer_row(customer: Customer, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """A customer."""
    return {
        "user_id": customer.id,
        "alias": customer.alias,
        **spend_fields("customer", customer, spends, budget),
        "allowed_model_region": None,
        "default_model": None,
        **shown_terms(customer),
        **_common(customer),
        "litellm_budget_table": None if budget is None else budget_row(budget),
    }


def budget_row(budget: Budget) -> dict[str, Any]:
    """A budget for others."""
    row = {**shown_terms(budget), **_common(budget), "budget_id": budget.id}
    for name in ("blocked", "metadata"):
        del row[name]
    return row


def tag_row(tag: Tag, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """A tag."""
    return {
        "name": tag.id,
        "description": tag.description,
        "models": [],
        **spend_fields("tag", tag, spends, budget),
        **shown_terms(tag),
        **_common(tag),
        "litellm_budget_table": None if budget is None else budget_row(budget),
    }


def audit_row(row: AuditRow) -> dict[str, Any]:
    """A change."""
    return {
        "number": row.number,
        "at": time_of(row.at_microseconds),
        "actor": row.actor,
        "client_address": row.client_address,
        "action": row.action,
        "kind": row.kind,
        "object_id": row.object_id,
        "before": row.before,
        "after": row.after,
        "revision": row.revision,
    }


def window_of(record: Record, budget: Budget | None = None) -> str:
    """The window whose spend is shown: that of the budget in force, else one without end."""
    if record.budget_duration is not None or record.max_budget_nanousd is not None or budget is None:
        return record.budget_duration or ""
    return budget.budget_duration or ""


def spend_fields(kind: str, record: Record, spends: Spends, budget: Budget | None = None) -> dict[str, Any]:
    """What was spent in the window that runs, and when that ends."""
    nanousd = spent_of(kind, record, spends, budget)
    ends_at = resets_at(record, spends, budget)
    return {
        "spend": dollars_of(nanousd),
        "spend_nanousd": nanousd,
        "budget_reset_at": None if ends_at is None else time_of(int(ends_at * 1e6)),
    }


def spent_of(kind: str, record: Record, spends: Spends, budget: Budget | None = None) -> int:
    """Nano-dollars in the window that runs."""
    nanousd = spends.spent(f"{kind}:{record.id}", window_of(record, budget))
    if isinstance(record, Key):
        nanousd = max(0, nanousd + key_adjustment(record, spends, budget))
    return nanousd


def resets_at(record: Record, spends: Spends, budget: Budget | None = None) -> float | None:
    """Unix time at which the window ends that runs; `None` for never."""
    window = window_of(record, budget)
    return spends.resets_at(window, anchor_of(record)) if window else None


def key_adjustment(key: Key, spends: Spends, budget: Budget | None = None) -> int:
    """Nano-dollars that a key's spend was reset by, as long as the window of then runs."""
    return key.adjustment_nanousd if key.adjustment_ends_at == resets_at(key, spends, budget) else 0


def _common(record: Record) -> dict[str, Any]:
    return {
        "budget_id": record.budget_id,
        "metadata": record.metadata,
        "blocked": record.blocked,
        "created_at": time_of(record.created_at_microseconds),
        "created_by": record.created_by,
        "updated_at": time_of(record.updated_at_microseconds),
        "updated_by": record.updated_by,
    }
