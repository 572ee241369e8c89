"""The fields of keys, users, teams and budgets as options: LiteLLM's names, with hyphens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)


class Field(NamedTuple):
    """A field as an option.

    Attributes:
        metavar: what is to be given, empty for a switch.
        help: what it means.
        value: JSON of what was given: a text, or a list of texts if it is `many`. ValueError if it cannot be
            made; what the text means is for the API to judge.
        short: another name of the option, where no other field has it.
        many: it may be given more than once.
    """

    metavar: str
    help: str
    value: Callable[[Any], object]
    short: str = ""
    many: bool = False


def number(text: str) -> object:
    """A number of JSON; what is none is left for the API to refuse in its own words."""
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def names(given: Sequence[str]) -> list[str]:
    """Names that stand in one text with commas, or in several."""
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def by_window(given: Sequence[str]) -> list[dict[str, object]]:
    """`1d=5`: windows of budgets."""
    return [{"budget_duration": word, "max_budget": number(text)} for word, text in _pairs(given, "1d=5")]


def by_model(given: Sequence[str]) -> dict[str, object]:
    """`claude-opus-*=10`: numbers of models."""
    return {model: number(text) for model, text in _pairs(given, "claude-opus-*=10")}


def budget_by_model(given: Sequence[str]) -> dict[str, object]:
    """`claude-opus-*=10/1d`: budgets of models."""
    found: dict[str, object] = {}
    for model, text in _pairs(given, "claude-opus-*=10/1d"):
        dollars, mark, word = text.partition("/")
        found[model] = {"budget_limit": number(dollars), **({"time_period": word} if mark else {})}
    return found


def by_name(given: Sequence[str]) -> dict[str, str]:
    """`fast=claude-haiku-5-5`: aliases of models."""
    return dict(_pairs(given, "fast=claude-haiku-5-5"))


def members(text: str) -> object:
    """A JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError('wanted a JSON object such as \'{"cost_center": "42"}\'')
    return found


def _pairs(given: Sequence[str], example: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for before, mark, after in pairs:
        if not (before and mark and after):
            raise ValueError(f"wanted one such as `{example}`")
    return [(before, after) for before, _, after in pairs]


FIELDS: dict[str, Field] = {
    "key_alias": Field("NAME", "What the key is called; no other may have this name.", str, "alias"),
    "user_alias": Field("NAME", "What the user is called.", str, "alias"),
    "team_alias": Field("NAME", "What the team is called.", str, "alias"),
    "user_id": Field("ID", "Whose it is; a user of whom Ferryman has not heard is made.", str, "user"),
    "team_id": Field("TEAM", "The team, by its id or its alias.", str, "team"),
    "teams": Field("TEAM,…", "Further teams that the user joins.", names, many=True),
    "user_email": Field("ADDRESS", "The user's e-mail address.", str, "email"),
    "user_role": Field(
        "ROLE",
        "What the user's keys may do with Ferryman's own paths: `proxy_admin`, `proxy_admin_viewer`, "
        "`internal_user` or `internal_user_viewer`.",
        str,
        "role",
    ),
    "budget_id": Field("ID", "A budget whose limits hold where there are none of its own.", str, "budget"),
    "duration": Field("DURATION", "How long the key is good, such as `30d`; without one for ever.", str),
    "models": Field("MODEL,…", "Models that may be asked for, `*` stands for anything.", names, many=True),
    "allowed_routes": Field("PATH,…", "Paths that may be called, `*` stands for anything.", names, many=True),
    "tags": Field("TAG,…", "Tags that every request counts for.", names, many=True),
    "share": Field("key|team|all", "Whose files, batches and sessions the key sees.", str),
    "log_bodies": Field("off|redacted|full", "Whether the bodies of its requests are kept.", str),
    "aliases": Field(
        "NAME=MODEL", "A further name of a model, such as `fast=claude-haiku-5-5`.", by_name, many=True
    ),
    "metadata": Field("JSON", "An object of your own, kept beside it.", members),
    "blocked": Field("", "Let nothing through, or let it through again.", bool),
    "max_budget": Field("DOLLARS", "What may be spent in each `--budget-duration`, or ever.", number),
    "soft_budget": Field("DOLLARS", "Above that is warned.", number),
    "budget_duration": Field("DURATION", "The window of the budget, such as `1d`, `7d` or `1mo`.", str),
    "budget_limits": Field(
        "DURATION=DOLLARS", "A further window that holds at once, such as `1d=5`.", by_window, many=True
    ),
    "budget_hold": Field("expected|ceiling", "What a call holds until its cost is known.", str),
    "model_max_budget": Field(
        "MODEL=DOLLARS/DURATION",
        "A budget of a model, such as `claude-opus-*=10/1d`.",
        budget_by_model,
        many=True,
    ),
    "max_parallel_requests": Field("NUMBER", "Requests at once.", number),
    "rpm_limit": Field("NUMBER", "Requests in a minute.", number),
    "tpm_limit": Field("NUMBER", "Tokens in a minute, input and output.", number),
    "input_tpm_limit": Field("NUMBER", "Input tokens in a minute.", number),
    "output_tpm_limit": Field("NUMBER", "Output tokens in a minute.", number),
    "count_tokens_rpm_limit": Field("NUMBER", "Requests to count tokens in a minute.", number),
    "model_rpm_limit": Field("MODEL=NUMBER", "Requests for a model in a minute.", by_model, many=True),
    "model_tpm_limit": Field("MODEL=NUMBER", "Tokens of a model in a minute.", by_model, many=True),
}  # fmt: skip

TERMS = (
    "max_budget", "soft_budget", "budget_duration", "budget_limits", "budget_hold", "model_max_budget",
    "max_parallel_requests", "rpm_limit", "tpm_limit", "input_tpm_limit", "output_tpm_limit",
    "count_tokens_rpm_limit", "model_rpm_limit", "model_tpm_limit",
)  # fmt: skip
RECORD = ("models", *TERMS, "budget_id", "metadata", "blocked")
KEY = (
    "key_alias", "user_id", "team_id", "duration", "tags", "allowed_routes", "share", "aliases", "log_bodies",
    *RECORD,
)  # fmt: skip
USER = ("user_alias", "user_email", "user_role", *RECORD)
TEAM = ("team_alias", "tags", *RECORD)


def with_fields(*chosen: str, clears: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these fields as options.

    It gets them as `fields`, those that were given, as JSON of the API.

    Args:
        chosen: names of `FIELDS`.
        clears: there is an option that clears fields, too, and something has to be given.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        def with_given(**values: Any) -> None:  # noqa: ANN401  # of click
            given = {name: values.pop(name) for name in chosen}
            fields = {name: value for name, value in given.items() if value not in (None, ())}
            fields = {**dict.fromkeys(values.pop("clear", ())), **fields}
            if clears and not fields:
                raise click.UsageError("nothing is to be changed; name a field, or clear one with --clear.")
            command(fields=fields, **values)

        with_given.__name__, with_given.__doc__ = command.__name__, command.__doc__
        with_given.__dict__.update(command.__dict__)
        made: Callable[..., None] = with_given
        if clears:
            option = click.option(
                "--clear",
                multiple=True,
                type=click.Choice([name for name in chosen if name != "blocked"]),
                metavar="FIELD",
                help="Leave this field without a value, such as `max_budget`; may be given more than once.",
            )
            made = option(made)
        short = Counter(FIELDS[name].short for name in chosen)
        for name in reversed(chosen):
            field = FIELDS[name]
            made = _option(name, field, short=field.short if short[field.short] == 1 else "")(made)
        return made

    return decorated


def _option(name: str, field: Field, *, short: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    option = f"--{name.replace('_', '-')}"
    if not field.metavar:
        return click.option(f"{option}/--no-{name.replace('_', '-')}", name, default=None, help=field.help)
    shorter = [f"--{short}"] if short else []
    return click.option(
        *shorter,
        option,
        name,
        metavar=field.metavar,
        multiple=field.many,
        callback=_read,
        help=field.help,
    )


def _read(_context: click.Context, parameter: click.Parameter, given: Any) -> object:  # noqa: ANN401  # of click
    if given is None or given == ():
        return None
    try:
        return FIELDS[str(parameter.name)].value(given)
    except ValueError as error:
        shown = given if isinstance(given, str) else ", ".join(given)
        raise click.BadParameter(f"`{shown}` cannot be used; {error}.") from error
