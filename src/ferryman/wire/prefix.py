"""Reading JSON of which only the beginning is there: what was complete, and the text that was cut."""

from __future__ import annotations

import re

import msgspec

CUT = "\uffff"
"""Ends a text that was cut. It is no character (Unicode, section 23.7), so that no text has it already."""

_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'  # a text
    r'|(?P<open>"[^"\\]*+(?:\\.[^"\\]*+)*+\\?\Z)'  # one that was cut
    r"|[{}\[\],:]"
    r'|[^\s{}\[\],:"]++',  # a number, or a word
    re.DOTALL,
)
_HALF_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*+)\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""JavaScript writes them where it has cut an emoji, and no reader of ours takes them."""

_UNREADABLE = (ValueError, RecursionError)  # as all errors of msgspec are


def value_in(data: bytes, *, cut: bool) -> object:
    """The JSON value that `data` is, or begins with.

    Args:
        data: of a body; bytes that are no UTF-8 are replaced, and so are halves of characters.
        cut: it may go on. Then members and texts that are not whole are left out, but for a text that is a
            value: that ends with `CUT`.

    Raises:
        ValueError: it is no JSON.
    """
    text = data.decode("utf-8", "replace")
    if "\\u" in text:
        text = _LONE_SURROGATE.sub(r"\\ufffd", text)
    for whole in [text, *_closed(text)] if cut else [text]:
        try:
            return msgspec.json.decode(whole)
        except _UNREADABLE:
            continue
    raise ValueError("no JSON")


def _closed(text: str) -> list[str]:
    """`text` with an end: first with the text that was cut, then without."""
    closers: list[str] = []
    names = False  # a member's name comes next
    safe, partial = 0, ""
    for found in _TOKEN.finditer(text):
        token = found[0]
        kind = token[0]
        if kind in "{[":
            closers.append("}" if kind == "{" else "]")
            names, safe = kind == "{", found.end()
        elif kind in "}]":
            if not closers:
                return []
            closers.pop()
            names, safe = False, found.end()
        elif kind == ",":
            names = bool(closers) and closers[-1] == "}"
        elif kind == ":":
            names = False
        elif found["open"] is not None:
            if not names:
                whole = _HALF_ESCAPE.sub(r"\1", token)
                partial = f'{text[: found.start()]}{whole}{CUT}"'
        elif not names and (kind == '"' or found.end() < len(text)):  # a number may go on
            safe = found.end()
    end = "".join(reversed(closers))
    return [made + end for made in (partial, text[:safe]) if made]
