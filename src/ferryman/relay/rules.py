"""What holds for a caller's calls, of what the snapshot has: worked out once for each kind and model."""

from __future__ import annotations

from typing import Final

from ferryman.limits.habits import Habit
from ferryman.limits.patterns import covers
from ferryman.limits.rules import Rule, Rules
from ferryman.limits.spec import Scope

KEPT_RULES: Final = 64
"""Kinds and models of one key's calls whose rules are kept ready: a client may make names up."""


ASKS_MODEL: Final = frozenset({"messages", "count_tokens", "batch"})
"""Kinds of calls that ask for a model."""


class Held:
    """What calls of one kind and model are held to.

    Attributes:
        rules: the limits and budgets.
        habit: what such calls have come to.
    """

    __slots__ = ("habit", "rules")

    def __init__(self, rules: Rules, habit: Habit) -> None:
        self.rules = rules
        self.habit = habit


class HeldTo:
    """What a key is held to, as of one version of the snapshot.

    Attributes:
        scopes: that all of its calls are in.
        blocked: what of them is, `None` if nothing is.
        capped: it has to keep to a budget.
        by_call: by kind and model of a call.
    """

    __slots__ = ("blocked", "by_call", "capped", "scopes", "version")

    def __init__(self, version: int, scopes: list[Scope]) -> None:
        self.version = version
        self.scopes = scopes
        self.blocked = next((scope for scope in scopes if scope.blocked), None)
        self.capped = any(one.cap_nanousd is not None for scope in scopes for one in scope.budgets)
        self.by_call: dict[tuple[str, str], Held] = {}

    def keep(self, kind: str, model: str, held: Held) -> None:
        """Have it ready for the next call, if there is room."""
        if len(self.by_call) < KEPT_RULES:
            self.by_call[kind, model] = held


def rules_of(scopes: list[Scope], kind: str, models: frozenset[str] | set[str]) -> Rules:
    """The limits and budgets of `scopes` for calls of a kind that ask for any of `models`.

    A call whose model cannot be read may ask for any: what is set on models holds for it.
    """
    any_model = kind in ASKS_MODEL and (not models or "" in models)
    counting = kind == "count_tokens"
    limits = [
        Rule(limit, scope)
        for scope in scopes
        for limit in scope.limits
        if counting == (limit.what == "count_tokens") and (any_model or _is_for(limit.model, models))
    ]
    if kind not in {"messages", "batch"}:
        return Rules([], limits)
    budgets = [
        Rule(budget, scope)
        for scope in scopes
        for budget in scope.budgets
        if any_model or _is_for(budget.model, models)
    ]
    return Rules(budgets, limits)


def _is_for(pattern: str, models: frozenset[str] | set[str]) -> bool:
    return not pattern or any(covers(pattern, model) for model in models)
