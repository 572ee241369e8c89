"""`ferryman logs`: the entries of the ledger, as the log lines they were."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ferryman.cli.ledger import open_ledger
from ferryman.cli.ledger import since as since_option
from ferryman.cli.options import SECRETS_HELP, load_or_exit, with_settings
from ferryman.clock import SystemClock
from ferryman.errors import StoreError, StoreUnavailable
from ferryman.ledger.records import encode
from ferryman.model import Ended, Entry
from ferryman.telemetry.lines import json_line
from ferryman.telemetry.log import text_line

if TYPE_CHECKING:
    from ferryman.store.follow import Follower

POLL_SECONDS = 0.5
MAX_LINES = 10_000
"""They are held in memory, some 20 MB."""

RENDER = {"text": text_line, "json": json_line}


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise ValueError("a status such as `529`")
    return int(text)


def _status_class(text: str) -> int:
    if not re.fullmatch(r"[0-5](xx)?", text):
        raise ValueError("`2xx`, `4xx`, `5xx`, or `0` for no answer")
    return int(text[0])


def _outcome(text: str) -> str:
    if text not in {"success", "failure"}:
        raise ValueError("`success` or `failure`")
    return text


def _ended(text: str) -> Ended:
    if text not in set(Ended):
        raise ValueError(", ".join(f"`{ended}`" for ended in Ended))
    return Ended(text)


WHERE: dict[str, Callable[[str], Any]] = {
    "id": str,
    "model": str,
    "end_user": str,
    "session_id": str,
    "principal": str,
    "tag": str,
    "status": _number,
    "status_class": _status_class,
    "outcome": _outcome,
    "ended": _ended,
}
"""Keys of `--where`, and what makes a value of the text; its ValueError says what is wanted."""


def _conditions(_context: click.Context, _parameter: click.Parameter, given: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        key, mark, value = text.partition("=")
        if not mark or key not in WHERE:
            known = ", ".join(WHERE)
            raise click.BadParameter(f"`{text}` is no condition; wanted KEY=VALUE with one of {known}.")
        if key in found:
            raise click.BadParameter(f"`{key}` is there twice; an entry has one.")
        try:
            found[key] = WHERE[key](value)
        except ValueError as error:
            raise click.BadParameter(f"`{text}` cannot be used; wanted {error}.") from error
    return found


@click.command(epilog=SECRETS_HELP)
@with_settings
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_conditions,
    help=f"Only entries with this value; may be given more than once. Keys: {', '.join(WHERE)}.",
)
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(0, MAX_LINES),
    metavar="INTEGER",
    default=50,
    help="So many of the newest entries, at most 10000. Default: 50.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=since_option,
    help="Only entries that began since: `90s`, `10m`, `2h`, `7d`, `2026-11-22`, `2026-11-22T15:30:00Z`.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(RENDER)),
    default="text",
    help="`text` for people, `json` for programs. Default: text.",
)
def logs(
    *,
    follow: bool,
    conditions: dict[str, Any],
    limit: int,
    since: datetime | None,
    form: str,
    **values: Any,  # noqa: ANN401  # one per setting
) -> None:
    """Print the newest entries of the ledger, newest last.

    The database is read directly: `database_url` and `data_dir` tell which. It does not matter whether
    Ferryman runs. Exit code 1 if the database cannot be read, 2 if there is none.
    """
    settings = load_or_exit(values).settings
    from ferryman.store.follow import Follower, newest  # noqa: PLC0415  # 30 MB that few commands need
    from ferryman.store.read import Filter  # noqa: PLC0415

    wanted = Filter(start=since, **conditions)
    try:
        with closing(open_ledger(settings)) as store:
            follower = Follower(store.read, wanted, SystemClock()) if follow else None
            there = newest(store.read, wanted, limit) if follower is None else follower.begin(limit)
            _print(there, form)
            if follower is not None:
                _follow(follower, form)
            elif not there and limit:
                narrowed = since is not None or conditions
                click.echo(f"ferryman: {'no entry matches' if narrowed else 'no entries yet'}.", err=True)
    except StoreError as error:
        raise click.ClickException(f"{error}.") from error


def _follow(follower: Follower, form: str) -> None:
    away = False
    try:
        while True:
            time.sleep(POLL_SECONDS)
            try:
                found = follower.new()
            except StoreUnavailable as error:
                if not away:
                    click.echo(f"ferryman: {error}; trying again.", err=True)
                away = True
                continue
            away = False
            _print(found, form)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell tells of SIGINT


def _print(entries: list[Entry], form: str) -> None:
    if entries:
        click.echo(b"".join(map(RENDER[form], map(encode, entries))), nl=False)
