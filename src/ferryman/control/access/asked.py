"""What the paths of keys, users, teams, customers, budgets and tags take: LiteLLM's fields, and ours.

A field that is not there is `UNSET`: an update leaves it as it is, and `null` clears it.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ferryman.control.access.asked_types import (
    BudgetLimits,
    Count,
    Counts,
    Dollars,
    Duration,
    Hold,
    LogBodies,
    MemberRole,
    Members,
    ModelAliases,
    ModelBudgets,
    Name,
    Names,
    Note,
    Page,
    Share,
    Size,
    Switch,
    TeamMember,
    TeamMembers,
    UserRole,
)


class AskedTerms(msgspec.Struct, kw_only=True):
    """Limits and budgets, which all kinds have."""

    max_budget: Dollars | UnsetType | None = UNSET
    soft_budget: Dollars | UnsetType | None = UNSET
    budget_duration: Duration | UnsetType | None = UNSET
    budget_limits: BudgetLimits | UnsetType | None = UNSET
    budget_hold: Hold | UnsetType | None = UNSET
    model_max_budget: ModelBudgets | UnsetType | None = UNSET
    max_parallel_requests: Count | UnsetType | None = UNSET
    rpm_limit: Count | UnsetType | None = UNSET
    tpm_limit: Count | UnsetType | None = UNSET
    input_tpm_limit: Count | UnsetType | None = UNSET
    output_tpm_limit: Count | UnsetType | None = UNSET
    count_tokens_rpm_limit: Count | UnsetType | None = UNSET
    model_rpm_limit: Counts | UnsetType | None = UNSET
    model_tpm_limit: Counts | UnsetType | None = UNSET


class AskedRecord(AskedTerms, kw_only=True):
    """What most kinds have beside those."""

    budget_id: Name | UnsetType | None = UNSET
    models: Names | UnsetType | None = UNSET
    metadata: Members | UnsetType | None = UNSET
    blocked: Switch | UnsetType | None = UNSET


class AskedKey(AskedRecord, kw_only=True):
    """Fields of a key."""

    key_alias: Name | UnsetType | None = UNSET
    duration: Duration | UnsetType | None = UNSET
    user_id: Name | UnsetType | None = UNSET
    team_id: Name | UnsetType | None = UNSET
    tags: Names | UnsetType | None = UNSET
    allowed_routes: Names | UnsetType | None = UNSET
    share: Share | UnsetType | None = UNSET
    log_bodies: LogBodies | UnsetType | None = UNSET
    aliases: ModelAliases | UnsetType | None = UNSET


class GenerateKey(AskedKey, kw_only=True):
    """`POST /key/generate`; `key` is the text of the new key, if it is not to be made up."""

    key: Name | UnsetType | None = UNSET


class UpdateKey(AskedKey, kw_only=True):
    """`POST /key/update`; `key` is a key's text, or its token."""

    key: Name


class BulkUpdateKeys(msgspec.Struct):
    """`POST /key/bulk_update`: each as for `/key/update`."""

    keys: Annotated[
        list[dict[str, msgspec.Raw]],
        Meta(
            min_length=1,
            max_length=500,
            description="a list of 1 to 500 objects, each as for `/key/update`",
            extra_json_schema={"items": {"$ref": "#/components/schemas/UpdateKey"}},
        ),
    ]


class RegenerateKey(AskedKey, kw_only=True):
    """`POST /key/{key}/regenerate`; without a key it is that of the request itself."""

    key: Name | UnsetType | None = UNSET
    new_key: Name | UnsetType | None = UNSET
    grace_period: Duration | UnsetType | None = UNSET


class NamedKey(msgspec.Struct):
    """`POST /key/block` and `/key/unblock`; `key` is a key's text, or its token."""

    key: Name


class NamedKeys(msgspec.Struct):
    """`POST /key/delete`: by one of the two."""

    keys: Names | UnsetType | None = UNSET
    key_aliases: Names | UnsetType | None = UNSET


class KeysAsked(msgspec.Struct):
    """`POST /v2/key/info`."""

    keys: Names


class ResetSpend(msgspec.Struct):
    """`POST /key/{key}/reset_spend`."""

    key: Name
    reset_to: Dollars


class KeyAsked(msgspec.Struct):
    """`GET /key/info`; without a key it is that of the request itself."""

    key: Name | None = None


class KeyList(msgspec.Struct, kw_only=True):
    """`GET /key/list`."""

    page: Page = 1
    size: Size = 10
    user_id: Name | None = None
    team_id: Name | None = None
    key_hash: Name | None = None
    key_alias: Name | None = None
    return_full_object: Switch = False
    sort_by: Annotated[
        Literal["created_at", "key_alias"], Meta(description="`created_at` or `key_alias`")
    ] = "created_at"
    sort_order: Annotated[Literal["asc", "desc"], Meta(description="`asc` or `desc`")] = "desc"
    status: (
        Annotated[
            Literal["active", "expired", "revoked", "deleted"],
            Meta(description="`active`, `expired`, `revoked` or `deleted`"),
        ]
        | None
    ) = None


class PageAsked(msgspec.Struct, kw_only=True):
    """A page of a list."""

    page: Page = 1
    size: Size = 100


class AskedTeam(AskedRecord, kw_only=True):
    """Fields of a team."""

    team_alias: Name | UnsetType | None = UNSET
    tags: Names | UnsetType | None = UNSET


class NewTeam(AskedTeam, kw_only=True):
    """`POST /team/new`."""

    team_id: Name | UnsetType | None = UNSET
    members_with_roles: TeamMembers | UnsetType | None = UNSET


class UpdateTeam(AskedTeam, kw_only=True):
    """`POST /team/update`."""

    team_id: Name


class NamedTeam(msgspec.Struct):
    """A team."""

    team_id: Name


class NamedTeams(msgspec.Struct):
    """`POST /team/delete`; the keys of the teams are deleted with them."""

    team_ids: Names


class AddMembers(msgspec.Struct):
    """`POST /team/member_add`: one or several."""

    team_id: Name
    member: Annotated[
        list[TeamMember] | TeamMember,
        Meta(description='a member such as `{"role": "user", "user_id": "ann"}`, or a list of them'),
    ]


class RemoveMember(msgspec.Struct):
    """`POST /team/member_delete`: by one of the two."""

    team_id: Name
    user_id: Name | None = None
    user_email: Name | None = None


class UpdateMember(RemoveMember):
    """`POST /team/member_update`."""

    role: MemberRole | None = None


class TeamList(msgspec.Struct):
    """`GET /team/list`."""

    user_id: Name | None = None


class AskedUser(AskedRecord, kw_only=True):
    """Fields of a user."""

    user_alias: Name | UnsetType | None = UNSET
    user_email: Name | UnsetType | None = UNSET
    user_role: UserRole | UnsetType | None = UNSET


class NewUser(AskedUser, kw_only=True):
    """`POST /user/new`; a key is made with it unless `auto_create_key` is `false`."""

    user_id: Name | UnsetType | None = UNSET
    auto_create_key: Switch = True
    key_alias: Name | UnsetType | None = UNSET
    duration: Duration | UnsetType | None = UNSET
    team_id: Name | UnsetType | None = UNSET
    teams: Names | UnsetType | None = UNSET


class UpdateUser(AskedUser, kw_only=True):
    """`POST /user/update`: by one of `user_id` and `user_email`."""

    user_id: Name | UnsetType | None = UNSET


class NamedUsers(msgspec.Struct):
    """`POST /user/delete`; the keys of the users are deleted with them. `/customer/*` take the same."""

    user_ids: Names


class UserAsked(msgspec.Struct):
    """`GET /user/info`; without a user it is that of the request's own key."""

    user_id: Name | None = None


class UserList(msgspec.Struct, kw_only=True):
    """`GET /user/list`."""

    page: Page = 1
    page_size: Size = 25
    user_ids: Annotated[str, Meta(description="user ids with commas between them")] | None = None
    user_email: Name | None = None


class AskedCustomer(AskedTerms, kw_only=True):
    """`POST /customer/new` and `/customer/update`."""

    user_id: Name
    alias: Name | UnsetType | None = UNSET
    budget_id: Name | UnsetType | None = UNSET
    metadata: Members | UnsetType | None = UNSET
    blocked: Switch | UnsetType | None = UNSET


class CustomerAsked(msgspec.Struct):
    """`GET /customer/info`."""

    end_user_id: Name


class NewBudget(AskedTerms, kw_only=True):
    """`POST /budget/new`."""

    budget_id: Name | UnsetType | None = UNSET


class UpdateBudget(AskedTerms, kw_only=True):
    """`POST /budget/update`."""

    budget_id: Name


class BudgetsAsked(msgspec.Struct):
    """`POST /budget/info`."""

    budgets: Names


class NamedBudget(msgspec.Struct):
    """`POST /budget/delete`."""

    id: Name


class NamedMachine(msgspec.Struct):
    """`POST /budget/forfeit`."""

    machine: Name


class AskedTag(AskedTerms, kw_only=True):
    """`POST /tag/new` and `/tag/update`."""

    name: Name
    description: Note | UnsetType | None = UNSET
    budget_id: Name | UnsetType | None = UNSET
    blocked: Switch | UnsetType | None = UNSET


class TagsAsked(msgspec.Struct):
    """`POST /tag/info`."""

    names: Names


class NamedTag(msgspec.Struct):
    """`POST /tag/delete`."""

    name: Name


class Nothing(msgspec.Struct):
    """No parameters."""


AuditKind = Literal["key", "user", "team", "customer", "budget", "tag", "model"]
"""What the audit log tells changes of; of a model that its entries were priced anew."""


class AuditAsked(msgspec.Struct, kw_only=True):
    """`GET /audit`."""

    page: Page = 1
    size: Size = 50
    kind: (
        Annotated[
            AuditKind,
            Meta(description=f"one of {', '.join(f'`{kind}`' for kind in get_args(AuditKind))}"),
        ]
        | None
    ) = None
    object_id: Name | None = None
    actor: Name | None = None
