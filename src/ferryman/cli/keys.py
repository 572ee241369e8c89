"""`ferryman keys`: making, showing, changing and deleting virtual keys."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

import click

from ferryman.cli.fields import KEY, with_fields
from ferryman.cli.ledger import now
from ferryman.cli.manage import Api, confirm, echo_json, managing, quiet_option, yes_option
from ferryman.cli.records import MONEY, echo_answer, echo_done, echo_key, echo_rows, money
from ferryman.cli.teams import with_team

_TOKEN = re.compile(r"[0-9a-f]{64}")

key_argument = click.argument("key")


@click.group()
def keys() -> None:
    """Make and change virtual keys.

    KEY is the alias of a key, or its token, which `list` and `info` tell; its text can be given too.
    """


@keys.command()
@with_fields(*KEY)
@quiet_option
@managing(makes=True)
def create(api: Api, *, fields: dict[str, Any], quiet: bool) -> None:
    """Make a key, and print its text, which cannot be had again.

    Without options the key may ask for every model, never ends, and has no limits of its own.
    """
    echo_key(api, api.post("/key/generate", with_team(api, fields)), quiet=quiet)


@keys.command("list")
@click.option("--user", "--user-id", "user_id", metavar="ID", help="Only keys of this user.")
@click.option("--team", "--team-id", "team_id", metavar="TEAM", help="Only keys of this team.")
@click.option(
    "--status",
    type=click.Choice(["active", "expired", "revoked", "deleted"]),
    help="Only keys that stand so; `revoked` is a blocked one.",
)
@managing()
def list_all(api: Api, *, user_id: str | None, team_id: str | None, status: str | None) -> None:
    """List keys, newest first."""
    wanted = with_team(api, {"user_id": user_id, "team_id": team_id})
    rows = api.pages("/key/list", "keys", "size", return_full_object=True, status=status, **wanted)
    if api.as_json:
        echo_json(rows)
        return
    lines = [
        (
            name_of(row),
            row["key_name"],
            row["user_id"] or "-",
            row["team_id"] or "-",
            "deleted" if status == "deleted" else standing(row),
            *money(row),
        )
        for row in rows
    ]
    echo_rows(("key", "text", "user", "team", "state", *MONEY), lines, "keys")


@keys.command()
@key_argument
@managing()
def info(api: Api, *, key: str) -> None:
    """Show a key, what it has spent, and what it may do."""
    answer = api.get("/key/info", key=token_named(api, key))
    echo_answer(api, answer, {"token": answer["key"], **answer["info"]})


@keys.command()
@key_argument
@with_fields(*KEY, clears=True)
@managing()
def update(api: Api, *, key: str, fields: dict[str, Any]) -> None:
    """Change a key; what is not named stays as it is."""
    answer = api.post("/key/update", {**with_team(api, fields), "key": token_named(api, key)})
    echo_answer(api, answer)


@keys.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@yes_option
@managing()
def delete(api: Api, *, keys: tuple[str, ...], yes: bool) -> None:
    """Delete keys for good: all of them, or none if one is not there."""
    tokens = [token_named(api, key) for key in keys]
    confirm(f"Delete {counted(len(tokens), 'key')}, which no client can use then", yes=yes)
    answer = api.post("/key/delete", {"keys": tokens})
    echo_done(api, answer, f"{counted(len(answer['deleted_keys']), 'key')} deleted")


@keys.command()
@key_argument
@managing()
def block(api: Api, *, key: str) -> None:
    """Let nothing through with a key, from the next request on."""
    answer = api.post("/key/block", {"key": token_named(api, key)})
    echo_done(api, answer, f"key `{name_of(answer)}` is blocked")


@keys.command()
@key_argument
@managing()
def unblock(api: Api, *, key: str) -> None:
    """Let a key be used again."""
    answer = api.post("/key/unblock", {"key": token_named(api, key)})
    echo_done(api, answer, f"key `{name_of(answer)}` is not blocked any more")


@keys.command()
@key_argument
@click.option(
    "--grace-period",
    metavar="DURATION",
    help="How long the old text goes on, such as `24h`; without one it ends now.",
)
@quiet_option
@managing()
def rotate(api: Api, *, key: str, grace_period: str | None, quiet: bool) -> None:
    """Give a key a new text, and print it. Limits, spend and alias stay."""
    body = {} if grace_period is None else {"grace_period": grace_period}
    echo_key(api, api.post(f"/key/{token_named(api, key)}/regenerate", body), quiet=quiet)


@keys.command("reset-spend")
@key_argument
@click.option(
    "--to", "dollars", metavar="DOLLARS", type=float, default=0.0, help="What it then has spent. Default: 0."
)
@managing()
def reset_spend(api: Api, *, key: str, dollars: float) -> None:
    """Let a key count as having spent less than it has; the ledger stays as it is.

    Ferryman has to run: what budgets have counted is its control plane's.
    """
    if not api.runs:
        raise click.ClickException("what budgets have counted is the control plane's; start Ferryman first.")
    answer = api.post(f"/key/{token_named(api, key)}/reset_spend", {"reset_to": dollars})
    echo_done(api, answer, f"${answer['previous_spend']:.2f} before, ${answer['spend']:.2f} now")


def token_named(api: Api, named: str) -> str:
    """The token of the key with this alias, text or token; a text goes no further than here."""
    if named.startswith("sk-"):
        return hashlib.sha256(named.encode()).hexdigest()
    if _TOKEN.fullmatch(named):
        return named
    found = api.get("/key/list", key_alias=named)["keys"]
    if not found:
        hint = "`ferryman keys list` tells them"
        raise click.ClickException(f"there is no key with the alias `{named}`; {hint}.")
    return str(found[0])


def standing(row: dict[str, Any]) -> str:
    """Whether a key can be used, and until when."""
    if row["blocked"]:
        return "blocked"
    if row["expires"] is None:
        return "active"
    end = datetime.fromisoformat(row["expires"])
    return f"expired {end:%Y-%m-%d}" if end <= now() else f"until {end:%Y-%m-%d %H:%M}"


def name_of(row: dict[str, Any]) -> str:
    """By what a key is named here."""
    return str(row["key_alias"] or row["token"])


def counted(number: int, what: str) -> str:
    """So many of something."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
