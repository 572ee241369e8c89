"""`ferryman env` and `ferryman run`: the variables that set up clients of a gateway."""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from ferryman.cli.options import PLACE, load_or_exit, with_place
from ferryman.cli.status import fetch, give_up
from ferryman.process.directory import directory_of

BASE_URL = "ANTHROPIC_BASE_URL"
TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  # the name of a variable
API_KEY = "ANTHROPIC_API_KEY"

ANY_KEY = "any-key"
"""Where no key is asked for; clients want some value."""

EXIT_NOT_RUNNABLE = 126
EXIT_NOT_FOUND = 127
"""As shells have them (POSIX, "Exit Status for Commands")."""

KEY_HELP = (
    "What the client sends as its key: a virtual key, or a user name where the gateway asks for one. Without "
    "one, and where none is asked for, any text is sent. [FERRYMAN_KEY]"
)
URL_HELP = "The gateway's base URL, if it is on another machine; nothing is asked of it then."


class Variables(NamedTuple):
    """What a client's environment has to have.

    Attributes:
        values: by name.
        removed: names of those that would get in the way.
    """

    values: dict[str, str]
    removed: tuple[str, ...] = ()


def with_variables(work: Callable[..., None]) -> Callable[..., None]:
    """Give a command the `Variables` as its first argument, and the options that decide them."""

    @with_place
    @click.option("--url", metavar="URL", help=URL_HELP)
    @click.option("--key", metavar="TEXT", envvar="FERRYMAN_KEY", help=KEY_HELP)
    @functools.wraps(work)
    def command(*, url: str | None, key: str | None, **values: Any) -> None:  # noqa: ANN401  # of click
        place = {name: values.pop(name) for name in (*PLACE, "config_option")}
        if key is not None and not (key and key.isascii() and key.isprintable()):
            raise click.UsageError("--key: a key has printable ASCII characters, and at least one.")
        base, auth = (_checked(url), "") if url is not None else _running(place)
        work(variables(base, auth, key), **values)

    return command


def variables(url: str, auth: str, key: str | None) -> Variables:
    """What to set for a gateway.

    Args:
        url: its base URL.
        auth: its `auth`, empty if that is not known.
        key: the client's, `None` if none was given.

    Raises:
        ClickException: it asks for a key, and none was given.
    """
    if key is None and auth == "passthrough":
        return Variables({BASE_URL: url})  # the client's own credential is wanted
    if key is None and auth != "open":
        what = {
            "keys": "this gateway asks for a virtual key, which `ferryman keys create` makes",
            "identity": "this gateway asks for your user name as the key",
        }.get(auth, "whether the gateway at this URL asks for a key is not known")
        raise click.ClickException(f"{what}: give it with `--key`, or in FERRYMAN_KEY.")
    # As a bearer, which Claude Code takes without a question; a key beside it would go along.
    return Variables({BASE_URL: url, TOKEN: ANY_KEY if key is None else key}, (API_KEY,))


@click.command()
@click.option(
    "--shell",
    type=click.Choice(["bash", "zsh", "fish", "powershell"]),
    default="bash",
    show_default=True,
    help="Whose syntax to print; that of bash is for sh as well.",
)
@with_variables
def env(found: Variables, *, shell: str) -> None:
    """Print the variables that make Claude Code and Anthropic's SDKs use this gateway.

    For a shell to read: `eval "$(ferryman env)"`. The Ferryman that runs with these settings tells its URL;
    exit code 1 if none runs.
    """
    for name in found.removed:
        click.echo(_REMOVED[shell].format(name))
    for name, value in found.values.items():
        click.echo(_SET[shell](name, value))


@click.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_variables
def run(found: Variables, *, program: str, arguments: tuple[str, ...]) -> None:
    """Run PROGRAM with the variables that `ferryman env` prints: `ferryman run -- claude -p "say hi"`.

    It takes the place of this process, so that signals reach it and its exit code is the one that is seen.
    Exit code 127 if there is no such program, 126 if it cannot be run.
    """
    environment = dict(os.environ)  # noqa: TID251  # handed on, and not read
    for name in found.removed:
        environment.pop(name, None)
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(program, [program, *arguments], environment | found.values)  # noqa: S606  # as it was typed
    except OSError as error:
        click.echo(f"ferryman: `{program}` cannot be run: {error.strerror or error}.", err=True)
        sys.exit(EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_RUNNABLE)


def _running(place: dict[str, Any]) -> tuple[str, str]:
    """The base URL and the `auth` of the Ferryman that runs with these settings; else exit."""
    settings = load_or_exit(place).settings
    directory = directory_of(settings, settings.port)
    try:
        told = json.loads(fetch(directory.control, "/control/processes"))
    except OSError as error:
        where = f"unix:{settings.unix_socket}" if settings.unix_socket else f"port {settings.port}"
        give_up(directory, where, error.strerror or str(error))
    if told["url"] is None:
        raise click.ClickException(
            "this gateway listens on a Unix socket, which clients cannot use: tell the URL of the proxy in "
            "front of it in its `public_url`, or here with `--url`."
        )
    return told["url"], told["auth"]


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii():
        raise click.UsageError("--url: wanted one such as `https://gateway.example.com`.")
    if parts.username is not None or parts.password is not None:
        raise click.UsageError("--url: a credential in it would go nowhere; give the key with `--key`.")
    base = url.rstrip("/")
    for extra in ("/v1/messages", "/v1"):
        if base.endswith(extra):
            raise click.UsageError(f"--url: clients add `{extra}` themselves; leave it out.")
    return base


def _fish(name: str, value: str) -> str:
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{text}'"


def _powershell(name: str, value: str) -> str:
    text = value.replace("'", "''")
    return f"$env:{name} = '{text}'"


def _posix(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


_SET = {"bash": _posix, "zsh": _posix, "fish": _fish, "powershell": _powershell}
_REMOVED = {
    "bash": "unset {}",
    "zsh": "unset {}",
    "fish": "set -e {}",
    "powershell": "Remove-Item Env:{} -ErrorAction SilentlyContinue",
}
