"""`ferryman`: the command line from its first word on."""

from __future__ import annotations

import click

from ferryman import __version__
from ferryman.cli.backup import backup
from ferryman.cli.budgets import budgets
from ferryman.cli.clients import env, run
from ferryman.cli.config import config
from ferryman.cli.doctor import doctor
from ferryman.cli.keys import keys
from ferryman.cli.logs import logs
from ferryman.cli.models import models
from ferryman.cli.prices import prices
from ferryman.cli.reprice import reprice
from ferryman.cli.serve import serve
from ferryman.cli.simulate import simulator
from ferryman.cli.spend import spend
from ferryman.cli.status import status
from ferryman.cli.teams import teams
from ferryman.cli.users import users


class _ServeByDefault(click.Group):
    """A group that takes a missing command word as `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version", *self.commands}
        if not args or args[0] not in own:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ServeByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferryman", message="%(prog)s %(version)s")
def main() -> None:
    """Ferryman: a self-hosted gateway for Claude.

    Without a command, `serve` is meant: `ferryman --port 4001` is `ferryman serve --port 4001`,
    and `ferryman my.yaml` is `ferryman serve my.yaml`.
    """


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"ferryman {__version__}")


main.add_command(serve)
main.add_command(status)
main.add_command(env)
main.add_command(run)
main.add_command(keys)
main.add_command(users)
main.add_command(teams)
main.add_command(budgets)
main.add_command(logs)
main.add_command(spend)
main.add_command(models)
main.add_command(prices)
main.add_command(reprice)
main.add_command(backup)
main.add_command(config)
main.add_command(doctor)
main.add_command(simulator)
