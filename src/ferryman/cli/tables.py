"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

import click


def echo_table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int, total: bool) -> None:
    """Print a table.

    Args:
        heading: of the columns.
        rows: of cells.
        texts: so many columns are text, the others are numbers and stand to the right.
        total: the last row is the sum of those before it.
    """
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    rule = "  ".join("-" * width for width in widths)
    for number, row in enumerate((heading, *rows)):
        if number == 1 or (total and number == len(rows) > 1):
            click.echo(rule)
        cells = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
