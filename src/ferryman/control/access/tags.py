"""`/tag/*`: tags with budgets. A tag that is not here may be sent all the same."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from ferryman.control.access import asked as asks
from ferryman.control.access.finding import budget_of, checked, checked_links, made_by
from ferryman.control.access.operation import Context, Operation, Spends, Told, changing, reading
from ferryman.control.access.shown import tag_row
from ferryman.control.access.terms import record_in
from ferryman.errors import InvalidRequest
from ferryman.store.access import Change
from ferryman.store.access_look import BUDGETS, TAGS, Look
from ferryman.store.access_rows import Tag

MAX_LISTED = 10_000


def operations() -> list[Operation]:
    """All of it."""
    return [
        changing("/tag/new", asks.AskedTag, new, "Make a tag."),
        changing("/tag/update", asks.AskedTag, update, "Change a tag."),
        changing("/tag/delete", asks.NamedTag, delete, "Delete a tag and its budget."),
        reading("POST", "/tag/info", asks.TagsAsked, info, "Tell of tags."),
        reading("GET", "/tag/list", asks.Nothing, listed, "List all tags."),
    ]


def new(change: Change, context: Context, asked: asks.AskedTag) -> Told:
    """Make one."""
    if change.get(TAGS, asked.name) is not None:
        raise InvalidRequest(
            f"`name`: there is a tag `{asked.name}` already; update it, or take another name."
        )
    fields = _fields_in(change, context, asked)
    return _told(
        change, change.add(TAGS, Tag(id=asked.name, **made_by(change, context), **fields)), "created"
    )


def update(change: Change, context: Context, asked: asks.AskedTag) -> Told:
    """Change one."""
    tag = checked(change, TAGS, asked.name, "name")
    return _told(change, change.replace(TAGS, tag, **_fields_in(change, context, asked)), "updated")


def delete(change: Change, _context: Context, asked: asks.NamedTag) -> Told:
    """Delete one."""
    change.remove(TAGS, checked(change, TAGS, asked.name, "name"))
    return lambda _spends: {"message": f"Tag {asked.name} deleted successfully"}


def info(look: Look, _context: Context, asked: asks.TagsAsked) -> Told:
    """Several, by their names."""
    tags = [checked(look, TAGS, name, "names") for name in asked.names]
    rows = _rows(look, tags)
    return lambda spends: {row["name"]: row for row in rows(spends)}


def listed(look: Look, _context: Context, _asked: asks.Nothing) -> Told:
    """All, newest first."""
    return _rows(look, look.page(TAGS, limit=MAX_LISTED).records)


def _rows(look: Look, tags: list[Tag]) -> Told:
    budgets = look.many(BUDGETS, (tag.budget_id for tag in tags if tag.budget_id is not None))
    return lambda spends: [tag_row(tag, spends, budgets.get(tag.budget_id or "")) for tag in tags]


def _told(look: Look, tag: Tag, what: str) -> Told:
    budget = budget_of(look, tag)

    def told(spends: Spends) -> dict[str, Any]:
        return {"message": f"Tag {tag.id} {what} successfully", "tag": tag_row(tag, spends, budget)}

    return told


def _fields_in(change: Change, context: Context, asked: asks.AskedTag) -> dict[str, Any]:
    fields = record_in(asked)
    if asked.description is not UNSET:
        fields["description"] = asked.description
    checked_links(change, context, fields)
    return fields
