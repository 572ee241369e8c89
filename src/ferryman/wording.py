"""How values stand in messages."""

from __future__ import annotations

import re
from pathlib import Path

MASK = "********"
"""In the place of a secret."""

SHOWN_CHARACTERS = 200
"""Of a value in a message; enough to know it again."""

_KEY = re.compile(r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))sk-[A-Za-z0-9_-]{20,}")
"""What has the form of a key: ours have 24 characters behind `sk-`, LiteLLM's 22, Anthropic's a hundred.
Not what ends a word, as in `task-` and `risk-`."""


def without_keys(text: str) -> str:
    """`text` with `sk-…` in the place of what has the form of a key.

    For what clients write where no key belongs, and we keep or repeat: paths, tags, names of models.
    """
    return _KEY.sub("sk-…", text) if "sk-" in text else text


def shown(value: object) -> str:
    """`value` for a message: on one line, not endless, and without what stands before an `@`."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a block of `name: value` lines"
    text = str(value)
    if "@" in text and not isinstance(value, Path):  # in a URL, a user name and a password
        text = MASK + text[text.rindex("@") :]
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return f"`{text}`" if len(text) <= SHOWN_CHARACTERS else f"`{text[:SHOWN_CHARACTERS]}…`"
