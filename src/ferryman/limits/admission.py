"""Whether an exchange may go: what it takes from limits and budgets, all or nothing, and what it gives back.

Announce, then check: a worker first adds what an exchange wants to its own cells, then reads everybody's, and
takes it back if that is too much. Of two that race for the last of something at least one sees the other:
both may be refused for a moment, and try again; never do both go.

What is in a cell, by what its row counts:

- budget: epoch is the window's start; count is what was spent since the column was claimed and what is held,
  in one word, so that nobody sees one without the other; spent is the first of these by itself.
- requests or tokens in a minute: epoch is the minute; count is of this minute, previous of the one before.
- parallel: count is in flight; epoch never changes.

A worker's first use of a row in a new window puts its cell into it. Whoever reads meanwhile may see too much
for some hundred nanoseconds, and never too little.

A rate is an estimate: this minute's count, and of the last minute's the share that a minute back from now
reaches into it, as if it had been spread evenly. So a limit of L behaves as a bucket that holds L and is
refilled in a minute: evenly spread traffic is counted exactly; after a pause L can go at once, and then as
many as the minute fills up. In no minute is it more than twice L, and in n minutes never more than (n + 1) L.
Tokens are counted in the minute in which their request was let through.
"""

from __future__ import annotations

from math import inf
from typing import Final

from ferryman.limits.cells import GAUGE_EPOCH, minutes_in, rate_of, sum_in
from ferryman.limits.layout import (
    BASE,
    CELL_WORDS,
    CLAIMED,
    COUNT,
    EPOCH_BITS,
    GRANTED,
    HEAD_BYTES,
    HEAD_WORDS,
    PREVIOUS,
    SPENT,
)
from ferryman.limits.rules import EXPECTED, OUTPUT, PARALLEL, TOKENS, Demand, Part, Rule, Taken
from ferryman.limits.table import CounterTable
from ferryman.limits.verdict import Need, NotReady, Refused, how_long, refused_budget, refused_limit
from ferryman.limits.windows import Calendar

LOOKS: Final = 6
"""At a rule that was reached, before an exchange is refused: whenever there is room it is tried again. What
was in the way may have been announced by somebody who did not get it either. Two processes that reached for
the last of a budget within the same microsecond were both refused up to 64 times of 100 when they looked in
step, by how fast they were; with steps of their own 5 times in 24,000."""

_sum: Final = sum  # which compiled code need not look up by its name

STEPS: Final = 4
"""Columns that look a different number of times; each look takes some two microseconds."""


class Admission:
    """Lets exchanges through, for the worker that has this column.

    Attributes:
        calendar: in whose time zone the windows of budgets are; may be set anew.
    """

    def __init__(self, table: CounterTable, column: int, calendar: Calendar) -> None:
        self.calendar = calendar
        self._table = table
        self._column = column
        self._words = table.words
        self._fence = table.fence
        self._first = table.cell(0, column)
        self._offset = HEAD_WORDS + column * CELL_WORDS
        self._row_words = table.row_words

    def __repr__(self) -> str:
        return f"<Admission at column {self._column} of {self._table!r}>"

    def admit(self, rules: list[Rule], demand: Demand, now_seconds: float) -> Taken | Refused | NotReady:
        """Take what `demand` says by each of the rules, or nothing.

        Args:
            rules: all that hold for the call, those of budgets first.
            demand: what it wants.
            now_seconds: the Unix time.
        """
        verdict, parts = self._try(rules, demand, now_seconds)
        for _ in range(LOOKS):
            if type(verdict) is not Refused:
                break
            if self._has_room(parts, now_seconds):
                verdict, parts = self._try(rules, demand, now_seconds)
        return verdict

    def _has_room(self, parts: list[Part], now_seconds: float) -> bool:
        """Whether what was refused would fit now.

        Two that reach for the last in step would go on to refuse each other: so each column looks another
        number of times before it believes it, and whoever looks less goes first.
        """
        return all(
            type(self._judge(parts, now_seconds, 1)) is not Refused for _ in range(1 + self._column % STEPS)
        )

    def _try(
        self, rules: list[Rule], demand: Demand, now_seconds: float
    ) -> tuple[Taken | Refused | NotReady, list[Part]]:
        """Announce what is wanted, and take it back if it is too much; what was announced."""
        parts: list[Part] = []
        needs = self._announce(parts, rules, demand.amounts, now_seconds)
        if needs is not None:
            self._take_back(parts)
            return NotReady(needs), parts
        self._fence()
        verdict = self._judge(parts, now_seconds, 0)
        if type(verdict) is not Taken:
            self._take_back(parts)
        return verdict, parts

    def settle(self, taken: Taken, input_tokens: int, output_tokens: int, nanousd: int) -> None:
        """Give back what was held, and count what it came to. Once, when the exchange has ended."""
        words = self._words
        for part in taken.parts:
            at, kind = part.at, part.rule.kind
            if kind >= EXPECTED:
                if words[at] == part.epoch:  # otherwise the window is over
                    words[at + SPENT] += nanousd
                    words[at + COUNT] += nanousd - part.quantity
            elif kind == PARALLEL:
                if words[at] == part.epoch:
                    words[at + COUNT] -= part.quantity
            elif kind >= TOKENS:
                actual = output_tokens if kind == OUTPUT else input_tokens
                if kind == TOKENS:
                    actual += output_tokens
                self._correct(part, actual - part.quantity)

    def give_back(self, taken: Taken) -> None:
        """Let all be as if it had not been taken: the exchange never came to the upstream."""
        self._take_back(taken.parts)

    def _take_back(self, parts: list[Part]) -> None:
        for part in parts:
            self._correct(part, -part.quantity)

    def _correct(self, part: Part, difference: int) -> None:
        """Count so much more, if it is still looked at; budgets and gauges have no previous epoch."""
        words, at = self._words, part.at
        if words[at] == part.epoch:
            words[at + COUNT] += difference
        elif words[at] == part.epoch + 1:
            words[at + PREVIOUS] += difference

    def _announce(
        self, parts: list[Part], rules: list[Rule], amounts: list[int], now_seconds: float
    ) -> list[Need] | None:
        """Count what is wanted in the own cells; budgets that are not in their window yet, `None` for none.

        No limit is announced where one of the budgets is not ready.
        """
        words, first, row_words = self._words, self._first, self._row_words
        minute = int(now_seconds // 60)
        needs: list[Need] | None = None
        for rule in rules:
            kind = rule.kind
            quantity = amounts[kind]
            at = first + rule.slot * row_words
            if kind >= EXPECTED:
                need = self._announce_budget(parts, rule, at, quantity, now_seconds)
                if need is not None:
                    needs = [need] if needs is None else [*needs, need]
            elif needs is not None:
                break
            elif quantity:
                epoch = rule.generation | (GAUGE_EPOCH if kind == PARALLEL else minute)
                if words[at] == epoch:
                    words[at + COUNT] += quantity
                else:
                    epoch = self._enter(at, epoch, quantity, kind)
                if epoch:
                    parts.append(Part(rule, at, epoch, quantity))
        return needs

    def _announce_budget(
        self, parts: list[Part], rule: Rule, at: int, hold: int, now_seconds: float
    ) -> Need | None:
        words, budget = self._words, rule.budget
        assert budget is not None  # noqa: S101  # of its kind
        if not rule.start <= now_seconds < rule.end:
            rule.span = span = self.calendar.span(budget.window, budget.anchor, now_seconds)
            rule.start, rule.end = span.start, inf if span.end is None else float(span.end)
        epoch = rule.generation | rule.start
        current = words[at]
        checked = hold > 0 and rule.capped
        if current > epoch or (checked and words[at - self._offset] != epoch):
            return Need(budget.row, rule.start, hold) if checked else None
        if current == epoch:
            words[at + COUNT] += hold
        else:  # the epoch last: who dies before it has changed nothing
            words[at + SPENT] = 0
            words[at + COUNT] = hold
            words[at] = epoch
        parts.append(Part(rule, at, epoch, hold))
        return None

    def _enter(self, at: int, epoch: int, quantity: int, kind: int) -> int:
        """Count in a cell that has not been in this epoch; in which it was counted, 0 for none."""
        words = self._words
        current: int = words[at]
        if kind == PARALLEL:
            if current > epoch:
                return 0  # the row is another's by now, and this limit none
            words[at + COUNT] = quantity
            words[at] = epoch
            return epoch
        if current == epoch + 1:  # who came before has looked at the clock later
            words[at + COUNT] += quantity
            return current
        if current >> EPOCH_BITS > epoch >> EPOCH_BITS:
            return 0
        previous = words[at + COUNT] if current == epoch - 1 else 0
        # In this order nobody sees too little meanwhile.
        words[at] = epoch
        words[at + PREVIOUS] = previous
        words[at + COUNT] = quantity
        return epoch

    def _judge(self, parts: list[Part], now_seconds: float, extra: int) -> Taken | Refused | NotReady:
        """Whether all of `parts` fit; `extra` is 1 if they have not been announced, otherwise 0."""
        table, buffer = self._table, self._table.buffer
        offset = self._offset
        width = self._words[CLAIMED]
        sums, bounds = table.sums[width], table.bounds[width]
        refusals: list[Refused] = []
        needs: list[Need] = []
        for part in parts:
            rule, quantity = part.rule, part.quantity
            head = part.at - offset
            budget = rule.budget
            if budget is None:
                # All that stands there, from whatever minute, is no less than what counts.
                if _sum(bounds(buffer, head * 8 + HEAD_BYTES)) + extra * quantity > rule.amount:
                    self._judge_limit(refusals, part, extra, now_seconds)
                continue
            committed, granted = self._committed(head, part.epoch, sums(buffer, head * 8 + HEAD_BYTES))
            part.committed_nanousd = committed = committed + extra * quantity
            if quantity and budget.cap_nanousd is not None:
                if committed > budget.cap_nanousd:
                    others = committed - quantity
                    refusals.append(refused_budget(budget, part.span, others, quantity, now_seconds))
                elif committed > granted:
                    needs.append(Need(budget.row, part.span.start, committed))
        if refusals:
            return max(refusals, key=how_long)
        return NotReady(needs) if needs else Taken(parts)

    def _committed(self, head: int, epoch: int, cells: tuple[int, ...]) -> tuple[int, int]:
        """What stands in a budget's row, and its allowance: -1 if the row is not in this window."""
        words = self._words
        committed = 0
        for at in range(0, len(cells), 2):
            if cells[at] == epoch:
                committed += cells[at + 1]
        # After the cells: what is folded into the base stands in both before it leaves its cell.
        self._fence()
        # The allowance first: of what another machine has spent both rise together.
        granted: int = words[head + GRANTED]
        base: int = words[head + BASE]
        return (committed + base, granted) if words[head] == epoch else (committed, -1)

    def _judge_limit(self, refusals: list[Refused], part: Part, extra: int, now_seconds: float) -> None:
        limit, quantity = part.rule.limit, part.quantity
        assert limit is not None  # noqa: S101  # of its kind
        cells = self._table.row_cells(limit.row)
        if part.rule.kind == PARALLEL:
            used, before = sum_in(cells, part.epoch), 0
        else:
            used, before = minutes_in(cells, part.epoch)
        used += (extra - 1) * quantity
        if rate_of(used, before, now_seconds) + quantity > limit.amount:
            refusals.append(refused_limit(limit, used, before, quantity, now_seconds))
