"""The settings table as command-line options."""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any

import click

from ferryman.errors import SettingsError
from ferryman.settings_load import Loaded, load
from ferryman.settings_table import env_names, plain, rows, type_of

_TYPE_NAMES = {str: "TEXT", int: "INTEGER", float: "NUMBER"}

SECRETS_HELP = "Secrets come from the environment or the config file: " + "; ".join(
    f"`{row.name}` [{', '.join(env_names(row))}]" for row in rows() if row.metadata["secret"]
)


PLACE = ("host", "port", "unix_socket", "runtime_directory", "data_dir", "database_url", "master_key")
"""The settings that tell which Ferryman is meant, and where its clients find it."""

_FILE = click.Path(path_type=Path)
_API_KEY = re.compile(r"\bapi_key\b")  # and not `api_key_env`


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` an option per setting, and the config file as argument or `--config`."""
    command = _with_config(_with_rows(rows(), command))
    return click.argument("config_file", required=False, type=_FILE, metavar="[FILE]")(command)


def with_place(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options of `PLACE`, and `--config`; all else is as environment and file say."""
    return _with_config(_with_rows([row for row in rows() if row.name in PLACE], command))


def _with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    text = (
        "The config file (YAML). Without one: $CONFIG_PATH, ./ferryman.yaml, ./config.yaml, "
        "~/.config/ferryman/config.yaml."
    )
    return click.option("--config", "-c", "config_option", type=_FILE, metavar="FILE", help=text)(command)


def _with_rows(chosen: Iterable[Field[Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for row in reversed(list(chosen)):
        option = f"--{row.name.replace('_', '-')}"
        names = [option, *row.metadata["flags"], row.name]
        default = "" if row.default is None else f" Default: {plain(row.default)}."
        text = f"{row.metadata['help']}{default} [{', '.join(env_names(row))}]"
        if type_of(row) is bool:
            names[0] = f"{option}/--no-{row.name.replace('_', '-')}"
            command = click.option(*names, default=None, help=text)(command)
        elif row.metadata["secret"]:
            command = click.option(*names, default=None, hidden=True, callback=_refuse_secret)(command)
        else:
            metavar = _metavar(type_of(row))
            check = _refuse_credentials if row.metadata["credentials"] else None
            command = click.option(*names, default=None, metavar=metavar, help=text, callback=check)(command)
    return command


def _metavar(kind: Any) -> str:  # noqa: ANN401  # a type, or a Literal
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(typing.get_args(kind))
    return _TYPE_NAMES.get(kind, "YAML")


def _refuse_secret(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Refuse a secret among the arguments, where every user of the machine can read it."""
    if value is not None:
        row = next(row for row in rows() if row.name == parameter.name)
        raise click.UsageError(
            f"{parameter.opts[0]}: a secret on the command line can be read by every user of this machine; "
            f"set {env_names(row)[-1]} or put `{row.name}` into the config file.",
            context,
        )


def _refuse_credentials(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Take a URL among the arguments only without a user name and a password, and a block without a key."""
    if value is not None and ("@" in value or _API_KEY.search(value)):
        _refuse_secret(context, parameter, value)
    return value


def load_or_exit(values: dict[str, Any]) -> Loaded:
    """The settings from `values` (of options here) and all other sources; exit code 2 if wrong."""
    try:
        file = config_file(values)
        return load(values, file=file)
    except SettingsError as error:
        complain(error)


def config_file(values: dict[str, Any]) -> Path | None:
    """The config file that the command line names; it is taken out of `values`.

    Raises:
        SettingsError: it names two.
    """
    argument, option = values.pop("config_file", None), values.pop("config_option")
    if argument is not None and option is not None:
        raise SettingsError([f"config file: both `{argument}` and `{option}` are given; give one."])
    found: Path | None = argument or option
    return found


def complain(error: SettingsError) -> typing.NoReturn:
    """Print every problem and exit with code 2."""
    for problem in error.problems:
        click.echo(f"ferryman: {problem}", err=True)
    sys.exit(2)
