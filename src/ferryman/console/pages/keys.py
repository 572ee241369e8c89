"""Virtual keys: the list, a new one with what to put into clients, and one with what can be done to it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ferryman.console.figures import chart, grouped, latest, total
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
from ferryman.console.visit import Page, Visit
from ferryman.control.callers import check_role
from ferryman.control.spend_query import number_in
from ferryman.errors import NotFound, PermissionDenied, RelayError

PATH = "/ui/keys"
PAGE_SIZE = 50
CHART_DAYS = 30

STATUSES = (
    ("", "all"),
    ("active", "active"),
    ("revoked", "blocked"),
    ("expired", "expired"),
    ("deleted", "deleted"),
)
GRACES = (("", "at once"), ("1h", "in an hour"), ("1d", "in a day"), ("7d", "in 7 days"))

FIELDS = (
    Field("key_alias", "Name", hint="How it is called in lists; no other key has it."),
    Field("user_id", "User", hint="Whose it is. One who is not known is made."),
    Field("team_id", "Team", "choice"),
    *BUDGET,
    Field("duration", "Ends after", hint="Such as 90d. Empty: never.", only_new=True),
    LENT,
    SOFT,
    MODELS,
    *LIMITS,
    Field("tags", "Tags", "list", "Its spend counts under each.", is_further=True),
    Field("allowed_routes", "Paths", "list", "Such as /v1/messages*. Empty: all.", is_further=True),
    Field(
        "log_bodies",
        "Keep bodies",
        "choice",
        "Of its requests and their answers, for administrators to read.",
        (("", "as the settings say"), ("off", "no"), ("redacted", "redacted"), ("full", "in full")),
        is_further=True,
    ),
)


def pages() -> list[Page]:
    """All about keys."""
    return [
        Page(PATH, show_list),
        Page(f"{PATH}/new", show_new, sees_all=True),
        Page(f"{PATH}/new", create, "POST", sees_all=True),
        Page(f"{PATH}/{{token}}", show_one),
        Page(f"{PATH}/{{token}}", save, "POST", sees_all=True),
        Page(f"{PATH}/{{token}}/block", block, "POST", sees_all=True),
        Page(f"{PATH}/{{token}}/unblock", unblock, "POST", sees_all=True),
        Page(f"{PATH}/{{token}}/rotate", rotate, "POST"),
        Page(f"{PATH}/{{token}}/reset", reset, "POST", sees_all=True),
        Page(f"{PATH}/{{token}}/delete", delete, "POST", sees_all=True),
    ]


async def show_list(visit: Visit) -> Response:
    """A page of keys, newest first."""
    query = visit.query
    wanted: dict[str, Any] = {name: query[name] for name in ("status", "user_id", "team_id") if name in query}
    page = number_in(query, "page", 1, None)
    told = await visit.perform("GET /key/list", return_full_object=True, size=PAGE_SIZE, page=page, **wanted)
    return visit.render(
        "keys.html",
        keys=told["keys"],
        total=told["total_count"],
        page=page,
        pages=told["total_pages"],
        wanted=wanted,
        statuses=STATUSES,
        can_change=visit.caller.role == "admin",
    )


async def show_new(visit: Visit) -> Response:
    """The form for a key."""
    return await _form(visit, texts=dict(visit.query), problem=None)


async def _form(visit: Visit, texts: dict[str, str], problem: RelayError | None) -> Response:
    fields, users = await _offered(visit)
    status = 200 if problem is None else problem.status
    told = None if problem is None else problem.message
    return visit.render("key_new.html", fields=fields, users=users, texts=texts, problem=told, status=status)


async def create(visit: Visit) -> Response:
    """Make it, and show its text this once."""
    try:
        key = await visit.perform("POST /key/generate", **members_of(FIELDS, visit.form, is_new=True))
    except RelayError as error:
        return await _form(visit, dict(visit.form), error)
    return visit.render("key_made.html", key=key, is_new=True)


async def show_one(visit: Visit) -> Response:
    """One key."""
    return await _one(visit, problem=None)


async def _one(visit: Visit, problem: RelayError | None) -> Response:
    key = await _key(visit)
    figures, period = visit.figures([key["token"]]), latest(CHART_DAYS, visit.now)
    sums = await visit.ask(lambda: figures.sums(period, ("day", "model")))
    can_change = visit.caller.role == "admin"
    fields, users = (await _offered(visit)) if can_change else ([], [])
    fields = [field for field in fields if not field.only_new]
    texts = dict(visit.form) if problem is not None else texts_of(fields, key)
    return visit.render(
        "key.html",
        key=key,
        fields=fields,
        users=users,
        texts=texts,
        can_change=can_change,
        can_rotate=_may(visit, "/key/regenerate"),
        graces=GRACES,
        whole=total(sums),
        models=grouped(sums, lambda one: one.model),
        chart=chart(sums, period),
        problem=None if problem is None else problem.message,
        status=200 if problem is None else problem.status,
    )


async def save(visit: Visit) -> Response:
    """Change a key."""
    return await _done(visit, "POST /key/update", "saved", **members_of(FIELDS, visit.form, is_new=False))


async def block(visit: Visit) -> Response:
    """Let nothing through with it."""
    return await _done(visit, "POST /key/block", "blocked")


async def unblock(visit: Visit) -> Response:
    """Take that back."""
    return await _done(visit, "POST /key/unblock", "unblocked")


async def reset(visit: Visit) -> Response:
    """Let its window count as unspent."""
    return await _done(visit, "POST /key/{key}/reset_spend", "reset", reset_to="0")


async def _done(visit: Visit, operation: str, notice: str, **members: object) -> Response:
    token = visit.request.path_params["token"]
    try:
        await visit.perform(operation, key=token, **members)
    except RelayError as error:
        return await _one(visit, error)
    return visit.redirect(f"{PATH}/{token}", done=notice)


async def rotate(visit: Visit) -> Response:
    """Give it a new text, and show that this once."""
    members = {"grace_period": grace} if (grace := visit.form.get("grace_period")) else {}
    try:
        key = await visit.perform("POST /key/regenerate", key=visit.request.path_params["token"], **members)
    except RelayError as error:
        return await _one(visit, error)
    return visit.render("key_made.html", key=key, is_new=False)


async def delete(visit: Visit) -> Response:
    """Delete it."""
    await visit.perform("POST /key/delete", keys=[visit.request.path_params["token"]])
    return visit.redirect(PATH, done="deleted")


async def _key(visit: Visit) -> dict[str, Any]:
    """The key that the path names, by its id; NotFound if there is none that the caller sees."""
    token = visit.request.path_params["token"]
    told = await visit.perform("GET /key/list", return_full_object=True, key_hash=token[:64])
    if not told["keys"]:
        raise NotFound("There is no such key, or it has been deleted. The requests made with it stay.")
    key: dict[str, Any] = told["keys"][0]
    return key


async def _offered(visit: Visit) -> tuple[list[Field], list[str]]:
    """The fields with teams and budgets to choose from, and users to type."""
    teams = (await visit.glance("GET /team/list"))[:MAX_OFFERED]
    budgets = (await visit.glance("GET /budget/list"))[:MAX_OFFERED]
    users = (await visit.glance("GET /user/list", page_size=MAX_OFFERED))["users"]
    fields = with_options(
        FIELDS,
        team_id=[(one["team_id"], one["team_alias"] or one["team_id"]) for one in teams],
        budget_id=[(one["budget_id"], one["budget_id"]) for one in budgets],
    )
    return fields, [one["user_id"] for one in users]


def _may(visit: Visit, path: str) -> bool:
    try:
        check_role(visit.caller, "POST", path)
    except PermissionDenied:
        return False
    return True
