"""Teams, users and shared budgets: lists, new ones, and each with what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from ferryman.console.forms import (
    BUDGET,
    LENT,
    LIMITS,
    MAX_OFFERED,
    MODELS,
    SOFT,
    Field,
    members_of,
    texts_of,
    with_options,
)
from ferryman.console.visit import Handler, Page, Visit
from ferryman.control.spend_query import number_in
from ferryman.errors import RelayError

PAGE_SIZE = 100
MAX_KEYS_SHOWN = 100
"""Of a team or user; `/ui/keys` has all of them."""

ROLES = (
    ("internal_user", "sees and renews own keys"),
    ("internal_user_viewer", "sees own keys"),
    ("proxy_admin_viewer", "sees everything"),
    ("proxy_admin", "administrator"),
)


class Kind(NamedTuple):
    """A kind of record.

    Attributes:
        path: of its list.
        title: of its list.
        one: what one is called.
        id_field: as the API calls its id.
        alias_field: the same of its name, empty if it has none.
        fields: of its form.
        new, update, remove: operations.
        removed_by: the field of `remove` with its id, a list if it ends with `s`.
        lost: what is lost with it.
        about: what it is for.
    """

    path: str
    title: str
    one: str
    id_field: str
    alias_field: str
    fields: tuple[Field, ...]
    new: str
    update: str
    remove: str
    removed_by: str
    lost: str
    about: str

    @property
    def has_spend(self) -> bool:
        """Whether something is spent of it; a shared budget only lends its terms."""
        return self.one != "budget"


TEAM = Kind(
    "/ui/teams",
    "Teams",
    "team",
    "team_id",
    "team_alias",
    (
        Field("team_id", "Id", hint="Empty: one is made up.", only_new=True),
        Field("team_alias", "Name"),
        *BUDGET,
        LENT,
        SOFT,
        MODELS,
        *LIMITS,
        Field("tags", "Tags", "list", is_further=True),
    ),
    "POST /team/new",
    "POST /team/update",
    "POST /team/delete",
    "team_ids",
    "Its keys are deleted with it, and nobody can use them any more.",
    "A team is keys together under one budget. A request has to fit the budget of its key and of its team.",
)
USER = Kind(
    "/ui/users",
    "Users",
    "user",
    "user_id",
    "user_alias",
    (
        Field("user_id", "Id", hint="Such as ann. Empty: one is made up.", only_new=True),
        Field("user_alias", "Name"),
        Field("user_email", "E-mail address"),
        Field("user_role", "May", "choice", "With a key of theirs, here and over the API.", ROLES),
        *BUDGET,
        LENT,
        SOFT,
        MODELS,
        *LIMITS,
    ),
    "POST /user/new",
    "POST /user/update",
    "POST /user/delete",
    "user_ids",
    "Their keys are deleted with them.",
    "A user is a person with keys. A budget here holds for all of their keys together.",
)
BUDGETS = Kind(
    "/ui/budgets",
    "Budgets",
    "budget",
    "budget_id",
    "",
    (Field("budget_id", "Name", only_new=True), *BUDGET, SOFT._replace(is_further=False), *LIMITS),
    "POST /budget/new",
    "POST /budget/update",
    "POST /budget/delete",
    "id",
    "Only a budget that nobody has can be deleted.",
    "A budget here lends its terms: each key, team or user that names it has this much for itself.",
)
KINDS = (TEAM, USER, BUDGETS)


def pages() -> list[Page]:
    """Of each kind the same, and the members of a team."""
    found = []
    for kind in KINDS:
        one = f"{kind.path}/{{record_id:path}}"
        handlers: tuple[tuple[str, Callable[[Visit, Kind], Any], str], ...] = (
            (kind.path, show_list, "GET"),
            (f"{kind.path}/new", show_new, "GET"),
            (f"{kind.path}/new", create, "POST"),
            (f"{one}/block", block, "POST"),
            (f"{one}/unblock", unblock, "POST"),
            (f"{one}/delete", delete, "POST"),
            (f"{one}/members", change_members, "POST"),
            (one, show_one, "GET"),
            (one, save, "POST"),
        )
        found += [
            Page(path, _bound(handler, kind), method, sees_all=True) for path, handler, method in handlers
        ]
    return found


def _bound(handler: Callable[[Visit, Kind], Any], kind: Kind) -> Handler:
    async def answer(visit: Visit) -> Response:
        response: Response = await handler(visit, kind)
        return response

    return answer


async def show_list(visit: Visit, kind: Kind) -> Response:
    """A page of them, newest first."""
    page = number_in(visit.query, "page", 1, None)
    rows, total = await _rows(visit, kind, page)
    return visit.render(
        "records.html",
        kind=kind,
        rows=rows,
        total=total,
        page=page,
        pages=-(-total // PAGE_SIZE),
        can_change=visit.caller.role == "admin",
        roles=dict(ROLES),
    )


async def _rows(visit: Visit, kind: Kind, page: int) -> tuple[list[dict[str, Any]], int]:
    begin = (page - 1) * PAGE_SIZE
    if kind is USER:
        told = await visit.perform("GET /user/list", page=page, page_size=PAGE_SIZE)
        return told["users"], told["total"]
    rows = await visit.perform("GET /team/list" if kind is TEAM else "GET /budget/list")
    return rows[begin : begin + PAGE_SIZE], len(rows)


async def show_new(visit: Visit, kind: Kind) -> Response:
    """The form for a new one."""
    return await _form(visit, kind, {}, None)


async def _form(visit: Visit, kind: Kind, texts: Mapping[str, str], problem: RelayError | None) -> Response:
    return visit.render(
        "record_new.html",
        kind=kind,
        fields=await _offered(visit, kind),
        texts=texts,
        problem=None if problem is None else problem.message,
        status=200 if problem is None else problem.status,
    )


async def create(visit: Visit, kind: Kind) -> Response:
    """Make one. A user gets keys by themselves, which are shown when they are made."""
    members = members_of(kind.fields, visit.form, is_new=True)
    if kind is USER:
        members["auto_create_key"] = False
    try:
        made = await visit.perform(kind.new, **members)
    except RelayError as error:
        return await _form(visit, kind, visit.form, error)
    return visit.redirect(f"{kind.path}/{quote(made[kind.id_field])}", done="created")


async def show_one(visit: Visit, kind: Kind) -> Response:
    """One, with its keys."""
    return await _one(visit, kind, None)


async def _one(visit: Visit, kind: Kind, problem: RelayError | None) -> Response:
    row, keys = await _found(visit, kind)
    fields = [field for field in await _offered(visit, kind) if not field.only_new]
    return visit.render(
        "record.html",
        kind=kind,
        row=row,
        record_id=row[kind.id_field],
        name=(row[kind.alias_field] if kind.alias_field else None) or row[kind.id_field],
        keys=keys[:MAX_KEYS_SHOWN],
        fields=fields,
        texts=visit.form if problem is not None else texts_of(fields, row),
        can_change=visit.caller.role == "admin",
        problem=None if problem is None else problem.message,
        status=200 if problem is None else problem.status,
    )


async def _found(visit: Visit, kind: Kind) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    record_id = visit.request.path_params["record_id"]
    if kind is TEAM:
        told = await visit.perform("GET /team/info", team_id=record_id)
        return told["team_info"], told["keys"]
    if kind is USER:
        told = await visit.perform("GET /user/info", user_id=record_id)
        return told["user_info"], told["keys"]
    (row,) = await visit.perform("POST /budget/info", budgets=[record_id])
    return row, []


async def save(visit: Visit, kind: Kind) -> Response:
    """Change one."""
    return await _done(visit, kind, kind.update, "saved", **members_of(kind.fields, visit.form, is_new=False))


async def block(visit: Visit, kind: Kind) -> Response:
    """Let nothing through with its keys."""
    return await _done(visit, kind, kind.update, "blocked", blocked=True)


async def unblock(visit: Visit, kind: Kind) -> Response:
    """Take that back."""
    return await _done(visit, kind, kind.update, "unblocked", blocked=False)


async def change_members(visit: Visit, kind: Kind) -> Response:
    """Add a member to a team, or take one out."""
    user_id = visit.form.get("user_id", "")
    if visit.form.get("deed") == "remove":
        return await _done(visit, kind, "POST /team/member_delete", "member", user_id=user_id)
    member = {"user_id": user_id, "role": visit.form.get("role") or "user"}
    return await _done(visit, kind, "POST /team/member_add", "member", member=member)


async def _done(visit: Visit, kind: Kind, operation: str, notice: str, **members: object) -> Response:
    record_id = visit.request.path_params["record_id"]
    try:
        await visit.perform(operation, **{kind.id_field: record_id}, **members)
    except RelayError as error:
        return await _one(visit, kind, error)
    return visit.redirect(f"{kind.path}/{quote(record_id)}", done=notice)


async def delete(visit: Visit, kind: Kind) -> Response:
    """Delete one."""
    record_id = visit.request.path_params["record_id"]
    named = [record_id] if kind.removed_by.endswith("s") else record_id
    try:
        await visit.perform(kind.remove, **{kind.removed_by: named})
    except RelayError as error:
        return await _one(visit, kind, error)
    return visit.redirect(kind.path, done="deleted")


async def _offered(visit: Visit, kind: Kind) -> list[Field]:
    if kind is BUDGETS:
        return list(kind.fields)
    budgets = (await visit.perform("GET /budget/list"))[:MAX_OFFERED]
    options = [(one["budget_id"], one["budget_id"]) for one in budgets]
    return with_options(kind.fields, budget_id=options)
