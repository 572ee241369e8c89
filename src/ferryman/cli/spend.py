"""`ferryman spend`: what was spent, by model, key, user, tag, session or day."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ferryman.cli.ledger import now, open_ledger, since, until
from ferryman.cli.options import SECRETS_HELP, load_or_exit, with_settings
from ferryman.cli.tables import echo_table
from ferryman.errors import StoreError
from ferryman.pricing.explain import dollars_of_nano

if TYPE_CHECKING:
    from ferryman.store.read import Dimension, Sums
    from ferryman.store.store import Store

DIMENSIONS: dict[str, Dimension | None] = {
    "model": "model",
    "key": "principal",
    "user": "end_user",
    "tag": "tag",
    "session": None,  # from the entries
    "day": "day",
}
DAYS = 30
"""What is looked back at; by session one day."""

MAX_SESSION_DAYS = 31
"""By session every entry is read: some seconds for a million of them."""

MAX_SHOWN = 1_000
"""Rows of the table; the other formats have all."""

COLUMNS = ("requests", "errors", "input", "output", "cache write", "cache read", "cost ($)")
MEASURES = (
    *("requests", "errors", "input_tokens", "output_tokens"),
    *("cache_creation_input_tokens", "cache_read_input_tokens", "cost_nanousd"),
)

Line = tuple[str, dict[str, int]]
"""What it is about, and `MEASURES`."""


@click.command(epilog=SECRETS_HELP)
@with_settings
@click.option(
    "--by",
    type=click.Choice(list(DIMENSIONS)),
    default="model",
    help="What to tell apart; `key` is who called, `user` whom they acted for. Default: model.",
)
@click.option(
    "--since",
    "start",
    metavar="TIME",
    callback=since,
    help="From then on: `7d`, `2026-11-22`. Default: 30 days ago; by session, one day.",
)
@click.option(
    "--until", "end", metavar="TIME", callback=until, help="Up to then, that day included. Default: now."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    help="`table` for people, `json` and `csv` for programs. Default: table.",
)
def spend(
    *,
    by: str,
    start: datetime | None,
    end: datetime | None,
    form: str,
    **values: Any,  # noqa: ANN401  # one per setting
) -> None:
    """Print what was spent, dearest first, with the total.

    Sums are by whole UTC days, those by session to the second. The database is read directly; it does
    not matter whether Ferryman runs. Exit code 1 if the database cannot be read, 2 if there is none.
    """
    settings = load_or_exit(values).settings
    by_session = DIMENSIONS[by] is None
    end = end or now()
    start = start or end - timedelta(days=1 if by_session else DAYS - 1)
    if start >= end:
        raise click.BadParameter("`--until` is before `--since`; nothing can lie between them.")
    if by_session and end - start > timedelta(days=MAX_SESSION_DAYS):
        raise click.BadParameter(f"`--by session` reads every entry, of {MAX_SESSION_DAYS} days at most.")
    try:
        with closing(open_ledger(settings)) as store:
            lines, total, cut = _read(store, by, start, end)
    except StoreError as error:
        raise click.ClickException(f"{error}.") from error
    if cut:
        click.echo(f"ferryman: only the dearest {len(lines):,} are told; the total has all.", err=True)
    if form == "json":
        _echo_json(by, start, end, lines, total)
    elif form == "csv":
        _echo_csv(by, lines)
    else:
        _echo_table(by, start, end, lines, total)


def _read(store: Store, by: str, start: datetime, end: datetime) -> tuple[list[Line], dict[str, int], bool]:
    """The lines, their total, and whether lines are missing."""
    from ferryman.store.read import MAX_SUMS  # noqa: PLC0415  # 30 MB that few commands need

    dimension = DIMENSIONS[by]
    if dimension is None:
        found = [(name or "", _measures(one)) for name, one in store.read.sessions(start, end)]
        total = {name: sum(line[1][name] for line in found) for name in MEASURES}
        return found, total, len(found) == MAX_SUMS
    first, last = start.date(), (end - timedelta(microseconds=1)).date()
    sums = store.read.sums(first, last, by=(dimension,), dearest_first=dimension != "day")
    # Not the sum of the lines: an entry counts for each of its tags.
    (whole,) = store.read.sums(first, last, by=())
    lines = [(str(getattr(one, dimension)), _measures(one)) for one in sums]
    return lines, _measures(whole), len(sums) == MAX_SUMS


def _measures(one: Sums) -> dict[str, int]:
    return {name: getattr(one, name) for name in MEASURES}


def _echo_table(by: str, start: datetime, end: datetime, lines: list[Line], total: dict[str, int]) -> None:
    if not lines:
        click.echo("ferryman: nothing was spent in this time.", err=True)
        return
    click.echo(f"{_span(by, start, end)}\n")
    shown = [_cells(name or f"(no {by})", measures) for name, measures in lines[:MAX_SHOWN]]
    left = len(lines) - len(shown)
    if left:
        shown.append((f"({left:,} more)", *[""] * len(COLUMNS)))
    echo_table((by, *COLUMNS), [*shown, _cells("total", total)], texts=1, total=True)
    if by == "tag":
        click.echo("\nA request counts for each of its tags; the total has every request, once.")


def _span(by: str, start: datetime, end: datetime) -> str:
    if DIMENSIONS[by] is None:
        return f"{start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"
    return f"{start:%Y-%m-%d} to {end - timedelta(microseconds=1):%Y-%m-%d}, days in UTC"


def _cells(name: str, measures: dict[str, int]) -> tuple[str, ...]:
    counts = [f"{measures[measure]:,}" for measure in MEASURES[:-1]]
    # Nine decimals in each row: the points stand below each other, and nothing is rounded.
    nanousd = measures["cost_nanousd"]
    return (name, *counts, f"{nanousd // 10**9:,}.{nanousd % 10**9:09}")


def _row(by: str, name: str, measures: dict[str, int]) -> dict[str, Any]:
    return {by: name, **measures, "cost_usd": dollars_of_nano(measures["cost_nanousd"])}


def _echo_json(by: str, start: datetime, end: datetime, lines: list[Line], total: dict[str, int]) -> None:
    told = {
        "by": by,
        "since": start.astimezone(UTC).isoformat(),
        "until": end.astimezone(UTC).isoformat(),
        "rows": [_row(by, *line) for line in lines],
        "total": {**total, "cost_usd": dollars_of_nano(total["cost_nanousd"])},
    }
    click.echo(json.dumps(told, ensure_ascii=False, indent=2))


def _echo_csv(by: str, lines: list[Line]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, [by, *MEASURES, "cost_usd"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(by, *line) for line in lines)
    click.echo(out.getvalue(), nl=False)
