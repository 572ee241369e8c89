"""Keys and whom and what they belong to, as the database keeps them: JSON in a column `data`."""

from __future__ import annotations

import msgspec


class Window(msgspec.Struct, frozen=True, gc=False):
    """A budget of one window.

    Attributes:
        nanousd: the most that may be spent in it.
        duration: as LiteLLM spells it, such as `30d`; empty is without end.
    """

    nanousd: int
    duration: str


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Limits and budgets; `None` is no such.

    Attributes:
        max_budget_nanousd: in each `budget_duration`, or ever.
        soft_budget_nanousd: above it is warned.
        budget_limits: further windows, which hold at once.
        budget_hold: `ceiling` or `expected`, `None` for what the settings say.
        model_max_budget: by a model's name, in which `*` stands for anything.
        rpm_limit, tpm_limit, input_tpm_limit, output_tpm_limit, count_tokens_rpm_limit: in a minute.
        max_parallel_requests: at once.
        model_rpm_limit, model_tpm_limit: in a minute, by a model's name.
    """

    max_budget_nanousd: int | None = None
    soft_budget_nanousd: int | None = None
    budget_duration: str | None = None
    budget_limits: list[Window] = []
    budget_hold: str | None = None
    model_max_budget: dict[str, Window] = {}
    max_parallel_requests: int | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    input_tpm_limit: int | None = None
    output_tpm_limit: int | None = None
    count_tokens_rpm_limit: int | None = None
    model_rpm_limit: dict[str, int] = {}
    model_tpm_limit: dict[str, int] = {}


class Record(Terms, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What all kinds have.

    Attributes:
        id: never changes.
        budget_id: a budget whose terms hold where there are none of its own.
        models: that may be asked for, in which `*` stands for anything; empty is all.
        metadata: a JSON object of the operator's own.
        blocked: nothing goes through.
        created_at_microseconds, updated_at_microseconds: since 1970.
        created_by, updated_by: who, as in the audit log.
    """

    id: str
    budget_id: str | None = None
    models: list[str] = []
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    blocked: bool = False
    created_at_microseconds: int
    created_by: str
    updated_at_microseconds: int
    updated_by: str


class Key(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A virtual key; nothing in it lets anybody find its text.

    Attributes:
        id: the SHA-256 of its first text; stays when it is made anew.
        token: the SHA-256 of its text now.
        name: how it is shown: `sk-...` and the last four characters.
        duration: how long it was to live, as it was asked for.
        expires_at_microseconds: `None` for never.
        tags: of each of its exchanges.
        allowed_routes: paths, in which `*` stands for anything; empty for what every key may.
        share: `key`, `team` or `all`: whose files and batches it sees; `None` for what the settings say.
        aliases: further names of models, for its callers only.
        log_bodies: `off`, `redacted` or `full`: how its bodies are kept; `None` for what the settings say.
        adjustment_nanousd: what its spend has beyond the ledger since it was reset, in the window that
            ends at `adjustment_ends_at` (Unix time in seconds, `None` for the one without end).
        regenerated: how often it was made anew.
    """

    token: str
    name: str
    alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    duration: str | None = None
    expires_at_microseconds: int | None = None
    tags: list[str] = []
    allowed_routes: list[str] = []
    share: str | None = None
    aliases: dict[str, str] = {}
    log_bodies: str | None = None
    adjustment_nanousd: int = 0
    adjustment_ends_at: float | None = None
    regenerated: int = 0


class User(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody with keys.

    Attributes:
        role: LiteLLM's: `proxy_admin`, `proxy_admin_viewer`, `internal_user` or `internal_user_viewer`.
    """

    alias: str | None = None
    email: str | None = None
    role: str = "internal_user"


class Member(msgspec.Struct, frozen=True, gc=False):
    """Of a team; `role` is `admin` or `user`, for people to read."""

    user_id: str
    role: str = "user"


class Team(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Several people's keys together."""

    alias: str | None = None
    members: list[Member] = []
    tags: list[str] = []


class Customer(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An end user, whom a client names with each request."""

    alias: str | None = None


class Budget(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Terms to be given to others by their `budget_id`."""


class Tag(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A tag with a budget. Its `id` is its name."""

    description: str | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        number: grows with each.
        revision: of the change of which it is a part.
        actor: who: `master key`, `operator` (on the gateway's machine) or `key:` and a key's id.
        action: such as `create`, `update`, `delete`, `regenerate`.
        kind: of what was changed, such as `key`.
        before, after: of the record; `None` where there is none. Of an update only what is different.
    """

    number: int
    at_microseconds: int
    revision: int
    actor: str
    client_address: str | None
    action: str
    kind: str
    object_id: str
    before: msgspec.Raw | None
    after: msgspec.Raw | None
