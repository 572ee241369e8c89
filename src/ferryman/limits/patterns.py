"""Which models a limit or a budget is set on."""

from __future__ import annotations

import re
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
    return "*" in pattern and _compiled(pattern).fullmatch(model) is not None


@lru_cache(MAX_PATTERNS)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
