"""`ferryman models`: which models there are, and by which names."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.manage import Api, echo_json, managing
from ferryman.cli.tables import echo_table

HEADING = ("model", "name", "upstream", "aliases")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--refresh", is_flag=True, help="Fetch the upstreams' lists first.")
@managing(live=True)
def models(api: Api, *, as_json: bool, refresh: bool) -> None:
    """List the models of the upstreams, and their aliases.

    The Ferryman that runs with these settings is asked; `--url` asks another one. Exit code 1 if none runs.
    """
    answer = api.get("/control/models")
    if refresh or answer["fetched_at"] is None:  # without aliases nobody has needed a list yet
        api.try_post("/refresh", {})
        answer = api.get("/control/models")
    if as_json or api.as_json:
        echo_json(answer)
        return
    if answer["models"]:
        echo_table(HEADING, [_cells(row) for row in answer["models"]], texts=len(HEADING), total=False)
    if answer["problem"] is not None:
        click.echo(f"ferryman: the last fetch has failed: {answer['problem']}.", err=True)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    name = row["display_name"] if row["listed"] else "(in no list)"
    return (row["id"], name or "-", row["upstream"] or "-", " ".join(row["aliases"]) or "-")
