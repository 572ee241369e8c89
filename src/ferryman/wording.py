"""How values stand in messages."""

from __future__ import annotations

from pathlib import Path

MASK = "********"
"""In the place of a secret."""

SHOWN_CHARACTERS = 200
"""Of a value in a message; enough to know it again."""


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
