"""`ferryman reprice`: entries of the ledger priced anew, with the catalog in force."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ferryman.cli.ledger import now, open_ledger, since, until
from ferryman.cli.options import SECRETS_HELP, load_or_exit, with_settings
from ferryman.cli.tables import echo_table
from ferryman.errors import StoreError
from ferryman.model import Cost, Entry
from ferryman.pricing.adjust import catalog_of
from ferryman.pricing.anew import priced_anew

if TYPE_CHECKING:
    from ferryman.pricing.catalog import Catalog
    from ferryman.store.reprice import Step
    from ferryman.store.store import Store

PROGRESS = 1_000
"""Parts of the bar: places are too large for it."""

HEADING = ("model", "entries", "changed", "before ($)", "after ($)", "difference ($)")


class Tally:
    """What has been done, by model: entries, changed ones, nano-dollars of these before and after."""

    def __init__(self) -> None:
        self._models: dict[str, list[int]] = {}

    def add(self, step: Step) -> None:
        """Count a step."""
        for model, number in step.priced.items():
            self._models.setdefault(model, [0] * 4)[0] += number
        for change in step.changes:
            line = self._models[change.model]
            line[1] += 1
            line[2] += change.before_nanousd
            line[3] += change.after_nanousd

    @property
    def total(self) -> list[int]:
        """Of all models."""
        return [sum(line[column] for line in self._models.values()) for column in range(4)]

    def rows(self) -> list[tuple[str, ...]]:
        """Of a table, with the total."""
        lines = [*sorted(self._models.items()), ("total", self.total)]
        return [
            (name or "(no model)", f"{every:,}", f"{changed:,}", *map(_dollars, (old, new, new - old)))
            for name, (every, changed, old, new) in lines
        ]


def _dollars(nanousd: int) -> str:
    sign, amount = "-" if nanousd < 0 else "", abs(nanousd)
    return f"{sign}{amount // 10**9:,}.{amount % 10**9:09}"


@click.command(epilog=SECRETS_HELP)
@with_settings
@click.option(
    "--since",
    "start",
    metavar="TIME",
    required=True,
    callback=since,
    help="Entries that began from then on: `7d`, `2026-11-22`, `2026-11-22T15:30:00Z`.",
)
@click.option(
    "--until", "end", metavar="TIME", callback=until, help="Up to then, that day included. Default: now."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would change.")
def reprice(
    *,
    start: datetime,
    end: datetime | None,
    dry_run: bool,
    **values: Any,  # noqa: ANN401  # one per setting
) -> None:
    """Price entries anew, with the catalog and the settings of prices in force.

    Each keeps the price list of the day on which it began. The sums follow, in small transactions, also
    while Ferryman runs; to do it again changes nothing, and what was broken off can be done again. Entries
    without usage are left alone. Exit code 1 if the database cannot be used, 2 if there is none.
    """
    settings = load_or_exit(values).settings
    end = end or now()
    if start >= end:
        raise click.BadParameter("`--until` is before `--since`; nothing can lie between them.")
    catalog, tally = catalog_of(settings), Tally()
    try:
        with closing(open_ledger(settings)) as store:
            _walk(store, catalog, (start, end), tally, dry_run=dry_run)
    except StoreError as error:
        done = "" if dry_run or not tally.total[0] else "; what was done stays, do it again for the rest"
        raise click.ClickException(f"{error}{done}.") from error
    entries, changed, *_ = tally.total
    if not entries:
        click.echo("ferryman: no entry with usage in this time.", err=True)
        return
    echo_table(HEADING, tally.rows(), texts=1, total=True)
    if not changed:
        click.echo("\nEvery entry costs what it did.")
    elif dry_run:
        click.echo(f"\n{changed:,} would change; nothing was changed. Leave out --dry-run to do it.")


def _walk(
    store: Store, catalog: Catalog, window: tuple[datetime, datetime], tally: Tally, *, dry_run: bool
) -> None:
    from ferryman.store.read import Filter  # noqa: PLC0415  # 30 MB that few commands need

    def price(entry: Entry) -> Cost | None:
        return priced_anew(entry, catalog)

    wanted = Filter(start=window[0], end=window[1])
    low, high = store.span_of_time(*window)
    if high < low:
        return
    at: int | None = low
    shown = 0
    with click.progressbar(
        length=PROGRESS, label="Pricing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        while at is not None:
            step = store.reprice_step(price, wanted, (at, high), dry_run=dry_run)
            tally.add(step)
            at = step.next_place
            reached = PROGRESS if at is None else (at - low) * PROGRESS // (high - low + 1)
            bar.update(reached - shown)
            shown = reached
