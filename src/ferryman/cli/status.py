"""`ferryman status`: what runs on this machine."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from ferryman.cli.calls import UnixConnection, ask
from ferryman.cli.options import load_or_exit, with_settings
from ferryman.process.directory import RuntimeDirectory, directory_of

TIMEOUT_SECONDS = 10.0
HEADINGS = ("process", "pid", "state", "up since (UTC)", "restarts", "memory", "live")
EXIT_NOTHING_RUNS = 1
EXIT_NO_ANSWER = 3


@click.command()
@with_settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def status(*, as_json: bool, **values: Any) -> None:  # noqa: ANN401  # one per setting
    """Show the processes of the Ferryman that runs with these settings.

    `port`, `unix_socket` and `runtime_directory` tell which it is. No key is needed: its socket is
    for the user that it runs as. Exit code 1 if nothing runs, 3 if something does and its control
    plane does not answer: it is starting, or is down while workers go on.
    """
    settings = load_or_exit(values).settings
    directory = directory_of(settings, settings.port)
    try:
        body = fetch(directory.control, "/control/processes")
    except OSError as error:
        where = f"unix:{settings.unix_socket}" if settings.unix_socket else f"port {settings.port}"
        give_up(directory, where, error.strerror or str(error))
    if as_json:
        click.echo(body.decode())
        return
    rows = [HEADINGS, *(cells(row) for row in json.loads(body)["processes"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def give_up(directory: RuntimeDirectory, where: str, reason: str) -> NoReturn:
    """Say why nobody tells of processes, and exit."""
    try:
        holder = directory.holder()
    except OSError as error:
        hint = "run this as the user that Ferryman runs as"
        click.echo(f"ferryman: {directory.path}: {error.strerror or error}; {hint}.", err=True)
        sys.exit(EXIT_NOTHING_RUNS)
    if holder is None:
        elsewhere = "".join(f" On port {port} one runs: `-p {port}`." for port in directory.others())
        click.echo(f"ferryman: nothing runs on {where}: {directory.control}: {reason}.{elsewhere}", err=True)
        sys.exit(EXIT_NOTHING_RUNS)
    told = f"Ferryman runs on {where} (supervisor {holder}), but its control plane does not answer"
    click.echo(f"ferryman: {told}: {reason}; try again in a moment, else see its log.", err=True)
    sys.exit(EXIT_NO_ANSWER)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A process as a line of the table."""
    since, memory_bytes, live = row["started_at"], row["memory_bytes"], row.get("live")
    return (
        f"{row['role']} {row['number']}" if row["number"] else row["role"],
        str(row["pid"] or "-"),
        row["state"],
        f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S}" if since is not None else "-",
        str(row["restarts"]),
        f"{memory_bytes / 1e6:.1f} MB" if memory_bytes is not None else "-",
        str(live) if live is not None else "-",
    )


def fetch(path: Path, target: str) -> bytes:
    """The answer to GET `target` from the Unix socket at `path`.

    Raises:
        OSError: nobody answers, or not with 200.
    """
    connection = UnixConnection(path, TIMEOUT_SECONDS)
    try:
        status, body = ask(connection, "GET", target)
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"it answers with {status}")
    return body
