"""`ferryman teams`: keys together, under one budget, and who is in which team."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.fields import TEAM, with_fields
from ferryman.cli.manage import Api, confirm, echo_json, managing, yes_option
from ferryman.cli.records import MONEY, echo_answer, echo_done, echo_record, echo_rows, money, state

team_argument = click.argument("team")


@click.group()
def teams() -> None:
    """Make and change teams.

    TEAM is the id of a team, or its alias.
    """


@teams.command()
@click.option("--team-id", metavar="ID", help="The team's id; without one it is made up.")
@with_fields(*TEAM)
@managing(makes=True)
def new(api: Api, *, team_id: str | None, fields: dict[str, Any]) -> None:
    """Make a team."""
    echo_answer(api, api.post("/team/new", {**fields, **({} if team_id is None else {"team_id": team_id})}))


@teams.command("list")
@click.option("--user", "--user-id", "user_id", metavar="ID", help="Only teams of this user.")
@managing()
def list_all(api: Api, *, user_id: str | None) -> None:
    """List teams, newest first."""
    rows = api.get("/team/list", user_id=user_id)
    if api.as_json:
        echo_json(rows)
        return
    lines = [
        (
            row["team_alias"] or "-",
            row["team_id"],
            str(len(row["members_with_roles"])),
            state(row),
            *money(row),
        )
        for row in rows
    ]
    echo_rows(("team", "id", "members", "state", *MONEY), lines, "teams")


@teams.command()
@team_argument
@managing()
def info(api: Api, *, team: str) -> None:
    """Show a team, what it has spent, and its keys."""
    answer = api.get("/team/info", team_id=team_named(api, team))
    if api.as_json:
        echo_json(answer)
        return
    names = [key["key_alias"] or key["key_name"] for key in answer["keys"]]
    echo_record({**answer["team_info"], "keys": names})


@teams.command()
@team_argument
@with_fields(*TEAM, clears=True)
@managing()
def update(api: Api, *, team: str, fields: dict[str, Any]) -> None:
    """Change a team; what is not named stays as it is."""
    answer = api.post("/team/update", {**fields, "team_id": team_named(api, team)})
    echo_answer(api, answer, answer["data"])


@teams.command()
@click.argument("teams", nargs=-1, required=True, metavar="TEAM...")
@yes_option
@managing()
def delete(api: Api, *, teams: tuple[str, ...], yes: bool) -> None:
    """Delete teams and all their keys: all of them, or none if one is not there."""
    ids = [team_named(api, team) for team in teams]
    confirm(f"Delete {', '.join(f'`{team}`' for team in teams)} and all their keys", yes=yes)
    answer = api.post("/team/delete", {"team_ids": ids})
    echo_done(api, answer, f"{len(answer['deleted_teams'])} deleted")


@teams.command("add-member")
@team_argument
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", help="Default: user.")
@click.option("--by-email", is_flag=True, help="USER is an e-mail address; else it is a user's id.")
@managing()
def add_member(api: Api, *, team: str, users: tuple[str, ...], role: str, by_email: bool) -> None:
    """Add users to a team; one who is in it already gets the role."""
    field = "user_email" if by_email else "user_id"
    members = [{"role": role, field: user} for user in users]
    echo_answer(api, api.post("/team/member_add", {"team_id": team_named(api, team), "member": members}))


@teams.command("remove-member")
@team_argument
@click.argument("user")
@click.option("--by-email", is_flag=True, help="USER is an e-mail address; else it is a user's id.")
@managing()
def remove_member(api: Api, *, team: str, user: str, by_email: bool) -> None:
    """Take a user out of a team; the user's keys stay."""
    field = "user_email" if by_email else "user_id"
    echo_answer(api, api.post("/team/member_delete", {"team_id": team_named(api, team), field: user}))


@teams.command()
@team_argument
@managing()
def block(api: Api, *, team: str) -> None:
    """Let nothing through with the keys of a team."""
    answer = api.post("/team/block", {"team_id": team_named(api, team)})
    echo_done(api, answer, f"team `{team}` is blocked")


@teams.command()
@team_argument
@managing()
def unblock(api: Api, *, team: str) -> None:
    """Let the keys of a team be used again."""
    answer = api.post("/team/unblock", {"team_id": team_named(api, team)})
    echo_done(api, answer, f"team `{team}` is not blocked any more")


def team_named(api: Api, named: str) -> str:
    """The id of the team with this id or alias; what is neither is left for the API to refuse."""
    rows = api.get("/team/list")
    if any(row["team_id"] == named for row in rows):
        return named
    found = [str(row["team_id"]) for row in rows if row["team_alias"] == named]
    if len(found) > 1:
        raise click.ClickException(f"{len(found)} teams have the alias `{named}`; name one by its id.")
    return found[0] if found else named


def with_team(api: Api, fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with the id of the team that they name by its alias."""
    team = fields.get("team_id")
    return fields if team is None else {**fields, "team_id": team_named(api, team)}
