"""The types of the fields in `ferryman.control.access.asked`.

Their descriptions stand in errors and in the OpenAPI document.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

MAX_NAME = 256
MAX_LIST = 1_000
MAX_COUNT = 2**53
"""JSON's numbers are whole up to here in every client."""

Dollars: TypeAlias = Annotated[
    Decimal,
    Meta(description="dollars, 0 or more, such as `12.5`"),
]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_COUNT, description="a whole number, 0 or more")]
Page: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number, 1 or more")]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")]
PRINTABLE = r"^[^\x00-\x1f\x7f]+(?![\s\S])"
"""PostgreSQL takes no NUL in a text, and no name should break a line of a log."""

Name: TypeAlias = Annotated[
    str,
    Meta(
        pattern=PRINTABLE, max_length=MAX_NAME, description=f"a text of 1 to {MAX_NAME} printable characters"
    ),
]
Note: TypeAlias = Annotated[str, Meta(max_length=4_096, description="a text of at most 4096 characters")]
Names: TypeAlias = Annotated[
    list[Annotated[str, Meta(pattern=PRINTABLE, max_length=MAX_NAME)]],
    Meta(max_length=MAX_LIST, description=f"a list of at most {MAX_LIST} texts"),
]
Duration: TypeAlias = Annotated[
    str, Meta(max_length=16, description="a duration such as `30s`, `15m`, `12h`, `7d`, `30d` or `1mo`")
]
Switch: TypeAlias = Annotated[bool, Meta(description="`true` or `false`")]
Members: TypeAlias = Annotated[
    dict[str, msgspec.Raw],
    Meta(description="an object of at most 16 KiB", extra_json_schema={"type": "object"}),
]
Counts: TypeAlias = Annotated[
    dict[
        Annotated[str, Meta(pattern=PRINTABLE, max_length=MAX_NAME)], Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    ],
    Meta(max_length=MAX_LIST, description='whole numbers by model, such as `{"claude-opus-*": 10}`'),
]
ModelAliases: TypeAlias = Annotated[
    dict[str, str],
    Meta(description='names of models by further names, such as `{"fast": "claude-haiku-5-5"}`'),
]
Hold: TypeAlias = Annotated[Literal["expected", "ceiling"], Meta(description="`expected` or `ceiling`")]
Share: TypeAlias = Annotated[Literal["key", "team", "all"], Meta(description="`key`, `team` or `all`")]
LogBodies: TypeAlias = Annotated[
    Literal["off", "redacted", "full"], Meta(description="`off`, `redacted` or `full`")
]
UserRole: TypeAlias = Annotated[
    Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"],
    Meta(description="one of `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`"),
]
MemberRole: TypeAlias = Annotated[Literal["admin", "user"], Meta(description="`admin` or `user`")]


class BudgetLimit(msgspec.Struct, forbid_unknown_fields=True):
    """One of several windows that hold at once."""

    budget_duration: Duration
    max_budget: Dollars


class ModelBudget(msgspec.Struct, forbid_unknown_fields=True):
    """A model's budget, by either pair of LiteLLM's names."""

    budget_limit: Dollars | None = None
    time_period: Duration | None = None
    max_budget: Dollars | None = None
    budget_duration: Duration | None = None


BudgetLimits: TypeAlias = Annotated[
    list[BudgetLimit],
    Meta(
        max_length=16,
        description='a list of windows, such as `[{"budget_duration": "1d", "max_budget": 5}]`',
    ),
]
ModelBudgets: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=PRINTABLE, max_length=MAX_NAME)], ModelBudget],
    Meta(
        max_length=MAX_LIST,
        description='budgets by model, such as `{"claude-*": {"budget_limit": 5, "time_period": "1d"}}`',
    ),
]


class TeamMember(msgspec.Struct, forbid_unknown_fields=True):
    """A member of a team, by the id or the e-mail address of a user."""

    role: MemberRole = "user"
    user_id: Name | None = None
    user_email: Name | None = None


TeamMembers: TypeAlias = Annotated[
    list[TeamMember],
    Meta(
        max_length=MAX_LIST,
        description='a list of members, such as `[{"role": "user", "user_id": "ann"}]`',
    ),
]
