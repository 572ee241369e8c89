"""`GET /key/info`, `/key/list` and the like: what is told of keys, never their texts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, or_

from ferryman.control.access import asked as asks
from ferryman.control.access.finding import budget_of, caller_key, checked_key
from ferryman.control.access.operation import Context, Operation, Told, reading
from ferryman.control.access.shown import key_info, key_row
from ferryman.errors import PermissionDenied
from ferryman.store import schema_access as schema
from ferryman.store.access_look import BUDGETS, KEYS, Found, Look, token_of
from ferryman.store.access_rows import Key

MAX_FILTERED = 200_000
"""Keys that are looked through for a `status`, which no index has."""


def operations() -> list[Operation]:
    """All that only looks."""
    return [
        reading("GET", "/key/info", asks.KeyAsked, info, "Tell of a key, or of the one that asks."),
        reading("POST", "/v2/key/info", asks.KeysAsked, infos, "Tell of several keys."),
        reading("GET", "/key/list", asks.KeyList, listed, "List keys: tokens, or all of them."),
        reading("GET", "/key/aliases", asks.PageAsked, aliases, "List the aliases of keys."),
    ]


def info(look: Look, context: Context, asked: asks.KeyAsked) -> Told:
    """A key."""
    key = caller_key(look, context, asked.key)
    budget = budget_of(look, key)
    return lambda spends: key_info(key, spends, budget)


def infos(look: Look, _context: Context, asked: asks.KeysAsked) -> Told:
    """Several keys, in their order."""
    keys = [checked_key(look, named) for named in asked.keys]
    budgets = look.many(BUDGETS, (key.budget_id for key in keys if key.budget_id is not None))

    def told(spends: Any) -> dict[str, Any]:  # noqa: ANN401  # a `Spends`
        rows = [key_info(key, spends, budgets.get(key.budget_id or "")) for key in keys]
        return {"key": [row["key"] for row in rows], "info": [row["info"] for row in rows]}

    return told


def listed(look: Look, context: Context, asked: asks.KeyList) -> Told:
    """A page of keys; whoever does not see all sees its own."""
    found = _found(look, context, asked)
    keys: list[Key] = found.records
    budgets = look.many(BUDGETS, (key.budget_id for key in keys if key.budget_id is not None))
    pages = -(-found.total // asked.size)

    def told(spends: Any) -> dict[str, Any]:  # noqa: ANN401  # a `Spends`
        rows: list[Any] = [key.id for key in keys]
        if asked.return_full_object:
            rows = [key_row(key, spends, budgets.get(key.budget_id or "")) for key in keys]
        return {
            "keys": rows,
            "total_count": found.total,
            "current_page": asked.page,
            "total_pages": pages,
        }

    return told


def aliases(look: Look, context: Context, asked: asks.PageAsked) -> Told:
    """A page of aliases, in their order."""
    table = schema.keys.c
    conditions = [table.alias.is_not(None), *_own(context)]
    skip = (asked.page - 1) * asked.size
    found = look.page(KEYS, conditions, limit=asked.size, skip=skip, order=[table.alias])
    told = {
        "aliases": [key.alias for key in found.records],
        "total_count": found.total,
        "current_page": asked.page,
        "total_pages": -(-found.total // asked.size),
        "size": asked.size,
    }
    return lambda _spends: told


def _found(look: Look, context: Context, asked: asks.KeyList) -> Found:
    skip = (asked.page - 1) * asked.size
    if asked.status == "deleted":
        if not context.caller.sees_all:
            raise PermissionDenied("`status`: deleted keys are told to administrators only.")
        return look.deleted_keys(limit=asked.size, skip=skip)
    table = schema.keys.c
    conditions = _own(context)
    if asked.user_id is not None:
        conditions.append(table.user_id == asked.user_id)
    if asked.team_id is not None:
        conditions.append(table.team_id == asked.team_id)
    if asked.key_alias is not None:
        conditions.append(table.alias == asked.key_alias)
    if asked.key_hash is not None:
        named = asked.key_hash
        conditions.append(table.id == (token_of(named) if named.startswith("sk-") else named))
    column = table.alias if asked.sort_by == "key_alias" else table.created_at_microseconds
    order = [column.asc() if asked.sort_order == "asc" else column.desc()]
    if asked.status is None:
        return look.page(KEYS, conditions, limit=asked.size, skip=skip, order=order)
    everything = look.page(KEYS, conditions, limit=MAX_FILTERED, order=order).records
    kept = [key for key in everything if status_of(key, context.now_microseconds) == asked.status]
    return Found(kept[skip : skip + asked.size], len(kept))


def status_of(key: Key, now_microseconds: int) -> str:
    """LiteLLM's word for how a key stands; `revoked` is a blocked one."""
    if key.blocked:
        return "revoked"
    end = key.expires_at_microseconds
    return "expired" if end is not None and end <= now_microseconds else "active"


def _own(context: Context) -> list[ColumnElement[bool]]:
    caller, table = context.caller, schema.keys.c
    if caller.sees_all:
        return []
    if caller.user_id is None:
        return [table.id == caller.key_id]
    return [or_(table.id == caller.key_id, table.user_id == caller.user_id)]
