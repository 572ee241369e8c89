"""Fields of forms: what they ask for, what the API is told of what stands in them, and the way back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

MAX_OFFERED = 100
"""Teams, users and budgets in lists to choose from; others can be typed or set over the API."""

Kind = Literal["text", "dollars", "count", "list", "window", "choice"]


class Field(NamedTuple):
    """A field of a form.

    Attributes:
        name: as the API calls it.
        label: for people.
        kind: how its text is read; a `list` has its members with commas between them.
        hint: below the field.
        options: of a `choice`: value and label.
        is_further: it stands among the further ones, which are folded.
        only_new: it is asked for when a record is made, and stays.
    """

    name: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    options: tuple[tuple[str, str], ...] = ()
    is_further: bool = False
    only_new: bool = False


BUDGET = (
    Field("max_budget", "Budget in dollars", "dollars", "Nothing goes through beyond it. Empty: no bound."),
    Field("budget_duration", "Budget starts anew after", "window"),
)
LIMITS = (
    Field("rpm_limit", "Requests a minute", "count", is_further=True),
    Field("tpm_limit", "Tokens a minute", "count", is_further=True),
    Field("max_parallel_requests", "Requests at once", "count", is_further=True),
)
SOFT = Field("soft_budget", "Warn from (dollars)", "dollars", is_further=True)
MODELS = Field(
    "models", "Models", "list", "Such as claude-haiku-*, claude-sonnet-5-5. Empty: all.", is_further=True
)
LENT = Field("budget_id", "Shared budget", "choice", "Holds where there is none of its own.", is_further=True)


def with_options(fields: Iterable[Field], **options: Iterable[tuple[str, str]]) -> list[Field]:
    """`fields`, those that are named with these to choose from beside none."""
    return [
        field._replace(options=(("", "none"), *options[field.name])) if field.name in options else field
        for field in fields
    ]


def members_of(fields: Iterable[Field], form: Mapping[str, str], *, is_new: bool) -> dict[str, Any]:
    """What the API is told of a form: an empty field is left out of a new record, and clears an old one's."""
    told: dict[str, Any] = {}
    for field in fields:
        if field.name not in form or (field.only_new and not is_new):
            continue
        text = form[field.name]
        if text:
            told[field.name] = _value(field.kind, text)
        elif not is_new:
            told[field.name] = [] if field.kind == "list" else None
    return told


def texts_of(fields: Iterable[Field], row: Mapping[str, Any]) -> dict[str, str]:
    """What stands in the fields for a record as the API tells it."""
    return {field.name: _text(row.get(field.name)) for field in fields}


def _value(kind: Kind, text: str) -> Any:  # noqa: ANN401  # JSON
    if kind == "list":
        return [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]
    if kind == "dollars":
        return text.removeprefix("$").replace(",", "").strip()
    if kind == "count":
        plain = text.replace(",", "")
        return int(plain) if plain.isdecimal() and plain.isascii() and len(plain) < 17 else text
    return text


def _text(value: Any) -> str:  # noqa: ANN401  # JSON
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)
