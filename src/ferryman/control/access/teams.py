"""`/team/*`: keys together, under one budget, and who is in which team."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from ferryman.control.access import asked as asks
from ferryman.control.access.asked_types import TeamMember
from ferryman.control.access.finding import checked, checked_links, made_by, new_id
from ferryman.control.access.operation import Context, Operation, Spends, Told, changing, reading
from ferryman.control.access.shown import key_row, team_row
from ferryman.control.access.terms import record_in
from ferryman.errors import InvalidRequest, NotFound
from ferryman.store.access import Change
from ferryman.store.access_look import KEYS, TEAMS, USERS, Look
from ferryman.store.access_rows import Member, Team

MAX_LISTED = 10_000
MAX_MEMBERS = 10_000
MAX_KEYS_TOLD = 1_000
"""Of a team's keys, in what is told of the team; `/key/list` tells all."""


def operations() -> list[Operation]:
    """All of it."""
    return [
        changing("/team/new", asks.NewTeam, new, "Make a team."),
        changing("/team/update", asks.UpdateTeam, update, "Change a team."),
        changing("/team/delete", asks.NamedTeams, delete, "Delete teams, and their keys."),
        changing("/team/block", asks.NamedTeam, block, "Let nothing through with the keys of a team."),
        changing("/team/unblock", asks.NamedTeam, unblock, "Let the keys of a team through again."),
        changing("/team/member_add", asks.AddMembers, add_members, "Add members to a team."),
        changing("/team/member_delete", asks.RemoveMember, remove_member, "Take a member out of a team."),
        changing("/team/member_update", asks.UpdateMember, update_member, "Change a member's role."),
        reading("GET", "/team/info", asks.NamedTeam, info, "Tell of a team and its keys."),
        reading("GET", "/team/list", asks.TeamList, listed, "List teams."),
    ]


def new(change: Change, context: Context, asked: asks.NewTeam) -> Told:
    """Make one."""
    team_id = asked.team_id if isinstance(asked.team_id, str) else new_id(change)
    if change.get(TEAMS, team_id) is not None:
        raise InvalidRequest(f"`team_id`: there is a team `{team_id}` already; take another id.")
    fields = _fields_in(change, context, asked)
    if asked.members_with_roles is not UNSET:
        fields["members"] = _members(change, context, asked.members_with_roles or [])
    team = change.add(TEAMS, Team(id=team_id, **made_by(change, context), **fields))
    return lambda spends: team_row(team, spends)


def update(change: Change, context: Context, asked: asks.UpdateTeam) -> Told:
    """Change one."""
    team = checked(change, TEAMS, asked.team_id, "team_id")
    after = change.replace(TEAMS, team, **_fields_in(change, context, asked))
    return lambda spends: {"team_id": after.id, "data": team_row(after, spends)}


def delete(change: Change, _context: Context, asked: asks.NamedTeams) -> Told:
    """Delete some: all of them, or none if one is not there."""
    ids = list(dict.fromkeys(asked.team_ids))
    for team in [checked(change, TEAMS, team_id, "team_ids") for team_id in ids]:
        change.remove(TEAMS, team)
    return lambda _spends: {"deleted_teams": ids}


def block(change: Change, _context: Context, asked: asks.NamedTeam) -> Told:
    """Block one."""
    team = checked(change, TEAMS, asked.team_id, "team_id")
    after = change.replace(TEAMS, team, "block", blocked=True)
    return lambda spends: team_row(after, spends)


def unblock(change: Change, _context: Context, asked: asks.NamedTeam) -> Told:
    """Take that back."""
    team = checked(change, TEAMS, asked.team_id, "team_id")
    after = change.replace(TEAMS, team, "unblock", blocked=False)
    return lambda spends: team_row(after, spends)


def add_members(change: Change, context: Context, asked: asks.AddMembers) -> Told:
    """Add some; who is in it already gets the role."""
    team = checked(change, TEAMS, asked.team_id, "team_id")
    given = asked.member if isinstance(asked.member, list) else [asked.member]
    added = _members(change, context, given)
    ids = {one.user_id for one in added}
    members = [one for one in team.members if one.user_id not in ids] + added
    if len(members) > MAX_MEMBERS:
        raise InvalidRequest(f"`member`: the team has {MAX_MEMBERS} members at most.")
    after = change.replace(TEAMS, team, "member_add", members=members)
    updated = [{"user_id": one.user_id, "role": one.role} for one in added]
    return lambda spends: {
        **team_row(after, spends), "updated_users": updated, "updated_team_memberships": []
    }  # fmt: skip


def remove_member(change: Change, _context: Context, asked: asks.RemoveMember) -> Told:
    """Take one out."""
    team, member = _member(change, asked)
    members = [one for one in team.members if one.user_id != member.user_id]
    after = change.replace(TEAMS, team, "member_delete", members=members)
    return lambda spends: team_row(after, spends)


def update_member(change: Change, _context: Context, asked: asks.UpdateMember) -> Told:
    """Give one another role."""
    team, member = _member(change, asked)
    new_one = Member(member.user_id, asked.role or member.role)
    members = [new_one if one.user_id == member.user_id else one for one in team.members]
    change.replace(TEAMS, team, "member_update", members=members)
    user = change.get(USERS, member.user_id)
    told = {
        "team_id": team.id,
        "user_id": member.user_id,
        "user_email": None if user is None else user.email,
        "role": new_one.role,
        "max_budget_in_team": None,
    }
    return lambda _spends: told


def info(look: Look, _context: Context, asked: asks.NamedTeam) -> Told:
    """One, with its keys."""
    team = checked(look, TEAMS, asked.team_id, "team_id")
    keys = look.page(KEYS, [KEYS.table.c.team_id == team.id], limit=MAX_KEYS_TOLD).records

    def told(spends: Spends) -> dict[str, Any]:
        rows = [key_row(key, spends) for key in keys]
        info = team_row(team, spends)
        return {"team_id": team.id, "team_info": info, "keys": rows, "team_memberships": []}

    return told


def listed(look: Look, _context: Context, asked: asks.TeamList) -> Told:
    """All, newest first, or those of a user."""
    teams: list[Team] = (
        look.page(TEAMS, limit=MAX_LISTED).records if asked.user_id is None else look.teams_of(asked.user_id)
    )

    def told(spends: Spends) -> list[dict[str, Any]]:
        spends.expect([f"team:{team.id}" for team in teams])
        return [team_row(team, spends) for team in teams]

    return told


def _members(change: Change, context: Context, given: list[TeamMember]) -> list[Member]:
    """Members by their users' ids; a user of whom we have not heard is made."""
    members: dict[str, Member] = {}
    for one in given:
        user_id = one.user_id or _user_id_of(change, one.user_email)
        checked_links(change, context, {"user_id": user_id})
        members[user_id] = Member(user_id, one.role)
    return list(members.values())


def _member(change: Change, asked: asks.RemoveMember) -> tuple[Team, Member]:
    team = checked(change, TEAMS, asked.team_id, "team_id")
    user_id = asked.user_id or _user_id_of(change, asked.user_email)
    for member in team.members:
        if member.user_id == user_id:
            return team, member
    raise NotFound(f"`user_id`: the team `{team.id}` has no member `{user_id}`.")


def _user_id_of(change: Change, email: str | None) -> str:
    if not email:
        raise InvalidRequest("`user_id` is missing; wanted that, or the `user_email` of a user.")
    users = change.where(USERS, "email", email)
    if not users:
        raise NotFound(f"`user_email`: there is no user `{email}`; make one with `/user/new`.")
    return users[0].id


def _fields_in(change: Change, context: Context, asked: asks.AskedTeam) -> dict[str, Any]:
    fields = record_in(asked)
    if asked.team_alias is not UNSET:
        fields["alias"] = asked.team_alias
    if asked.tags is not UNSET:
        fields["tags"] = list(dict.fromkeys(asked.tags or []))
    checked_links(change, context, fields)
    return fields


def members_after(team: Team, user_id: str, *, role: str) -> list[Member]:
    """The members of `team` with this one among them."""
    others = [one for one in team.members if one.user_id != user_id]
    return [*others, msgspec.structs.replace(Member(user_id), role=role)]
