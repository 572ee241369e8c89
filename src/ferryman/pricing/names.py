"""The spellings of a model's name, folded into one. Pure."""

from __future__ import annotations

import re
from typing import Final

from ferryman.aliases import FAMILIES

MAX_NAME_CHARACTERS: Final = 200
"""Of a name that is looked at; the longest known, an ARN of Bedrock, has about 120."""

_MARKS = re.compile(r"[:@\[].*$", re.DOTALL)
"""Bedrock's `:0`, a router's `:thinking`, Vertex's `@20250929` and `@default`, Claude Code's `[1m]`."""

_TAIL = re.compile(r"(?:-thinking|-latest|-\d{4}-?\d{2}-?\d{2})+$")
_BEDROCK_VERSION = re.compile(r"(?<!^claude)-v\d+$")  # but `claude-v2` is a model
_WORD = re.compile(r"[a-z]+|\d+")


def folded(name: str) -> str:
    """`name` without vendor, date, marks and order of words: `opus-4-1` for each spelling of Opus 4.1.

    It knows `anthropic/…`, `us.anthropic.…-v1:0` and ARNs (Bedrock), `…@20250929` (Vertex),
    `claude-3.5-sonnet` and `claude-sonnet-3-5`, `claude-opus-4` and `claude-opus-4-0`, `claudeopus41`,
    `…-latest`, `…-YYYYMMDD`, `…[1m]`. A word that it doesn't know stays, so that another model is another
    name.
    """
    text = name.strip().lower()
    start = text.rfind("claude")
    text = text[start:] if start >= 0 else text.rpartition("/")[2]
    for pattern in (_MARKS, _BEDROCK_VERSION, _TAIL):
        text = pattern.sub("", text)
    words = _WORD.findall(text.removeprefix("claude"))
    letters = [word for word in words if not word.isdigit()]
    numbers = [word for word in words if word.isdigit()]
    if len(numbers) == 1 and len(numbers[0]) == 2:  # `opus41`
        numbers = [*numbers[0]]
    if len(numbers) == 2 and numbers[1] == "0":
        numbers.pop()
    return "-".join([*letters, *numbers])


def family_of(name: str) -> str | None:
    """The family that `name` speaks of, `None` if it speaks of none."""
    text = name.lower()
    return next((family for family in FAMILIES if family in text), None)
