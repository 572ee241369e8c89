"""A row in the table of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any

from ferryman.wording import MASK

_BEFORE_AT = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.DOTALL)


def setting(  # noqa: PLR0913  # a row of a table has many columns
    default: Any,  # noqa: ANN401  # of the field's own type, which the checker sees at the field
    text: str,
    *,
    env: tuple[str, ...] = (),
    secret: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
    flags: tuple[str, ...] = (),
    many: bool = False,
    credentials: bool = False,
    example: str | None = None,
) -> Any:  # noqa: ANN401  # as dataclasses.field
    """A row of the table.

    Args:
        default: used when no source has a value.
        text: one or two sentences of help.
        env: further names in the environment, behind `FERRYMAN_<NAME>`.
        secret: never shown.
        at_least: lower bound of a number.
        at_most: upper bound of a number.
        flags: further names on the command line, beside `--<name>`.
        many: a text with commas between its members, for which the file may have a list.
        credentials: a URL that may hold a user name and a password, or blocks that may hold an `api_key`,
            which are never shown.
        example: of a block of `name: value` lines, on one line.
    """
    metadata = {
        "help": text,
        "env": env,
        "secret": secret,
        "at_least": at_least,
        "at_most": at_most,
        "flags": flags,
        "many": many,
        "credentials": credentials,
        "example": example,
    }
    return field(default=default, metadata=metadata)


def masked(row: Field[Any], value: object) -> object:
    """`value`, with a mask in the place of what is secret in it."""
    if row.metadata["credentials"] and isinstance(value, str):
        return without_credentials(value)
    if row.metadata["credentials"] and isinstance(value, Mapping):
        return {name: _masked_block(block) for name, block in value.items()}
    return MASK if row.metadata["secret"] and value else value


def without_credentials(url: str) -> str:
    """`url` with a mask in the place of a user name and a password, wherever their end may be."""
    return _BEFORE_AT.sub(lambda found: f"{found[1] or ''}{MASK}@", url)


def _masked_block(block: Mapping[str, object]) -> dict[str, object]:
    """A block of `name: value` lines with a mask in the place of its `api_key`."""
    return {name: MASK if name == "api_key" else value for name, value in block.items()}
