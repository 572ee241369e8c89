"""`ferryman users`: people with keys, and what their keys may do with Ferryman's own paths."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.fields import USER, with_fields
from ferryman.cli.manage import Api, confirm, echo_json, managing, quiet_option, yes_option
from ferryman.cli.records import MONEY, echo_answer, echo_done, echo_key, echo_record, echo_rows, money, state
from ferryman.cli.teams import team_named, with_team

user_argument = click.argument("user")


@click.group()
def users() -> None:
    """Make and change users.

    USER is the id of a user.
    """


@users.command()
@click.argument("user", required=False)
@with_fields("team_id", "teams", "key_alias", "duration", *USER)
@click.option("--no-key", is_flag=True, help="Make no key with the user.")
@quiet_option
@managing(makes=True)
def new(api: Api, *, user: str | None, fields: dict[str, Any], no_key: bool, quiet: bool) -> None:
    """Make a user, and a key of theirs, whose text cannot be had again.

    Without USER an id is made up. Limits are the user's, for all their keys together; `--key-alias`,
    `--duration` and `--team` are the key's, and the user joins that team.
    """
    if no_key and quiet:
        raise click.UsageError("--quiet prints the key, and --no-key makes none; leave out one of them.")
    body = {**with_team(api, fields), "auto_create_key": not no_key}
    if user is not None:
        body["user_id"] = user
    if "teams" in body:
        body["teams"] = [team_named(api, team) for team in body["teams"]]
    answer = api.post("/user/new", body)
    if no_key:
        echo_answer(api, answer)
        return
    if not api.as_json and not quiet:
        click.echo(f"Made the user `{answer['user_id']}`.\n")
    echo_key(api, answer, quiet=quiet)


@users.command("list")
@managing()
def list_all(api: Api) -> None:
    """List users, newest first."""
    rows = api.pages("/user/list", "users", "page_size")
    if api.as_json:
        echo_json(rows)
        return
    lines = [
        (
            row["user_id"],
            row["user_email"] or row["user_alias"] or "-",
            row["user_role"],
            str(row["key_count"]),
            state(row),
            *money(row),
        )
        for row in rows
    ]
    echo_rows(("user", "name", "role", "keys", "state", *MONEY), lines, "users")


@users.command()
@user_argument
@managing()
def info(api: Api, *, user: str) -> None:
    """Show a user, what they have spent, their keys and teams."""
    answer = api.get("/user/info", user_id=user)
    if api.as_json:
        echo_json(answer)
        return
    names = [key["key_alias"] or key["key_name"] for key in answer["keys"]]
    teams = [team["team_alias"] or team["team_id"] for team in answer["teams"]]
    echo_record({**answer["user_info"], "teams": teams, "keys": names})


@users.command()
@user_argument
@with_fields(*USER, clears=True)
@managing()
def update(api: Api, *, user: str, fields: dict[str, Any]) -> None:
    """Change a user; what is not named stays as it is."""
    answer = api.post("/user/update", {**fields, "user_id": user})
    echo_answer(api, answer, answer["data"])


@users.command()
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@yes_option
@managing()
def delete(api: Api, *, users: tuple[str, ...], yes: bool) -> None:
    """Delete users and all their keys: all of them, or none if one is not there."""
    confirm(f"Delete {', '.join(f'`{user}`' for user in users)} and all their keys", yes=yes)
    answer = api.post("/user/delete", {"user_ids": list(users)})
    echo_done(api, answer, f"{answer} deleted")
