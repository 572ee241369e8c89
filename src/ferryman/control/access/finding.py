"""Finds what a request names, and refuses what is not there or is not the caller's."""

from __future__ import annotations

from typing import Any

from ferryman.control.access.operation import Context
from ferryman.errors import InvalidRequest, NotFound, PermissionDenied
from ferryman.ids import Ids
from ferryman.store.access import Change
from ferryman.store.access_look import BUDGETS, KEYS, SCOPED, TEAMS, USERS, Kind, Look, R
from ferryman.store.access_rows import Budget, Key, Record, User


def checked(look: Look, kind: Kind[R], record_id: str, field: str) -> R:
    """The record that the field `field` names; NotFound if there is none."""
    found = look.get(kind, record_id)
    if found is None:
        raise NotFound(f"`{field}`: there is no {kind.name} `{record_id}`.")
    return found


def checked_key(look: Look, named: str) -> Key:
    """The key that is named by its text or its token; NotFound if there is none."""
    found = look.key(named)
    if found is None:
        # Never what was named: it may be the text of a key somewhere.
        raise NotFound("`key`: there is no such key; name it by its text, or by its token (see `/key/list`).")
    return found


def caller_key(look: Look, context: Context, named: object) -> Key:
    """The key that is named, or that of the request itself.

    Raises:
        NotFound: there is no such key.
        PermissionDenied: it is somebody else's.
        InvalidRequest: none is named, and the request came with none.
    """
    caller = context.caller
    if not isinstance(named, str):
        if caller.key_id is None:
            raise InvalidRequest("`key` is missing, and the request came without a virtual key; name one.")
        return checked(look, KEYS, caller.key_id, "key")
    if caller.sees_all:
        return checked_key(look, named)
    found = look.key(named)
    # The same words for one that is not there: who may not see it is not told of it.
    if found is None or not is_own(context, found):
        raise PermissionDenied(
            "`key`: that is none of your keys; your own key sees and changes only its user's."
        )
    return found


def is_own(context: Context, key: Key) -> bool:
    """Whether `key` is that of the request, or of the same user."""
    caller = context.caller
    return key.id == caller.key_id or (caller.user_id is not None and key.user_id == caller.user_id)


def budget_of(look: Look, record: Record) -> Budget | None:
    """The budget that lends its terms to `record`, `None` if none does."""
    return None if record.budget_id is None else look.get(BUDGETS, record.budget_id)


def checked_links(change: Change, context: Context, fields: dict[str, Any]) -> None:
    """See that budget and team of a record are there, and that its user is, who is made if not.

    LiteLLM makes a user of whom it has not heard when a key is made for them; so do we.

    Raises:
        NotFound: there is no such budget or team.
    """
    if (budget_id := fields.get("budget_id")) is not None:
        checked(change, BUDGETS, budget_id, "budget_id")
    if (team_id := fields.get("team_id")) is not None:
        checked(change, TEAMS, team_id, "team_id")
    if (user_id := fields.get("user_id")) is not None and change.get(USERS, user_id) is None:
        change.add(USERS, User(id=user_id, **made_by(change, context)))


def made_by(change: Change, context: Context) -> dict[str, Any]:
    """The fields that say who has made a record, and when."""
    return {
        "created_at_microseconds": change.now_microseconds,
        "created_by": context.caller.name,
        "updated_at_microseconds": change.now_microseconds,
        "updated_by": context.caller.name,
    }


def new_id(change: Change) -> str:
    """An id for a record that was given none."""
    return Ids().next(change.now_microseconds / 1e6)


def users_of_budget(look: Look, budget_id: str) -> int:
    """How many records have this budget."""
    return sum(look.count(kind, kind.table.c.budget_id == budget_id) for kind in SCOPED)
