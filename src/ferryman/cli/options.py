"""The settings table as command-line options."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ferryman.errors import SettingsError
from ferryman.settings import env_names, masked, rows, type_of, wanted
from ferryman.settings_load import Loaded, load


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` an option per setting, and the config file as argument or `--config`."""
    for row in reversed(rows()):
        option = f"--{row.name.replace('_', '-')}"
        names = [option, *row.metadata["flags"], row.name]
        environment = ", ".join(env_names(row))
        default = "" if row.default is None else f" Default: {masked(row, row.default)}."
        text = f"{row.metadata['help']}{default} [{environment}]"
        if type_of(row) is bool:
            names[0] = f"{option}/--no-{row.name.replace('_', '-')}"
            command = click.option(*names, default=None, help=text)(command)
        elif row.metadata["secret"]:
            continue  # on the command line every user of the machine could read it
        else:
            metavar = "|".join(typing.get_args(type_of(row))) or type_of(row).__name__.upper()
            command = click.option(*names, default=None, metavar=metavar, help=text)(command)
    path = click.Path(path_type=Path, dir_okay=False)
    command = click.option("--config", "-c", "config_option", type=path, help="The config file (YAML).")(
        command
    )
    return click.argument("config_file", required=False, type=path)(command)


def load_or_exit(values: dict[str, Any]) -> Loaded:
    """The settings from `values` (of `with_settings`) and all other sources; exit code 2 if they are wrong."""
    file = values.pop("config_file") or values.pop("config_option")
    values.pop("config_option", None)
    try:
        return load(values, file=file)
    except SettingsError as error:
        complain(error)


def complain(error: SettingsError) -> typing.NoReturn:
    """Print every problem and exit with code 2."""
    for problem in error.problems:
        click.echo(f"ferryman: {problem}", err=True)
    sys.exit(2)


__all__ = ["complain", "load_or_exit", "wanted", "with_settings"]
