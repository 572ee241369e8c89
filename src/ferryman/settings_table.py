"""The table of settings itself: what a row's values have to be, and how they are shown."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, Literal

from ferryman.settings import Settings


def type_of(row: Field[Any]) -> Any:  # noqa: ANN401  # a type, or a Literal
    """The type of a row's values when they are not `None`."""
    kind = _types()[row.name]
    if isinstance(kind, types.UnionType):
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    return kind


@functools.cache
def _types() -> dict[str, Any]:
    return typing.get_type_hints(Settings)  # half a millisecond, and each command asks for each row


def rows() -> tuple[Field[Any], ...]:
    """The table itself, for command line, documentation and `config show`; what is inherited comes last."""
    return tuple(sorted(fields(Settings), key=lambda row: row.name not in Settings.__annotations__))


def env_names(row: Field[Any]) -> tuple[str, ...]:
    """The environment variables of a row, the first that is set wins."""
    names: tuple[str, ...] = row.metadata["env"]
    return (f"FERRYMAN_{row.name.upper()}", *names)


def plain(value: object) -> str:
    """`value` of a setting as it is written in the file; `-` is none."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {plain(member)}" for name, member in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def wanted(row: Field[Any]) -> str:
    """What a value of the row has to be, for people."""
    kind = type_of(row)
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if kind is bool:
        return "`true` or `false`"
    if row.metadata["example"] is not None:
        return f"a block such as `{row.metadata['example']}`"
    if kind in {int, float}:
        noun = "a whole number" if kind is int else "a number"
        if low is not None and high is not None:
            return f"{noun} from {low} to {high}"
        return noun if low is None else f"{noun}, {low} or more"
    return "a text of ASCII characters" + (", or a list of them" if row.metadata["many"] else "")
