"""Who has changed what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
from starlette.responses import Response

from ferryman.console.own import names_of, shown_name
from ferryman.console.visit import Page, Visit
from ferryman.console.words import exact_dollars
from ferryman.control.access.asked import AuditKind
from ferryman.control.spend_query import number_in

PAGE_SIZE = 50
KINDS = (("", "all"), *((kind, f"{kind}s") for kind in get_args(AuditKind)))
PATHS = {"key": "/ui/keys/", "user": "/ui/users/", "team": "/ui/teams/", "budget": "/ui/budgets/"}

QUIET = frozenset(
    {"id", "token", "created_at_microseconds", "created_by", "updated_at_microseconds", "updated_by"}
)
"""Fields of which nobody wants to know how they have changed."""

MAX_SHOWN = 160
"""Characters of a value; lists may have a thousand members."""


def pages() -> list[Page]:
    """The one there is."""
    return [Page("/ui/audit", show, sees_all=True)]


async def show(visit: Visit) -> Response:
    """A page of changes, latest first."""
    wanted = {name: visit.query[name] for name in ("kind", "object_id", "actor") if name in visit.query}
    page = number_in(visit.query, "page", 1, None)
    told = await visit.perform("GET /audit", page=page, size=PAGE_SIZE, **wanted)
    rows = told["audit"]
    actors = {row["actor"].partition(":")[2] for row in rows if row["actor"].startswith("key:")}
    keys = {row["object_id"] for row in rows if row["kind"] == "key"} | actors
    names = await visit.ask(lambda: names_of(visit, keys))
    return visit.render(
        "audit.html",
        rows=[(row, _changes(row), _actor(row["actor"], names), _object(row, names)) for row in rows],
        wanted=wanted,
        kinds=KINDS,
        paths=PATHS,
        page=page,
        pages=told["total_pages"],
        total=told["total_count"],
    )


def _changes(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Each field with what it was and what it is."""
    before, after = row["before"] or {}, row["after"] or {}
    names = [
        name for name in {**before, **after} if name not in QUIET and before.get(name) != after.get(name)
    ]
    return [
        (
            name.removesuffix("_nanousd").removesuffix("_microseconds").replace("_", " "),
            _text(name, before.get(name)),
            _text(name, after.get(name)),
        )
        for name in names
    ]


def _text(name: str, value: Any) -> str:  # noqa: ANN401  # JSON
    if value is None:
        return "–"
    if name.endswith("_nanousd") and isinstance(value, int):
        return exact_dollars(value)
    if name.endswith("_microseconds") and isinstance(value, int):
        return f"{datetime.fromtimestamp(value / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _actor(actor: str, names: Any) -> str:  # noqa: ANN401  # of keys
    kind, _, key_id = actor.partition(":")
    return f"key {shown_name(key_id, names)}" if kind == "key" else actor


def _object(row: dict[str, Any], names: Any) -> str:  # noqa: ANN401  # of keys
    object_id: str = row["object_id"]
    return shown_name(object_id, names) if row["kind"] == "key" else object_id
