"""Limits and budgets as a worker counts them."""

from __future__ import annotations

from collections.abc import Iterable

from ferryman.limits.rules import Rule
from ferryman.limits.spec import Budget, Limit


def counted(limits: Iterable[Limit], budgets: Iterable[Budget]) -> list[Rule]:
    """The rules of both, for `Admission.admit`."""
    return [Rule(one) for one in budgets] + [Rule(one) for one in limits]
