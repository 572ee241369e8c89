"""`ferryman budgets`: limits and budgets that are given to others by their id."""

from __future__ import annotations

from typing import Any

import click

from ferryman.cli.fields import TERMS, with_fields
from ferryman.cli.manage import Api, confirm, echo_json, managing, yes_option
from ferryman.cli.records import dollars, echo_answer, echo_done, echo_rows
from ferryman.pricing.explain import dollars_of_nano

budget_argument = click.argument("budget")


@click.group()
def budgets() -> None:
    """Make and change budgets that are given by their id.

    BUDGET is the id of a budget. Whoever has it keeps to its limits where they have none of their own.
    """


@budgets.command()
@click.argument("budget", required=False)
@with_fields(*TERMS)
@managing(makes=True)
def new(api: Api, *, budget: str | None, fields: dict[str, Any]) -> None:
    """Make a budget; without BUDGET an id is made up."""
    echo_answer(api, api.post("/budget/new", fields if budget is None else {**fields, "budget_id": budget}))


@budgets.command("list")
@managing()
def list_all(api: Api) -> None:
    """List budgets, newest first."""
    rows = api.get("/budget/list")
    if api.as_json:
        echo_json(rows)
        return
    limits = ("rpm_limit", "tpm_limit", "max_parallel_requests")
    lines = [
        (
            row["budget_id"],
            row["budget_duration"] or "-",
            dollars(row["max_budget"]),
            *("-" if row[name] is None else f"{row[name]:,}" for name in limits),
        )
        for row in rows
    ]
    echo_rows(("budget", "window", "cap ($)", "rpm", "tpm", "parallel"), lines, "budgets", numbers=4)


@budgets.command()
@budget_argument
@managing()
def info(api: Api, *, budget: str) -> None:
    """Show a budget."""
    answer = api.post("/budget/info", {"budgets": [budget]})
    echo_answer(api, answer, answer[0])


@budgets.command()
@budget_argument
@with_fields(*TERMS, clears=True)
@managing()
def update(api: Api, *, budget: str, fields: dict[str, Any]) -> None:
    """Change a budget, for all that have it; what is not named stays as it is."""
    echo_answer(api, api.post("/budget/update", {**fields, "budget_id": budget}))


@budgets.command()
@budget_argument
@yes_option
@managing()
def delete(api: Api, *, budget: str, yes: bool) -> None:
    """Delete a budget that nobody has."""
    confirm(f"Delete the budget `{budget}`", yes=yes)
    answer = api.post("/budget/delete", {"id": budget})
    echo_done(api, answer, f"budget `{budget}` deleted")


@budgets.command()
@managing()
def machines(api: Api) -> None:
    """List machines that share the database, and what each has of the caps and has not spent."""
    rows = api.get("/budget/machines")
    if api.as_json:
        echo_json(rows)
        return
    lines = [
        (row["machine"], row["host"], row["seen_at"][:19], dollars_of_nano(row["idle_nanousd"]))
        for row in rows
    ]
    echo_rows(("machine", "host", "seen (UTC)", "idle ($)"), lines, "other machines", numbers=1)


@budgets.command()
@click.argument("machine")
@yes_option
@managing()
def forfeit(api: Api, *, machine: str, yes: bool) -> None:
    """Give others what MACHINE, which is gone for good, has of the caps and has not spent.

    What stands in journals of it that nobody has read is lost to the caps.
    """
    confirm(f"Give up what the machine `{machine}` has not spent", yes=yes)
    answer = api.post("/budget/forfeit", {"machine": machine})
    echo_done(api, answer, f"{dollars_of_nano(answer['forfeited_nanousd'])} dollars given back to the caps")
