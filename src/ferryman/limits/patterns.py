"""Names with `*` in them: which models a limit or a budget is set on, and what a key may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

MAX_PATTERNS = 1_024
"""Compiled patterns in memory: a few for each kind of key that an operator has."""


MAX_MODEL_CHARACTERS: Final = 256
"""Of a model's name that a list of names can have: as many as the management API takes in one."""


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
    """Matches the whole names that any of `patterns` stands for; `*` in them stands for anything.

    However many `*` there are, a name is gone through once for each pattern.
    """
    return re.compile("|".join(map(_expression, patterns)), re.DOTALL)


def _expression(pattern: str) -> str:
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    # What stands between two stars is taken where it comes first, for good: to look for a later place would
    # find nothing more, and with several stars takes time by a power of the name's length.
    between = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    return f"{first}{between}.*{others[-1]}"


@lru_cache(MAX_PATTERNS)
def _kept(pattern: str) -> re.Pattern[str]:
    return compiled([pattern])
