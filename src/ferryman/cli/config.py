"""`ferryman config`: what the settings are, where they come from, and whether they can be used."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.options import load_or_exit, with_settings
from ferryman.settings import masked, rows


@click.group()
def config() -> None:
    """Show or check the settings."""


@config.command()
@with_settings
def show(**values: Any) -> None:  # noqa: ANN401  # one per setting
    """Print every setting with its value and where it comes from; secrets are masked."""
    loaded = load_or_exit(values)
    shown = [
        (row.name, str(masked(row, getattr(loaded.settings, row.name))), loaded.sources[row.name])
        for row in rows()
    ]
    widths = [max(len(line[column]) for line in shown) for column in (0, 1)]
    for name, value, source in shown:
        click.echo(f"{name:<{widths[0]}}  {'-' if value == 'None' else value:<{widths[1]}}  {source}")


@config.command()
@with_settings
def check(**values: Any) -> None:  # noqa: ANN401  # one per setting
    """Say whether Ferryman would start with these settings; exit code 2 if not."""
    loaded = load_or_exit(values)
    where = f"{loaded.file} and " if loaded.file is not None else ""
    settings = loaded.settings
    click.echo(
        f"ok: {where}the environment make a gateway on {settings.host}:{settings.port} for "
        f"{settings.upstream_url}, auth: {settings.effective_auth}"
    )
