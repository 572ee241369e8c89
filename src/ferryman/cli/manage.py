"""What `ferryman keys`, `users`, `teams` and `budgets` have in common: whom they ask, and how they say it.

They ask the Ferryman that runs with these settings on this machine, by its own socket, which asks for no key;
or, with `--url`, another one, by the master key. If none runs, they work on the database.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any, NoReturn
from urllib.parse import urlencode

import click

from ferryman.cli.calls import UnixConnection, ask, connection_to
from ferryman.cli.options import PLACE, load_or_exit, with_place
from ferryman.cli.status import give_up
from ferryman.errors import StoreError
from ferryman.process.directory import RuntimeDirectory, directory_of
from ferryman.settings import Settings
from ferryman.settings_clients import listener_url
from ferryman.settings_store import SqliteFile, database

TIMEOUT_SECONDS = 60.0
"""The most that is waited for an answer: to delete a team with many keys takes some seconds."""

PAGE = 100
"""Of a list; the most that the API gives at once."""

URL_HELP = (
    "The gateway to ask, if it is on another machine, such as `https://gateway.example.com`; the key is that "
    "of FERRYMAN_MASTER_KEY, or `master_key` of the config file. [FERRYMAN_URL]"
)
FORMAT_HELP = "`table` for people, `json` for programs, as the API answers. Default: table."

yes_option = click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print the key's text and nothing else.")

Send = Callable[[str, str, bytes], tuple[int, bytes]]
"""Sends method, target and body; gives status and body of the answer."""


class Api:
    """The management API, wherever it is.

    Attributes:
        url: where clients find the gateway; `unix:` and a path for a Unix socket.
        as_json: answers are wanted as they are.
        runs: a Ferryman answers; else this process does, on the database.
    """

    def __init__(self, send: Send, url: str, *, as_json: bool, runs: bool) -> None:
        self.url = url
        self.runs = runs
        self.as_json = as_json
        self._send = send

    def get(self, path: str, **parameters: object) -> Any:  # noqa: ANN401  # JSON
        """What is answered to a GET; parameters that are `None` are left out.

        Raises:
            ClickException: it is refused, with the sentence of the API.
        """
        given = {name: told(value) for name, value in parameters.items() if value is not None}
        return self._asked("GET", f"{path}?{urlencode(given)}" if given else path, b"")

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401  # JSON
        """What is answered to a POST of JSON. Errors as of `get`."""
        return self._asked("POST", path, json.dumps(body).encode())

    def try_post(self, path: str, body: object) -> None:
        """POST JSON where it does not matter whether that succeeds."""
        self._send("POST", path, json.dumps(body).encode())

    def pages(self, path: str, rows: str, size: str, **parameters: object) -> list[dict[str, Any]]:
        """Everything of a list that comes in pages.

        Args:
            path: of the list.
            rows: the member that has them.
            size: the parameter that says how many are wanted.
            parameters: further ones.
        """
        found: list[dict[str, Any]] = []
        number = 1
        while True:
            page = self.get(path, **{"page": number, size: PAGE}, **parameters)
            found += page[rows]
            if number >= page["total_pages"]:
                return found
            number += 1

    def _asked(self, method: str, target: str, body: bytes) -> Any:  # noqa: ANN401  # JSON
        status, answer = self._send(method, target, body)
        try:
            told = json.loads(answer)
        except ValueError:
            told = None
        if status == 200 and told is not None:
            return told
        try:
            message = str(told["error"]["message"])
        except (TypeError, KeyError):
            message = f"the answer is no one of Ferryman's: status {status}; is this the gateway's own URL?"
        raise click.ClickException(message)


def told(value: object) -> str:
    """A value as it stands in a query."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def managing(
    *, makes: bool = False, live: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an `Api` as its first argument, and the options that say which.

    Args:
        makes: without a running Ferryman the database may be made, too.
        live: only a running Ferryman can tell; without one the command ends as `ferryman status` does.
    """

    def decorated(work: Callable[..., None]) -> Callable[..., None]:
        @with_place
        @click.option("--url", metavar="URL", envvar="FERRYMAN_URL", help=URL_HELP)
        @click.option("--key", "refused", hidden=True, callback=_refuse_key, expose_value=False)
        @click.option(
            "--format", "form", type=click.Choice(["table", "json"]), default="table", help=FORMAT_HELP
        )
        @functools.wraps(work)
        def command(*, url: str | None, form: str, **values: Any) -> None:  # noqa: ANN401  # of click
            place = {name: values.pop(name) for name in (*PLACE, "config_option")}
            settings = load_or_exit(place).settings
            try:
                with _reached(settings, url, make=makes, live=live) as (send, at, runs):
                    work(Api(send, at, as_json=form == "json", runs=runs), **values)
            except StoreError as error:
                raise click.ClickException(f"{error}.") from error

        return command

    return decorated


@contextmanager
def _reached(
    settings: Settings, url: str | None, *, make: bool, live: bool
) -> Iterator[tuple[Send, str, bool]]:
    """Whom to ask, where clients find the gateway, and whether it runs."""
    if url is not None:
        with _remote(settings, url) as send:
            yield send, url.rstrip("/"), True
        return
    at = listener_url(settings, settings.port)
    directory = directory_of(settings, settings.port)
    with closing(UnixConnection(directory.control, TIMEOUT_SECONDS)) as connection:
        try:
            connection.connect()
        except OSError as error:
            problem = error
        else:
            yield _sending(connection, {}), at, True
            return
    _check_nothing_runs(directory, settings, problem, live=live)
    # Only then: what it needs takes half a second to import.
    from ferryman.cli.direct import opened  # noqa: PLC0415

    with opened(settings, make=make) as direct:
        _say_where(settings)
        yield direct.ask, at, False


@contextmanager
def _remote(settings: Settings, url: str) -> Iterator[Send]:
    try:
        connection = connection_to(url, TIMEOUT_SECONDS)
    except ValueError as error:
        raise click.BadParameter(f"`{url}` cannot be used; {error}.", param_hint="'--url'") from error
    if settings.master_key is None:
        problem = "a gateway on another machine asks for its master key, and none is set"
        raise click.UsageError(f"--url: {problem}; set FERRYMAN_MASTER_KEY.")
    with closing(connection):
        yield _sending(connection, {"authorization": f"Bearer {settings.master_key}"})


def _sending(connection: HTTPConnection, credential: dict[str, str]) -> Send:
    def send(method: str, target: str, body: bytes) -> tuple[int, bytes]:
        try:
            return ask(connection, method, target, body, {**credential, "content-type": "application/json"})
        except OSError as error:
            doubt = "" if method == "GET" else "; whether it was done is not known: look before you try again"
            raise click.ClickException(f"no answer: {error.strerror or error}{doubt}.") from error

    return send


def _check_nothing_runs(
    directory: RuntimeDirectory, settings: Settings, problem: OSError, *, live: bool
) -> None:
    """See that nobody runs who does not answer; else, or if one is needed, exit as `ferryman status` does."""
    where = f"unix:{settings.unix_socket}" if settings.unix_socket else f"port {settings.port}"
    reason = problem.strerror or str(problem)
    try:
        if directory.holder() is None and not live:
            return
    except OSError:
        pass  # it is told there
    give_up(directory, where, reason)


def _say_where(settings: Settings) -> None:
    """A command that works on another database than was meant is to be seen at once."""
    target = database(settings)
    name = f"`{target.path}`" if isinstance(target, SqliteFile) else "of `database_url`"
    click.echo(f"ferryman: no Ferryman runs with these settings; using the database {name}.", err=True)
    if settings.master_key is None:
        click.echo("ferryman: set a `master_key` before the start: with keys, it is needed.", err=True)


def _refuse_key(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Refuse the key among the arguments, where every user of the machine can read it."""
    if value is not None:
        problem = "a secret on the command line can be read by every user of this machine"
        raise click.UsageError(f"--key: {problem}; set FERRYMAN_MASTER_KEY.", context)


def confirm(question: str, *, yes: bool) -> None:
    """Go on if the operator says so, or has said so with `--yes`; exit code 1 if not."""
    if yes:
        return
    if not click.confirm(f"{question}?", err=True):
        _stop()


def _stop() -> NoReturn:
    click.echo("ferryman: nothing was changed.", err=True)
    sys.exit(1)


def echo_json(answer: object) -> None:
    """Print what the API has answered."""
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
