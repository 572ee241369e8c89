"""Settings that are blocks of `name: value` lines: in the file as such, elsewhere as YAML on one line."""

from __future__ import annotations

import yaml


def block(raw: object) -> dict[str, str]:
    """Names and texts.

    Raises:
        ValueError: it is something else, or empty.
    """
    content = _mapping(raw)
    if not all(isinstance(text, str) for text in content.values()):
        raise ValueError
    return {name: str(text) for name, text in content.items()}


def blocks(raw: object) -> dict[str, dict[str, str]]:
    """Names and blocks.

    Raises:
        ValueError: it is something else, or empty.
    """
    content = _mapping(raw)
    if any(isinstance(inner, str) for inner in content.values()):
        raise ValueError
    return {name: block(inner) for name, inner in content.items()}


def _mapping(raw: object) -> dict[str, object]:
    if isinstance(raw, str):
        try:
            raw = yaml.load(raw, yaml.BaseLoader)  # noqa: S506  # text only: no `010` that becomes 8
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError from error
    if not isinstance(raw, dict) or not raw or not all(isinstance(name, str) for name in raw):
        raise ValueError
    return raw
