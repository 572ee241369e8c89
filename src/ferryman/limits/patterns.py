"""Names with `*` in them: which models a limit or a budget is set on, and what a key may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_PATTERNS = 1_024
"""Compiled patterns in memory: a few for each kind of key that an operator has."""


def covers(pattern: str, model: str) -> bool:
    """Whether `pattern` stands for `model`.

    Args:
        pattern: `*` in it stands for anything; an empty one is any model, or none.
        model: as it is asked for, empty for none.
    """
    if not pattern or pattern == model:
        return True
    return "*" in pattern and _kept(pattern).fullmatch(model) is not None


def compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    """Matches the whole names that any of `patterns` stands for; `*` in them stands for anything."""
    choices = (".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    return re.compile("|".join(choices), re.DOTALL)


@lru_cache(MAX_PATTERNS)
def _kept(pattern: str) -> re.Pattern[str]:
    return compiled([pattern])
