"""`/user/*`: people with keys, and what their keys may do here."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from sqlalchemy import ColumnElement

from ferryman.control.access import asked as asks
from ferryman.control.access.finding import checked, checked_links, made_by, new_id
from ferryman.control.access.keys import made
from ferryman.control.access.operation import Context, Operation, Spends, Told, changing, reading
from ferryman.control.access.shown import generated, key_row, team_row, user_row
from ferryman.control.access.teams import members_after
from ferryman.control.access.terms import record_in
from ferryman.errors import InvalidRequest, NotFound, PermissionDenied
from ferryman.store import schema_access as schema
from ferryman.store.access import Change
from ferryman.store.access_look import KEYS, TEAMS, USERS, Look
from ferryman.store.access_rows import Key, Team, User

MAX_KEYS_TOLD = 1_000
"""Of a user's keys, in what is told of the user; `/key/list` tells all."""


def operations() -> list[Operation]:
    """All of it."""
    return [
        changing("/user/new", asks.NewUser, new, "Make a user, and a key of theirs."),
        changing("/user/update", asks.UpdateUser, update, "Change a user."),
        changing("/user/delete", asks.NamedUsers, delete, "Delete users, and their keys."),
        reading("GET", "/user/info", asks.UserAsked, info, "Tell of a user, their keys and teams."),
        reading("GET", "/user/list", asks.UserList, listed, "List users."),
    ]


def new(change: Change, context: Context, asked: asks.NewUser) -> Told:
    """Make one."""
    user_id = asked.user_id if isinstance(asked.user_id, str) else new_id(change)
    if change.get(USERS, user_id) is not None:
        raise InvalidRequest(f"`user_id`: there is a user `{user_id}` already; take another id.")
    fields = _fields_in(change, context, asked, user_id)
    user = change.add(USERS, User(id=user_id, **made_by(change, context), **fields))
    team_ids = list(asked.teams) if isinstance(asked.teams, list) else []
    if isinstance(asked.team_id, str) and asked.team_id not in team_ids:
        team_ids.append(asked.team_id)
    teams = [_joined(change, team_id, user.id) for team_id in team_ids]
    key: tuple[Key, str] | None = None
    if asked.auto_create_key:
        wanted = asks.GenerateKey(
            user_id=user.id, team_id=asked.team_id, key_alias=asked.key_alias, duration=asked.duration
        )
        key = made(change, context, wanted)

    def told(spends: Spends) -> dict[str, Any]:
        of_key = {"key": None} if key is None else generated(*key, spends)
        return {**of_key, **user_row(user, spends, teams)}

    return told


def update(change: Change, context: Context, asked: asks.UpdateUser) -> Told:
    """Change one."""
    user = _user(change, asked)
    after = change.replace(USERS, user, **_fields_in(change, context, asked, user.id))
    teams = change.teams_of(after.id)
    return lambda spends: {"user_id": after.id, "data": user_row(after, spends, teams)}


def delete(change: Change, _context: Context, asked: asks.NamedUsers) -> Told:
    """Delete some: all of them, or none if one is not there. How many, as LiteLLM answers."""
    users = [checked(change, USERS, one, "user_ids") for one in dict.fromkeys(asked.user_ids)]
    for user in users:
        for team in change.teams_of(user.id):
            members = [one for one in team.members if one.user_id != user.id]
            change.replace(TEAMS, team, "member_delete", members=members)
        change.remove(USERS, user)
    return lambda _spends: len(users)


def info(look: Look, context: Context, asked: asks.UserAsked) -> Told:
    """One, with keys and teams."""
    caller = context.caller
    user_id = asked.user_id or caller.user_id
    if user_id is None:
        raise InvalidRequest("`user_id` is missing, and the key of the request has no user; name one.")
    if not caller.sees_all and user_id != caller.user_id:
        raise PermissionDenied("`user_id`: that is not you; your key sees its own user only.")
    user = checked(look, USERS, user_id, "user_id")
    keys: list[Key] = look.page(KEYS, [schema.keys.c.user_id == user.id], limit=MAX_KEYS_TOLD).records
    teams = look.teams_of(user.id)

    def told(spends: Spends) -> dict[str, Any]:
        return {
            "user_id": user.id,
            "user_info": user_row(user, spends, teams),
            "keys": [key_row(key, spends) for key in keys],
            "teams": [team_row(team, spends) for team in teams],
        }

    return told


def listed(look: Look, _context: Context, asked: asks.UserList) -> Told:
    """A page of users, newest first."""
    table = schema.users.c
    conditions: list[ColumnElement[bool]] = []
    if asked.user_ids is not None:
        conditions.append(table.id.in_([one.strip() for one in asked.user_ids.split(",")]))
    if asked.user_email is not None:
        conditions.append(table.email == asked.user_email)
    skip = (asked.page - 1) * asked.page_size
    found = look.page(USERS, conditions, limit=asked.page_size, skip=skip)
    users: list[User] = found.records
    theirs = look.teams_and_keys_of([user.id for user in users])

    def told(spends: Spends) -> dict[str, Any]:
        spends.expect([f"user:{user.id}" for user in users])
        rows = [
            {**user_row(user, spends, theirs[user.id][0]), "key_count": theirs[user.id][1]} for user in users
        ]
        return {
            "users": rows,
            "total": found.total,
            "page": asked.page,
            "page_size": asked.page_size,
            "total_pages": -(-found.total // asked.page_size),
        }

    return told


def _joined(change: Change, team_id: str, user_id: str) -> Team:
    team = checked(change, TEAMS, team_id, "teams")
    members = members_after(team, user_id, role="user")
    return change.replace(TEAMS, team, "member_add", members=members)


def _user(change: Change, asked: asks.UpdateUser) -> User:
    if isinstance(asked.user_id, str):
        return checked(change, USERS, asked.user_id, "user_id")
    if not isinstance(asked.user_email, str):
        raise InvalidRequest("`user_id` is missing; wanted that, or the `user_email` of a user.")
    users = change.where(USERS, "email", asked.user_email)
    if not users:
        raise NotFound(f"`user_email`: there is no user `{asked.user_email}`.")
    return users[0]


def _fields_in(change: Change, context: Context, asked: asks.AskedUser, user_id: str) -> dict[str, Any]:
    fields = record_in(asked)
    if asked.user_alias is not UNSET:
        fields["alias"] = asked.user_alias
    if asked.user_role is not UNSET:
        fields["role"] = asked.user_role or "internal_user"
    if asked.user_email is not UNSET:
        fields["email"] = asked.user_email
        others = [] if asked.user_email is None else change.where(USERS, "email", asked.user_email)
        if any(other.id != user_id for other in others):
            raise InvalidRequest(
                f"`user_email`: another user has the address `{asked.user_email}`; take another."
            )
    checked_links(change, context, fields)
    return fields
