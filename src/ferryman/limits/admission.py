"""Whether an exchange may go: what it takes from limits and budgets, all or nothing, and what it gives back.

Announce, then check: a worker first adds what an exchange wants to its own cells, then reads everybody's, and
takes it back if that is too much. Of two that race for the last of something at least one sees the other:
both may be refused for a moment, and try again; never do both go.

What is in a cell, by what its row counts:

- budget: epoch is the window's start; count is what was spent since the column was claimed and what is held,
  in one word, so that nobody sees one without the other; held is how much of it is held.
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
from math import ceil, inf

import msgspec

from ferryman.limits.layout import (
    BASE,
    CELL_WORDS,
    COUNT,
    EPOCH,
    EPOCH_BITS,
    GRANTED,
    HEAD_WORDS,
    HELD,
    PREVIOUS,
    ROW_BITS,
    ROWS,
)
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar, Span

TRIES = 3
"""To be let through. After the first it is tried again only if there is room by then, so that what was in the
way had been announced by somebody who did not get it either."""

GAUGE_EPOCH = 2
"""Of what counts at once; 1 is the start of a window without end."""

MINUTE_MS = 60_000

_RATE, _TOKENS, _INPUT, _OUTPUT, _GAUGE, _BUDGET = range(6)
_KINDS = {
    "requests": _RATE, "count_tokens": _RATE, "parallel": _GAUGE,
    "tokens": _TOKENS, "input_tokens": _INPUT, "output_tokens": _OUTPUT,
}  # fmt: skip


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What an exchange wants. A limit of which it wants nothing is none for it.

    Attributes:
        requests, count_tokens, parallel: 1 or 0.
        input_tokens, output_tokens: how many it is thought to use; made right by `settle`.
        ceiling_nanousd: the most that it can cost.
        expected_nanousd: what such exchanges have cost.
    """

    requests: int = 1
    count_tokens: int = 0
    parallel: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    ceiling_nanousd: int = 0
    expected_nanousd: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input_tokens + self.output_tokens


class Counted(msgspec.Struct, frozen=True, gc=False):
    """A budget that an exchange is counted in.

    Attributes:
        span: its window.
        committed_nanousd: spent and held on this machine in it, this exchange's hold included.
    """

    budget: Budget
    span: Span
    committed_nanousd: int


_Part = tuple[int, int, int, int, Limit, tuple[Budget, Span] | None]
"""What is in a cell for an exchange: where the cell is, its epoch then, how much, the kind, and why: a limit,
or a budget with its window, which then has `_NO_LIMIT`."""

_NO_LIMIT = Limit("", 0, 0)


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What an exchange that was let through holds, to be settled once.

    Attributes:
        parts: only this module reads them.
        budgets: in the order in which they were given.
    """

    parts: list[_Part]
    budgets: list[Counted]


class Refused(msgspec.Struct, frozen=True):
    """Why an exchange is not let through; it has taken nothing.

    Attributes:
        rule: the limit or budget that is reached; of several that which stays so for longest.
        used: of it, without this exchange; of a budget what others hold included.
        wanted: by this exchange.
        amount: of the rule.
        retry_after_seconds: whole seconds until there is room if nobody else comes, at least 1; `None` if
            there never is, since the exchange wants more than the rule allows at all, or the window has no
            end.
        resets_at: Unix seconds, when nothing is used any more; `None` for never or nobody knows.
    """

    rule: Limit | Budget
    used: int
    wanted: int
    amount: int
    retry_after_seconds: int | None
    resets_at: int | None


class Need(msgspec.Struct, frozen=True):
    """What the control plane has to do before an exchange can be let through.

    Attributes:
        row: the budget's.
        start: of the window that the row has to be in.
        granted_nanousd: the allowance that the machine needs in it, at least.
    """

    row: int
    start: int
    granted_nanousd: int


class NotReady(msgspec.Struct, frozen=True):
    """An exchange cannot be let through yet; it has taken nothing."""

    needs: list[Need]


class Gate:
    """Lets exchanges through, for the worker that has this column.

    Attributes:
        calendar: in whose time zone the windows of budgets are; may be set anew.
    """

    def __init__(self, table: CounterTable, column: int, calendar: Calendar) -> None:
        self.calendar = calendar
        self._table = table
        self._column = column
        self._words = table.words
        self._first = table.cell(0, column)
        self._row_words = table.row_words

    def __repr__(self) -> str:
        return f"<Gate at column {self._column} of {self._table!r}>"

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
        tries = TRIES
        while True:
            parts: list[_Part] = []
            needs = self._announce_budgets(parts, budgets, demand, now_seconds) if budgets else None
            if needs:
                self._take_back(parts)
                return NotReady(needs)
            if limits:
                self._announce_limits(parts, limits, demand, int(now_seconds // 60))
            self._table.fence()
            verdict = self._judge(parts, now_seconds, 0)
            if type(verdict) is Taken:
                return verdict
            self._take_back(parts)
            tries -= 1
            if not tries or type(verdict) is NotReady or type(self._judge(parts, now_seconds, 1)) is Refused:
                return verdict

    def settle(self, taken: Taken, input_tokens: int, output_tokens: int, nanousd: int) -> None:
        """Give back what was held, and count what it came to. Once, when the exchange has ended."""
        words = self._words
        for at, epoch, quantity, kind, _, _ in taken.parts:
            if kind == _BUDGET:
                if words[at] == epoch:  # otherwise the window is over
                    words[at + COUNT] += nanousd - quantity
                    words[at + HELD] -= quantity
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

    def _take_back(self, parts: list[_Part]) -> None:
        words = self._words
        for at, epoch, quantity, kind, _, _ in parts:
            self._correct(at, epoch, -quantity)
            if kind == _BUDGET and words[at] == epoch:
                words[at + HELD] -= quantity

    def _correct(self, at: int, epoch: int, difference: int) -> None:
        """Count so much more, if it is still looked at; budgets and gauges have no previous epoch."""
        words = self._words
        if words[at] == epoch:
            words[at + COUNT] += difference
        elif words[at] == epoch + 1:
            words[at + PREVIOUS] += difference

    def _announce_limits(
        self, parts: list[_Part], limits: Sequence[Limit], demand: Demand, minute: int
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
        self, parts: list[_Part], budgets: Sequence[Budget], demand: Demand, now_seconds: float
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
                words[at + HELD] += hold
            else:  # the epoch last: who dies before it has changed nothing
                words[at + COUNT] = hold
                words[at + HELD] = hold
                words[at] = epoch
            parts.append((at, epoch, hold, _BUDGET, _NO_LIMIT, (budget, span)))
        return needs

    def _judge(self, parts: list[_Part], now_seconds: float, extra: int) -> Taken | Refused | NotReady:
        """Whether all of `parts` fit; `extra` is 1 if they have not been announced, otherwise 0."""
        read, offset = self._table.cells, self._column * CELL_WORDS
        passed_ms = int(now_seconds * 1_000) % MINUTE_MS
        refusals: list[Refused] = []
        needs: list[Need] = []
        budgets: list[Counted] = []
        for at, epoch, quantity, kind, limit, spending in parts:
            cells = read(at - offset)
            if spending is not None:
                budget, span = spending
                committed = sum_in(cells, epoch) + extra * quantity
                base, granted = self._head(at - offset - HEAD_WORDS, epoch)
                committed += base
                budgets.append(Counted(budget, span, committed))
                if budget.cap_nanousd is None or not quantity:
                    continue
                if committed > budget.cap_nanousd:
                    refusals.append(_refused_budget(budget, span, committed, quantity, now_seconds))
                elif committed > granted:
                    needs.append(Need(budget.row, span.start, committed))
            elif kind == _GAUGE:
                used = sum_in(cells, epoch) + extra * quantity
                if used > limit.amount:
                    refusals.append(Refused(limit, used - quantity, quantity, limit.amount, 1, None))
            else:
                used, before = minutes_in(cells, epoch)
                used += extra * quantity
                if used * MINUTE_MS + before * (MINUTE_MS - passed_ms) > limit.amount * MINUTE_MS:
                    others = used - quantity
                    refusals.append(_refused_rate(limit, others, before, quantity, now_seconds))
        if refusals:
            return max(refusals, key=_how_long)
        return NotReady(needs) if needs else Taken(parts, budgets)

    def _head(self, at: int, epoch: int) -> tuple[int, int]:
        """Base and allowance of a budget in this window; both 0 if it is not in it, so that nothing fits.

        Read after the cells: what is folded into the base stands in both before it leaves its cell.
        """
        words = self._words
        self._table.fence()
        base, granted = words[at + BASE], words[at + GRANTED]
        return (base, granted) if words[at + EPOCH] == epoch else (0, 0)


def sum_in(cells: tuple[int, ...], epoch: int) -> int:
    """What the cells of a budget or a gauge come to in an epoch."""
    total = 0
    for begun, count in zip(cells[::CELL_WORDS], cells[COUNT::CELL_WORDS], strict=True):
        if begun == epoch:
            total += count
    return total


def minutes_in(cells: tuple[int, ...], epoch: int) -> tuple[int, int]:
    """What the cells of a rate come to in the minute `epoch`, and in the one before."""
    used = before = 0
    for at in range(0, len(cells), CELL_WORDS):
        late = cells[at] - epoch
        if late == 0:
            used += cells[at + COUNT]
            before += cells[at + PREVIOUS]
        elif late == -1:
            before += cells[at + COUNT]
        elif late == 1:  # its worker has looked at the clock later
            used += cells[at + COUNT] + cells[at + PREVIOUS]
    return used, before


def rate_of(used: int, before: int, now_seconds: float) -> int:
    """The estimate of what there was within the last 60 seconds, rounded up."""
    left_ms = MINUTE_MS - int(now_seconds * 1_000) % MINUTE_MS
    return used - (-before * left_ms // MINUTE_MS)


def _refused_rate(limit: Limit, used: int, before: int, wanted: int, now_seconds: float) -> Refused:
    room = limit.amount - wanted
    passed_seconds = now_seconds % 60
    wait: int | None = None
    if room >= 0:
        if used <= room and before:  # as the last minute moves out of sight
            at_seconds = 60 * (1 - (room - used) / before)
        else:  # not before this minute becomes the last one, and moves out of sight in turn
            at_seconds = 60 + 60 * (1 - room / used) if used else passed_seconds
        wait = max(1, ceil(at_seconds - passed_seconds))
    minute = int(now_seconds // 60)
    resets_at = (minute + (2 if used else 1)) * 60
    return Refused(limit, rate_of(used, before, now_seconds), wanted, limit.amount, wait, resets_at)


def _refused_budget(budget: Budget, span: Span, committed: int, hold: int, now_seconds: float) -> Refused:
    cap = budget.cap_nanousd or 0
    wait = None
    if span.end is not None and hold <= cap:
        wait = max(1, ceil(span.end - now_seconds))
    return Refused(budget, committed - hold, hold, cap, wait, span.end)


def _how_long(refused: Refused) -> float:
    return inf if refused.retry_after_seconds is None else refused.retry_after_seconds
