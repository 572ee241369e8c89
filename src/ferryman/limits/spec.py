"""What the control plane tells workers of keys, limits and budgets: the parts of a snapshot.

Keys stand in parts `keys.00` to `keys.ff`, by the first byte of their token, as lists of `KeySpec`; what
limits and budgets are set on stands in parts `scopes.00` to `scopes.ff`, by the first byte of the SHA-256 of
its id, as lists of `Scope`. `DEFAULTS` is a part of its own, a `Defaults`.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

KEYS = "keys."
SCOPES = "scopes."
DEFAULTS = "defaults"

GATEWAY = "gateway"
"""The id of the scope that every exchange is in."""

ALL_MODELS = ""


class Limit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How much there may be in a minute, or at once.

    Attributes:
        what: `requests`, `tokens` (input and output), `input_tokens`, `output_tokens` or `count_tokens`
            (requests to count tokens), each in a minute; or `parallel`, requests at once.
        amount: 0 lets nothing through.
        row: of the table of counters that this limit is counted in.
        model: it counts what asks for this model; `*` stands for anything, and empty is any model.
    """

    what: str
    amount: int
    row: int
    model: str = ALL_MODELS


class Budget(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How much may be spent in a window.

    Attributes:
        cap_nanousd: 0 lets nothing through that costs anything; `None` only counts.
        row: of the table of counters that this budget is counted in.
        window: a duration as LiteLLM spells it, such as `30d`; empty is without end.
        anchor: a day, as `YYYY-MM-DD`, from which windows of so many days are counted; empty where the
            calendar decides.
        model: it counts what asks for this model; `*` stands for anything, and empty is any model.
        soft_nanousd: above it is warned, `None` for nowhere.
        hold: `ceiling` or `expected`.
        since_seconds: Unix time; what began before is not counted by workers, since not all of them knew of
            the budget: the ledger's entry counts.
    """

    cap_nanousd: int | None
    row: int
    window: str = ""
    anchor: str = ""
    model: str = ALL_MODELS
    soft_nanousd: int | None = None
    hold: str = "expected"
    since_seconds: float = 0.0


class Scope(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What limits and budgets are set on.

    Attributes:
        id: `gateway`, or `key:`, `user:`, `team:`, `customer:`, `tag:` or `session:` and a name.
        shown: as messages call it, such as: key `laptop`.
        limits, budgets: each has to let an exchange through.
        blocked: nothing goes through.
        models: of a user or a team, what their keys may ask for; empty for any. `*` stands for anything.
        tags: of a team, counted with each exchange of its keys.
    """

    id: str
    shown: str
    limits: list[Limit] = []
    budgets: list[Budget] = []
    blocked: bool = False
    models: list[str] = []
    tags: list[str] = []


class KeySpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A virtual key as a worker knows it.

    What its user and its team add, which are scopes by themselves, a worker puts to it: so a change of a team
    is told once, however many keys it has.

    Attributes:
        token: the SHA-256 of the key, in hexadecimal digits; empty for a user who calls by name. A key that
            was made anew has two for a while, and so two of these.
        id: stays the same when the key is made anew; stands in the records of its exchanges.
        alias: its name, `None` for none.
        user_id, team_id: whose it is.
        expires_at: Unix time in seconds, `None` for never.
        blocked: why it is, in one sentence; empty if it is not.
        models: allow-lists of models, of the key, its user and its team; each has to allow a call. `*`
            stands for anything. Told is that of the key alone.
        routes: paths that it may call, `None` for those that every key may. `*` stands for anything.
        tags: counted with each of its exchanges.
        scopes: ids of those that all of its exchanges are in, beside the gateway's. There need not be one of
            its user or its team: nothing is set on it then.
        sees: whose files, batches and the like it sees: `key`, `team` or `all`.
        aliases: further names of models, for its callers only.
        log_bodies: whether the bodies of its exchanges are kept: `off`, `redacted` or `full`; empty for what
            the settings say.
    """

    token: str
    id: str
    alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    expires_at: float | None = None
    blocked: str = ""
    models: list[list[str]] = []
    routes: list[str] | None = None
    tags: list[str] = []
    scopes: list[str] = []
    sees: str = "key"
    aliases: dict[str, str] = {}
    log_bodies: str = ""


class Defaults(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What holds for callers that are not known one by one, and for all.

    Attributes:
        time_zone: of the windows of budgets, an IANA name.
        customers, sessions: whether each end user and each session that is not known has a budget. Its scope
            is asked for when it comes up.
    """

    time_zone: str = "UTC"
    customers: bool = False
    sessions: bool = False


def part_of_key(token: str) -> str:
    """The part in which the key with this `token` stands."""
    return KEYS + token[:2]


def part_of_scope(scope_id: str) -> str:
    """The part in which the scope with this id stands."""
    return SCOPES + sha256(scope_id.encode()).hexdigest()[:2]


def scope_ids(  # one a kind
    key_id: str | None,
    user_id: str | None,
    team_id: str | None,
    end_user: str | None,
    tags: list[str] | None,
    session_id: str | None,
) -> list[str]:
    """The ids of the scopes that an exchange is in; each `None` is one that it is not in."""
    named = {
        "key": key_id, "user": user_id, "team": team_id, "customer": end_user, "session": session_id
    }  # fmt: skip
    ids = [GATEWAY]
    ids += [f"{kind}:{name}" for kind, name in named.items() if name is not None]
    ids += [f"tag:{tag}" for tag in tags or ()]
    return ids
