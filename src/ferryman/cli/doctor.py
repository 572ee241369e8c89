"""`ferryman doctor`: what is wrong, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ferryman import __version__
from ferryman.cli.options import SECRETS_HELP, config_file, with_settings
from ferryman.clock import SystemClock
from ferryman.errors import SettingsError
from ferryman.settings_load import load

if TYPE_CHECKING:
    from ferryman.doctor.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "bright_black"}
STATE_COLUMNS, CHECK_COLUMNS = 7, 14


@click.command(epilog=SECRETS_HELP)
@with_settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(*, as_json: bool, **values: Any) -> None:  # noqa: ANN401  # one per setting
    """Look at all that Ferryman needs, and say what is wrong and what to do.

    Settings, certificate, ports, disk, database, the upstream, its credential and the clock are looked
    at, one line each. Nothing is changed, and nothing is spent: the upstream is asked for its list of
    models. Run it as the user that Ferryman runs as, whether Ferryman runs or not. Exit code 1 if
    there is a problem; warnings and what was skipped are none.
    """
    found = []
    for finding in findings(values):
        found.append(finding)
        if not as_json:
            click.echo(line_of(finding))
    problems = sum(one.state == "problem" for one in found)
    warnings = sum(one.state == "warning" for one in found)
    if as_json:
        click.echo(json.dumps(document(found), indent=2))
    else:
        click.echo(summary(problems, warnings))
    sys.exit(1 if problems else 0)


def findings(values: dict[str, Any]) -> Iterator[Finding]:
    """What there is to say under the settings of `values` (of options) and all other sources."""
    from ferryman.doctor.examine import examine  # noqa: PLC0415  # it needs the database's libraries
    from ferryman.doctor.finding import refused  # noqa: PLC0415

    try:
        loaded = load(values, file=config_file(values))
    except SettingsError as error:
        yield from (refused("settings", text) for text in error.problems)
        return
    yield from examine(loaded, SystemClock())


def line_of(finding: Finding) -> str:
    """A finding on one line."""
    state = click.style(f"{finding.state:<{STATE_COLUMNS}}", fg=COLOURS[finding.state])
    return f"{state}  {finding.check:<{CHECK_COLUMNS}}  {finding.sentence}"


def summary(problems: int, warnings: int) -> str:
    """The last line."""
    if not problems and not warnings:
        return "All is well."
    told = [count_of(problems, "problem")] if problems else []
    told += [count_of(warnings, "warning")] if warnings else []
    return f"{' and '.join(told)}."


def count_of(number: int, noun: str) -> str:
    """`2 problems`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def document(found: Iterable[Finding]) -> dict[str, Any]:
    """All findings, for programs."""
    checks = [
        {"check": one.check, "state": str(one.state), "detail": one.detail, "advice": one.advice or None}
        for one in found
    ]
    return {
        "ok": not any(one["state"] == "problem" for one in checks),
        "version": __version__,
        "checks": checks,
    }
