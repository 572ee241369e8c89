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


def trees(raw: object) -> dict[str, dict[str, object]]:
    """Names and blocks, in which texts, lists of texts and blocks of texts may stand.

    Raises:
        ValueError: it is something else, or empty.
    """
    return {name: _tree(inner) for name, inner in _mapping(raw).items()}


def _tree(raw: object) -> dict[str, object]:
    if isinstance(raw, str):
        raise ValueError
    content = _mapping(raw)
    for value in content.values():
        if isinstance(value, dict):
            block(value)
        elif isinstance(value, list) and not all(isinstance(member, str) for member in value):
            raise ValueError
    return content


def _mapping(raw: object) -> dict[str, object]:
    if isinstance(raw, str):
        try:
            raw = yaml.load(raw, yaml.BaseLoader)  # noqa: S506  # text only: no `010` that becomes 8
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError from error
    if not isinstance(raw, dict) or not raw or not all(isinstance(name, str) for name in raw):
        raise ValueError
    return raw
