"""`ferryman config`: what the settings are, where they come from, and whether they can be used."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.options import SECRETS_HELP, complain, load_or_exit, with_settings
from ferryman.errors import SettingsError
from ferryman.relay.tls import server_tls
from ferryman.settings_clients import listener_url
from ferryman.settings_row import masked, without_credentials
from ferryman.settings_table import plain, rows


@click.group()
def config() -> None:
    """Show or check the settings."""


@config.command(epilog=SECRETS_HELP)
@with_settings
def show(**values: Any) -> None:  # noqa: ANN401  # one per setting
    """Print every setting, its value and its source.

    Secrets are masked, and `-` is no value. Exit code 2 if Ferryman would not start with these settings.
    """
    loaded = load_or_exit(values)
    shown = [
        (row.name, plain(masked(row, getattr(loaded.settings, row.name))), loaded.sources[row.name])
        for row in rows()
    ]
    widths = [max(len(line[column]) for line in shown) for column in (0, 1)]
    for name, value, source in shown:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")


@config.command(epilog=SECRETS_HELP)
@with_settings
def check(**values: Any) -> None:  # noqa: ANN401  # one per setting
    """Say whether Ferryman would start.

    Exit code 2 if not, with a line for each problem. The certificate is read; nothing is listened on or
    asked.
    """
    loaded = load_or_exit(values)
    settings = loaded.settings
    try:
        server_tls(settings)
    except SettingsError as error:
        complain(error)
    click.echo("ok: these settings can be used")
    click.echo(f"config file  {loaded.file or '-'}")
    click.echo(f"listen on    {listener_url(settings, settings.port)}")
    click.echo(f"relay to     {settings.upstream_url}")
    if settings.proxy is not None:
        click.echo(f"through      {without_credentials(settings.upstream_proxy)}")
    click.echo(f"auth         {settings.effective_auth}")
