"""The limits and budgets that hold for a call, and what a call wants and takes of each.

Native classes with few words in them: for each call that is held to something they are made or read some
ten times.
"""

from __future__ import annotations

from typing import Final

from ferryman.limits.layout import EPOCH_BITS, ROW_BITS, ROWS
from ferryman.limits.spec import Budget, Limit, Scope
from ferryman.limits.windows import Span

REQUESTS: Final = 0
COUNT_TOKENS: Final = 1
PARALLEL: Final = 2
TOKENS: Final = 3
INPUT: Final = 4
OUTPUT: Final = 5
EXPECTED: Final = 6
CEILING: Final = 7

_KINDS = {
    "requests": REQUESTS, "count_tokens": COUNT_TOKENS, "parallel": PARALLEL,
    "tokens": TOKENS, "input_tokens": INPUT, "output_tokens": OUTPUT,
}  # fmt: skip
_ENDLESS = Span(0, None)


class Rule:
    """A limit or a budget as it is counted.

    Attributes:
        kind: what of a `Demand` it counts; from `EXPECTED` on it is a budget's.
        amount: of a limit.
        slot, generation: of its row; the second where it stands in an epoch.
        limit, budget: one of them, the other is `None`.
        scope: whose it is.
        capped: it is a budget that can be used up.
        start, end: of the budget's window that was looked at last, in Unix seconds; `end` is 0 before it was.
        span: the same.
    """

    __slots__ = (
        "amount", "budget", "capped", "end", "generation", "kind", "limit", "scope", "slot", "span", "start",
    )  # fmt: skip

    def __init__(self, rule: Limit | Budget, scope: Scope | None = None) -> None:
        self.scope = scope
        self.slot: int = rule.row & ROWS - 1
        self.generation: int = rule.row >> ROW_BITS << EPOCH_BITS
        self.limit: Limit | None = None
        self.budget: Budget | None = None
        self.amount = self.start = 0
        self.end = 0.0
        self.span = _ENDLESS
        self.capped = False
        if isinstance(rule, Limit):
            self.limit, self.kind = rule, _KINDS[rule.what]
            self.amount = rule.amount
        else:
            self.budget, self.kind = rule, CEILING if rule.hold == "ceiling" else EXPECTED
            self.capped = rule.cap_nanousd is not None

    def __repr__(self) -> str:
        return f"<Rule {self.limit or self.budget}>"


class Demand:
    """What a call wants. A limit of which it wants nothing is none for it.

    Attributes:
        amounts: by the kind of a rule.
    """

    __slots__ = ("amounts",)

    def __init__(  # noqa: PLR0913, PLR0917  # one a kind
        self,
        requests: int = 1,
        count_tokens: int = 0,
        parallel: int = 1,
        input_tokens: int = 0,
        output_tokens: int = 0,
        ceiling_nanousd: int = 0,
        expected_nanousd: int = 0,
    ) -> None:
        """Say how much it is.

        Args:
            requests: 1 or 0.
            count_tokens: 1 or 0.
            parallel: 1 or 0.
            input_tokens: how many it is thought to use; made right when it is settled.
            output_tokens: the same.
            ceiling_nanousd: the most that it can cost.
            expected_nanousd: what such calls have cost.
        """
        tokens = input_tokens + output_tokens
        self.amounts = [
            requests, count_tokens, parallel, tokens, input_tokens, output_tokens, expected_nanousd,
            ceiling_nanousd,
        ]  # fmt: skip

    def __repr__(self) -> str:
        return f"<Demand {self.amounts}>"


class Part:
    """What is counted of a call by one rule.

    Attributes:
        rule: which.
        at: where its cell is.
        epoch: that it is counted in.
        quantity: how much it is.
        span: of a budget, its window; of a limit an endless one.
        committed_nanousd: of a budget, spent and held on this machine in it, this call's hold included.
    """

    __slots__ = ("at", "committed_nanousd", "epoch", "quantity", "rule", "span")

    def __init__(self, rule: Rule, at: int, epoch: int, quantity: int) -> None:
        self.rule = rule
        self.at = at
        self.epoch = epoch
        self.quantity = quantity
        self.span = rule.span
        self.committed_nanousd = 0

    def __repr__(self) -> str:
        return f"<Part {self.quantity} of {self.rule!r}>"


class Taken:
    """What a call that was let through holds, to be settled once.

    Attributes:
        parts: those of budgets first.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"<Taken {self.parts}>"


class Rules:
    """The limits and budgets that hold for calls of one kind.

    Attributes:
        rules: budgets first, and in that order as they were found.
        budgets_count: how many of them are budgets.
        counts_tokens: there is a limit of tokens.
        has_ceiling: there is a budget with `hold: ceiling`.
        has_soft: there is a budget that is warned of.
        since_seconds: from then on all budgets count, in Unix time.
    """

    __slots__ = ("budgets_count", "counts_tokens", "has_ceiling", "has_soft", "rules", "since_seconds")

    def __init__(self, budgets: list[Rule], limits: list[Rule]) -> None:
        self.rules = budgets + limits
        self.budgets_count = len(budgets)
        self.counts_tokens = any(TOKENS <= rule.kind <= OUTPUT for rule in limits)
        self.has_ceiling = any(rule.kind == CEILING for rule in budgets)
        self.has_soft = False
        self.since_seconds = 0.0
        for rule in budgets:
            if (budget := rule.budget) is not None:
                self.has_soft = self.has_soft or budget.soft_nanousd is not None
                self.since_seconds = max(self.since_seconds, budget.since_seconds)

    def __repr__(self) -> str:
        return f"<Rules {self.rules}>"

    def beside(self, more: Rules) -> Rules:
        """These and `more`."""
        count, others = self.budgets_count, more.budgets_count
        return Rules(self.rules[:count] + more.rules[:others], self.rules[count:] + more.rules[others:])

    def known_at(self, began_at: float) -> Rules:
        """Those that count what began at this Unix time."""
        if self.since_seconds <= began_at:
            return self
        count = self.budgets_count
        budgets = [
            rule for rule in self.rules[:count] if rule.budget and rule.budget.since_seconds <= began_at
        ]
        return Rules(budgets, self.rules[count:])
