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

from collections.abc import Sequence

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
    ROW_BITS,
    ROWS,
    SPENT,
)
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.verdict import (
    NO_LIMIT,
    Counted,
    Demand,
    Need,
    NotReady,
    Part,
    Refused,
    Taken,
    how_long,
    refused_budget,
    refused_limit,
)
from ferryman.limits.windows import Calendar

LOOKS = 6
"""At a rule that was reached, before an exchange is refused: whenever there is room it is tried again. What
was in the way may have been announced by somebody who did not get it either. Two processes that reached for
the last of a budget within the same microsecond were both refused 2 to 27 times of 100 with one look, up to 6
times with these, and never with ten; each costs a refusal some two microseconds."""

_RATE, _TOKENS, _INPUT, _OUTPUT, _GAUGE, _BUDGET = range(6)
_KINDS = {
    "requests": _RATE, "count_tokens": _RATE, "parallel": _GAUGE,
    "tokens": _TOKENS, "input_tokens": _INPUT, "output_tokens": _OUTPUT,
}  # fmt: skip


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

    def admit(
        self, limits: Sequence[Limit], budgets: Sequence[Budget], demand: Demand, now_seconds: float
    ) -> Taken | Refused | NotReady:
        """Take what `demand` says from each of the limits and budgets, or nothing.

        Args:
            limits: all that hold for the exchange, by its scopes and its model.
            budgets: the same.
            demand: what it wants.
            now_seconds: the Unix time.
        """
        parts: list[Part] = []
        verdict = self._try(parts, limits, budgets, demand, now_seconds)
        for _ in range(LOOKS):
            if type(verdict) is not Refused:
                break
            if type(self._judge(parts, now_seconds, 1)) is not Refused:
                parts = []
                verdict = self._try(parts, limits, budgets, demand, now_seconds)
        return verdict

    def _try(
        self,
        parts: list[Part],
        limits: Sequence[Limit],
        budgets: Sequence[Budget],
        demand: Demand,
        now_seconds: float,
    ) -> Taken | Refused | NotReady:
        """Announce `parts`, which come to be what they are, and take them back if they are too much."""
        needs = self._announce_budgets(parts, budgets, demand, now_seconds) if budgets else None
        if needs:
            self._take_back(parts)
            return NotReady(needs)
        if limits:
            self._announce_limits(parts, limits, demand, int(now_seconds // 60))
        self._fence()
        verdict = self._judge(parts, now_seconds, 0)
        if type(verdict) is not Taken:
            self._take_back(parts)
        return verdict

    def settle(self, taken: Taken, input_tokens: int, output_tokens: int, nanousd: int) -> None:
        """Give back what was held, and count what it came to. Once, when the exchange has ended."""
        words = self._words
        for at, epoch, quantity, kind, _, _ in taken.parts:
            if kind == _BUDGET:
                if words[at] == epoch:  # otherwise the window is over
                    words[at + SPENT] += nanousd
                    words[at + COUNT] += nanousd - quantity
            elif kind == _GAUGE:
                if words[at] == epoch:
                    words[at + COUNT] -= quantity
            elif kind != _RATE:
                actual = output_tokens if kind == _OUTPUT else input_tokens
                if kind == _TOKENS:
                    actual += output_tokens
                self._correct(at, epoch, actual - quantity)

    def give_back(self, taken: Taken) -> None:
        """Let all be as if it had not been taken: the exchange never came to the upstream."""
        self._take_back(taken.parts)

    def _take_back(self, parts: list[Part]) -> None:
        for at, epoch, quantity, _, _, _ in parts:
            self._correct(at, epoch, -quantity)

    def _correct(self, at: int, epoch: int, difference: int) -> None:
        """Count so much more, if it is still looked at; budgets and gauges have no previous epoch."""
        words = self._words
        if words[at] == epoch:
            words[at + COUNT] += difference
        elif words[at] == epoch + 1:
            words[at + PREVIOUS] += difference

    def _announce_limits(
        self, parts: list[Part], limits: Sequence[Limit], demand: Demand, minute: int
    ) -> None:
        words, first, row_words = self._words, self._first, self._row_words
        for limit in limits:
            what = limit.what
            quantity = getattr(demand, what)
            if not quantity:
                continue
            row, kind = limit.row, _KINDS[what]
            at = first + (row & ROWS - 1) * row_words
            epoch = row >> ROW_BITS << EPOCH_BITS | (GAUGE_EPOCH if kind == _GAUGE else minute)
            if words[at] == epoch:
                words[at + COUNT] += quantity
            elif kind == _GAUGE:
                if words[at] > epoch:
                    continue  # the row is another's by now, and this limit none
                words[at + COUNT] = quantity
                words[at] = epoch
            elif not (epoch := self._enter_minute(at, epoch, quantity)):
                continue
            parts.append((at, epoch, quantity, kind, limit, None))

    def _enter_minute(self, at: int, epoch: int, quantity: int) -> int:
        """Count in a minute that is new for a cell; in which it was counted, 0 for none."""
        words = self._words
        current = words[at]
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

    def _announce_budgets(
        self, parts: list[Part], budgets: Sequence[Budget], demand: Demand, now_seconds: float
    ) -> list[Need]:
        """Those that are not in their window yet."""
        words, first, row_words = self._words, self._first, self._row_words
        heads = self._table.head(0)
        needs = []
        for budget in budgets:
            row = budget.row
            span = self.calendar.span(budget.window, budget.anchor, now_seconds)
            place = (row & ROWS - 1) * row_words
            at = first + place
            epoch = row >> ROW_BITS << EPOCH_BITS | span[0]
            hold = demand.ceiling_nanousd if budget.hold == "ceiling" else demand.expected_nanousd
            checked = hold > 0 and budget.cap_nanousd is not None
            if words[at] > epoch or (checked and words[heads + place] != epoch):
                if checked:
                    needs.append(Need(row, span[0], hold))
                continue
            if words[at] == epoch:
                words[at + COUNT] += hold
            else:  # the epoch last: who dies before it has changed nothing
                words[at + SPENT] = 0
                words[at + COUNT] = hold
                words[at] = epoch
            parts.append((at, epoch, hold, _BUDGET, NO_LIMIT, (budget, span)))
        return needs

    def _judge(self, parts: list[Part], now_seconds: float, extra: int) -> Taken | Refused | NotReady:
        """Whether all of `parts` fit; `extra` is 1 if they have not been announced, otherwise 0."""
        table, words, buffer = self._table, self._words, self._table.buffer
        offset = self._offset
        width = words[CLAIMED]
        sums, bounds = table.sums[width], table.bounds[width]
        refusals: list[Refused] = []
        needs: list[Need] = []
        budgets: list[Counted] = []
        for at, epoch, quantity, _, limit, spending in parts:
            head = at - offset
            if spending is None:
                # All that stands there, from whatever minute, is no less than what counts.
                if sum(bounds(buffer, head * 8 + HEAD_BYTES)) + extra * quantity > limit.amount:
                    self._judge_limit(refusals, limit, epoch, extra, quantity, now_seconds)
                continue
            committed, granted = self._committed(head, epoch, sums(buffer, head * 8 + HEAD_BYTES))
            committed += extra * quantity
            budget, span = spending
            budgets.append(Counted(budget, span, committed))
            if quantity and budget.cap_nanousd is not None:
                if committed > budget.cap_nanousd:
                    refusals.append(refused_budget(budget, span, committed - quantity, quantity, now_seconds))
                elif committed > granted:
                    needs.append(Need(budget.row, span.start, committed))
        if refusals:
            return max(refusals, key=how_long)
        return NotReady(needs) if needs else Taken(parts, budgets)

    def _committed(self, head: int, epoch: int, cells: tuple[int, ...]) -> tuple[int, int]:
        """What stands in a budget's row, and its allowance: -1 if the row is not in this window."""
        words = self._words
        committed = 0
        numbers = iter(cells)
        for begun, count in zip(numbers, numbers, strict=True):
            if begun == epoch:
                committed += count
        # After the cells: what is folded into the base stands in both before it leaves its cell.
        self._fence()
        # The allowance first: of what another machine has spent both rise together.
        granted = words[head + GRANTED]
        base = words[head + BASE]
        return (committed + base, granted) if words[head] == epoch else (committed, -1)

    def _judge_limit(
        self, refusals: list[Refused], limit: Limit, epoch: int, extra: int, quantity: int, now_seconds: float
    ) -> None:
        cells = self._table.row_cells(limit.row)
        if limit.what == "parallel":
            used, before = sum_in(cells, epoch), 0
        else:
            used, before = minutes_in(cells, epoch)
        used += (extra - 1) * quantity
        if rate_of(used, before, now_seconds) + quantity > limit.amount:
            refusals.append(refused_limit(limit, used, before, quantity, now_seconds))
