"""Keys, users, teams and budgets on a terminal: as rows of a table, and one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import click

from ferryman.cli.manage import Api, echo_json
from ferryman.cli.tables import echo_table
from ferryman.pricing.explain import dollars_of_nano

LEFT_OUT = frozenset({"spend_nanousd", "key"})

MONEY = ("window", "spend ($)", "of ($)")
"""The columns of `money`."""

_MODEL = "claude-opus-5-5"


def echo_rows(
    heading: tuple[str, ...], rows: Sequence[tuple[str, ...]], what: str, *, numbers: int = 2
) -> None:
    """Print a table whose last columns are `numbers`; or that there is nothing."""
    if not rows:
        click.echo(f"ferryman: no {what} yet.", err=True)
        return
    echo_table(heading, rows, texts=len(heading) - numbers, total=False)


def echo_record(row: dict[str, Any]) -> None:
    """Print a record, one field a line; those without a value are left out."""
    shown = [(name, _text(name, value)) for name, value in row.items() if _is_shown(name, value)]
    width = max(len(name) for name, _ in shown)
    for name, text in shown:
        click.echo(f"{name:<{width}}  {text}")


def echo_answer(api: Api, answer: Any, row: dict[str, Any] | None = None) -> None:  # noqa: ANN401  # JSON
    """Print what the API has answered: `row` is the record in it, by default all of it."""
    if api.as_json:
        echo_json(answer)
    else:
        echo_record(answer if row is None else row)


def echo_done(api: Api, answer: Any, what: str) -> None:  # noqa: ANN401  # JSON
    """Print that it was done: what the API has answered, or one line."""
    if api.as_json:
        echo_json(answer)
    else:
        click.echo(f"ok: {what}")


def money(row: dict[str, Any]) -> tuple[str, str, str]:
    """In which window what was spent, and of how much."""
    spent = dollars_of_nano(row["spend_nanousd"]) if "spend_nanousd" in row else "-"
    return (row["budget_duration"] or "-", spent, dollars(row["max_budget"]))


def dollars(amount: float | None) -> str:
    """Dollars with two decimals or as many as it takes; `-` for none."""
    if amount is None:
        return "-"
    text = f"{Decimal(str(amount)):f}"
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def state(row: dict[str, Any]) -> str:
    """Whether anything goes through."""
    return "blocked" if row["blocked"] else "active"


def echo_key(api: Api, answer: dict[str, Any], *, quiet: bool) -> None:
    """Print the text of a new key, this once, and how clients are set up with it."""
    if api.as_json:
        echo_json(answer)
        return
    text: str = answer["key"]
    if quiet:
        click.echo(text)
        return
    name = answer.get("key_alias")
    click.echo(f"The key{f' `{name}`' if name else ''}, which is shown this once:\n\n  {text}\n")
    for line in setup(api.url, text):
        click.echo(line)


def setup(url: str, key: str) -> Iterable[str]:
    """Lines that set up clients."""
    body = f'{{"model": "{_MODEL}", "max_tokens": 100, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    to = url
    if url.startswith("unix:"):
        to = f"--unix-socket {url.removeprefix('unix:')} http://localhost"
    else:
        to = url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        yield "Claude Code:\n"
        yield f"  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} claude\n"
        yield "Anthropic's SDKs:\n"
        yield f"  export ANTHROPIC_BASE_URL={url}\n  export ANTHROPIC_API_KEY={key}\n"
    yield "curl:\n"
    yield f"  curl {to}/v1/messages -H 'x-api-key: {key}' \\"
    yield "    -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\"
    yield f"    -d '{body}'"


def _is_shown(name: str, value: object) -> bool:
    return name not in LEFT_OUT and value is not None and value is not False and value not in ("", [], {})


def _text(name: str, value: Any) -> str:  # noqa: ANN401  # JSON
    if name in {"spend", "max_budget", "soft_budget"}:
        return f"${dollars(value)}"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
