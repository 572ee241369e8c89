"""Makes the parts of the snapshot of what the database has of keys, limits and budgets. No I/O.

What `ferryman.limits.spec` describes is all that workers know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ferryman.control.access.shown import anchor_of
from ferryman.limits.spec import GATEWAY, Budget, Defaults, KeySpec, Limit, Scope
from ferryman.settings_limits import GatewayLimits
from ferryman.store.access_look import has_terms
from ferryman.store.access_parts import HeldToken, ScopeRows
from ferryman.store.access_rows import Budget as BudgetRecord
from ferryman.store.access_rows import Customer, Key, Record, Tag, Team, Terms, User, Window

RowOf = Callable[[str], int]
"""The row of a limit in the table of counters, by its name, such as `key:abc|requests||`."""

NO_ROW = -1
"""Of a budget that has not been given its row yet."""

EVERY_KEYS_ROUTES = frozenset({"llm_api_routes", "anthropic_routes"})
ALL_MODELS = frozenset({"all-proxy-models", "*"})
"""LiteLLM's words for no allow-list at all; a key's `all-team-models` leaves it to its team."""

PROVIDER = "anthropic/"
"""Before models in LiteLLM's allow-lists; every model here is Anthropic's."""

_KINDS: dict[type[Record], str] = {
    Key: "key",
    User: "user",
    Team: "team",
    Customer: "customer",
    Tag: "tag",
}
_LIMITS = {
    "rpm_limit": "requests",
    "tpm_limit": "tokens",
    "input_tpm_limit": "input_tokens",
    "output_tpm_limit": "output_tokens",
    "count_tokens_rpm_limit": "count_tokens",
    "max_parallel_requests": "parallel",
}

COUNT_TOKENS_FACTOR = 10
COUNT_TOKENS_AT_LEAST = 60
"""Requests to count tokens, to each other one of a limit that says nothing of them, and in a minute. They are
free, and Claude Code sends 27 of them at once."""

_encode = msgspec.json.Encoder().encode


def keys_part(rows: list[HeldToken], share: str) -> bytes | None:
    """A part with keys; `None` if it has none.

    Args:
        rows: what there is.
        share: whose files a key sees that says nothing of it.
    """
    if not rows:
        return None
    specs = []
    for token, until, key in rows:
        ends = [end for end in (until, key.expires_at_microseconds) if end is not None]
        spec = KeySpec(
            token=token,
            id=key.id,
            alias=key.alias,
            user_id=key.user_id,
            team_id=key.team_id,
            expires_at=min(ends) / 1e6 if ends else None,
            blocked=f"The {shown_name(key)} is blocked." if key.blocked else "",
            models=[models] if (models := _allow_list(key.models)) else [],
            routes=_routes(key),
            tags=key.tags,
            scopes=_scopes_of(key),
            sees=key.share or share,
            aliases=key.aliases,
            log_bodies=key.log_bodies or "",
        )
        specs.append(spec)
    return _encode(specs)


def scopes_in(rows: ScopeRows, row_of: RowOf, hold: str) -> list[Scope]:
    """The scopes of a part; their budgets have no rows yet.

    Args:
        rows: what there is.
        row_of: numbers of rows.
        hold: of budgets that say nothing of it.
    """
    scopes = []
    for record in rows.records:
        blocked = record.blocked and not isinstance(record, Key)  # those are blocked as keys
        models = _allow_list(record.models) if isinstance(record, User | Team) else []
        tags = record.tags if isinstance(record, Team) else []
        if not (has_terms(record) or blocked or models or tags):
            continue
        terms = in_force(record, rows.budgets.get(record.budget_id or ""))
        scope = scope_id(record)
        scopes.append(
            Scope(
                id=scope,
                shown=shown_name(record),
                limits=limits_of(scope, terms, row_of),
                budgets=budgets_of(terms, anchor_of(record), hold),
                blocked=blocked,
                models=models,
                tags=tags,
            )
        )
    return scopes


def untouched_in(rows: ScopeRows) -> set[str]:
    """The ids of scopes that have had their budgets from their beginning on."""
    found = set()
    for record in rows.records:
        parts = [record, rows.budgets.get(record.budget_id or "")]
        if all(one is None or one.updated_at_microseconds == one.created_at_microseconds for one in parts):
            found.add(scope_id(record))
    return found


def scopes_part(scopes: list[Scope]) -> bytes | None:
    """A part with these scopes; `None` if there are none."""
    return _encode(scopes) if scopes else None


def gateway_scope(limits: GatewayLimits, row_of: RowOf) -> Scope | None:
    """The scope of all exchanges, of the settings; `None` if they limit nothing."""
    window = Window(limits.max_budget_nanousd or 0, limits.budget_duration)
    budgets = [] if limits.max_budget_nanousd is None else [("", window)]
    found: list[Limit] = []
    for one in limits.models:
        if one.max_budget_nanousd is not None:
            budgets.append((one.model, Window(one.max_budget_nanousd, one.budget_duration)))
        found += [
            _limit(GATEWAY, _LIMITS[name], amount, one.model, row_of)
            for name in ("rpm_limit", "tpm_limit", "max_parallel_requests")
            if (amount := getattr(one, name)) is not None
        ]
    if not budgets and not found:
        return None
    made = [_budget(window, model, limits.hold, "1970-01-01") for model, window in budgets]
    return Scope(id=GATEWAY, shown="the gateway", limits=found, budgets=made)


def defaults_part(limits: GatewayLimits) -> bytes:
    """What holds for callers that are not known one by one."""
    customers, sessions = limits.max_end_user_nanousd is not None, limits.max_session_nanousd is not None
    return _encode(Defaults(time_zone=limits.time_zone, customers=customers, sessions=sessions))


def unknown_scope(scope: str, limits: GatewayLimits, today: str) -> Scope | None:
    """The scope of an end user or a session that is not known one by one; `None` if it has no budget.

    Args:
        scope: its id: `customer:` or `session:` and a name.
        limits: of the settings.
        today: a day, from which windows of so many days are counted.
    """
    kind, _, name = scope.partition(":")
    if kind == "customer" and limits.max_end_user_nanousd is not None:
        window, word = Window(limits.max_end_user_nanousd, limits.end_user_duration), "end user"
    elif kind == "session" and limits.max_session_nanousd is not None:
        window, word = Window(limits.max_session_nanousd, ""), "session"
    else:
        return None
    budget = _budget(window, "", limits.hold, today)
    return Scope(id=scope, shown=f"{word} `{name}`", budgets=[budget])


def in_force(record: Terms, budget: BudgetRecord | None) -> Terms:
    """The terms of `record`, and those of its budget where it has none of its own.

    A cap and its window go together: the window of the one is not put to the cap of the other.
    """
    if budget is None:
        return record
    own = {name: getattr(record, name) for name in Terms.__struct_fields__}
    lent = {name: getattr(budget, name) for name in Terms.__struct_fields__}
    cap = ("max_budget_nanousd", "soft_budget_nanousd", "budget_duration")
    has_cap = own["max_budget_nanousd"] is not None or own["soft_budget_nanousd"] is not None
    merged = {name: own[name] if own[name] not in (None, [], {}) else lent[name] for name in own}
    return Terms(**{**merged, **{name: own[name] if has_cap else lent[name] for name in cap}})


def limits_of(scope: str, terms: Terms, row_of: RowOf) -> list[Limit]:
    """The limits in `terms`."""
    found = [
        _limit(scope, what, amount, "", row_of)
        for name, what in _LIMITS.items()
        if (amount := getattr(terms, name)) is not None
    ]
    if terms.rpm_limit is not None and terms.count_tokens_rpm_limit is None:
        looser = max(COUNT_TOKENS_FACTOR * terms.rpm_limit, COUNT_TOKENS_AT_LEAST)
        found.append(_limit(scope, "count_tokens", looser, "", row_of))
    for name, what in (("model_rpm_limit", "requests"), ("model_tpm_limit", "tokens")):
        models: dict[str, int] = getattr(terms, name)
        found += [_limit(scope, what, amount, _model(model), row_of) for model, amount in models.items()]
    return found


def budgets_of(terms: Terms, anchor: str, hold: str) -> list[Budget]:
    """The budgets in `terms`: one a window and model, the least where two are the same."""
    hold = terms.budget_hold or hold
    caps: dict[tuple[str, str], tuple[int | None, int | None]] = {}
    if terms.max_budget_nanousd is not None or terms.soft_budget_nanousd is not None:
        caps["", terms.budget_duration or ""] = (terms.max_budget_nanousd, terms.soft_budget_nanousd)
    windows = [("", one) for one in terms.budget_limits]
    windows += [(_model(model), one) for model, one in terms.model_max_budget.items()]
    for model, one in windows:
        cap, soft = caps.get((model, one.duration), (None, None))
        caps[model, one.duration] = (one.nanousd if cap is None else min(cap, one.nanousd), soft)
    return [
        Budget(
            cap_nanousd=cap,
            row=NO_ROW,
            window=window,
            anchor=anchor if window else "",
            model=model,
            soft_nanousd=soft,
            hold=hold,
        )
        for (model, window), (cap, soft) in caps.items()
    ]


def scope_id(record: Record) -> str:
    """The id of the scope of a record."""
    return f"{_KINDS[type(record)]}:{record.id}"


def shown_name(record: Record) -> str:
    """A record as messages call it."""
    name = record.id
    if isinstance(record, Key):
        name = record.alias or record.name
    elif isinstance(record, User | Team | Customer):
        name = record.alias or record.id
    return f"{_KINDS[type(record)]} `{name}`"


def _allow_list(models: list[str]) -> list[str]:
    """What may be asked for, empty for anything."""
    wanted = [model for model in models if model != "all-team-models"]
    return [] if ALL_MODELS & set(wanted) else list(dict.fromkeys(map(_model, wanted)))


def _scopes_of(key: Key) -> list[str]:
    """The ids of a key's scopes; whether there is something on those of its user and its team shows there."""
    ids = [scope_id(key)] if has_terms(key) else []
    ids += [] if key.user_id is None else [f"user:{key.user_id}"]
    return ids if key.team_id is None else [*ids, f"team:{key.team_id}"]


def _model(name: str) -> str:
    return name.removeprefix(PROVIDER)


def _routes(key: Key) -> list[str] | None:
    routes: Iterable[str] = key.allowed_routes
    return None if not key.allowed_routes or EVERY_KEYS_ROUTES & set(routes) else list(routes)


def _limit(scope: str, what: str, amount: int, model: str, row_of: RowOf) -> Limit:
    return Limit(what=what, amount=amount, row=row_of(f"{scope}|{what}||{model}"), model=model)


def _budget(window: Window, model: str, hold: str, anchor: str) -> Budget:
    return Budget(
        cap_nanousd=window.nanousd,
        row=NO_ROW,
        window=window.duration,
        anchor=anchor if window.duration else "",
        model=model,
        hold=hold,
    )
