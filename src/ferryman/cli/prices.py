"""`ferryman prices`: the price list in force, with the operator's own prices in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from ferryman.cli.ledger import now
from ferryman.cli.options import SECRETS_HELP, load_or_exit, with_settings
from ferryman.cli.tables import echo_table
from ferryman.pricing.adjust import catalog_of
from ferryman.pricing.catalog import CATALOG, FALLBACK, Catalog
from ferryman.pricing.explain import PriceLine, decimal, dollars, price_lines
from ferryman.pricing.shapes import CLASSES
from ferryman.settings_prices import price_overrides


@click.command(epilog=SECRETS_HELP, context_settings={"ignore_unknown_options": False})
@click.argument("model", required=False)
@with_settings
def prices(*, model: str | None, **values: Any) -> None:  # noqa: ANN401  # one per setting
    """Print the prices in force today, or how MODEL is priced.

    Dollars per million tokens, with `prices` and `price_multipliers` of the settings in them. Any name is
    taken, also one that is not known: it says what such a model is counted as.
    """
    settings = load_or_exit(values).settings
    catalog, at = catalog_of(settings), now()
    if model is None:
        own = [each.pattern for each in price_overrides(settings) if "*" not in each.pattern]
        known = {one.id for one in catalog.models}
        names = [*(one.id for one in catalog.models if not one.retired), *sorted({*own} - known)]
        _echo_all(catalog, names, at)
    else:
        _echo_one(catalog, model, at)


def _echo_all(catalog: Catalog, names: list[str], at: datetime) -> None:
    rows = []
    for name in names:
        lines = list(price_lines(catalog.find(name), at))
        for start in range(0, len(lines), len(CLASSES)):
            tier = lines[start : start + len(CLASSES)]
            rates = [line.dollars_per_million for line in tier]
            above = f"{tier[0].above_tokens:,}" if tier[0].above_tokens else ""
            source = tier[0].price_source
            rows.append((name, "" if source == CATALOG else source, above, *rates))
    click.echo(f"Dollars per million tokens on {at:%Y-%m-%d}; catalog {catalog.revision}\n")
    heading = ("model", "source", "prompt above", *(what.replace("_", " ") for what in CLASSES))
    echo_table(heading, rows, texts=2, total=False)
    click.echo(f"\nA web search costs ${dollars(catalog.web_search_picousd)}. A batch costs half.")


def _echo_one(catalog: Catalog, name: str, at: datetime) -> None:
    found = catalog.find(name)
    price = found.model.price_at(at)
    lines = list(price_lines(found, at))
    click.echo(f"{name} is priced as {found.model.id} ({found.source}) on {at:%Y-%m-%d}\n")
    echo_table(
        ("class", "prompt above", "$ per million tokens"),
        [_cells(line) for line in lines],
        texts=1,
        total=False,
    )
    facts = [
        ("source", price.source),
        ("checked on", f"{price.checked_on}"),
        (
            "in force since",
            str(price.effective_from or "its beginning"),
        ),
        ("fast mode", f"× {decimal(*price.fast)}"),
        ("inference_geo us", f"× {decimal(*price.us)}"),
        (
            "your multiplier",
            f"× {decimal(*price.factor)}, in the prices above" if price.factor != (1, 1) else "none",
        ),
        ("batch", "× 0.5"),
    ]
    click.echo("")
    for what, told in facts:
        click.echo(f"{what:<16}  {told}")
    if found.source == FALLBACK:
        click.echo("\nThis model is not known, so that the dearest price counts; set its own under `prices`.")


def _cells(line: PriceLine) -> tuple[str, ...]:
    return (line.what, f"{line.above_tokens:,}" if line.above_tokens else "", line.dollars_per_million)
