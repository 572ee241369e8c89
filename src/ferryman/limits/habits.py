"""What a call is expected to cost and to count, learned from calls of its kind; until its answer tells.

Budgets with `hold: expected` hold that instead of the ceiling, which is far away from what calls cost: it
counts each byte as a token written to the cache for an hour, and every token of `max_tokens`. Limits of
tokens a minute reserve what such calls have counted.
"""

from __future__ import annotations

from typing import Final

START_SHARE: Final = 0.15
"""Of a kind that has not been seen: above what 99 of 100 simulated calls cost, cold ones included; see
`Habit`."""

FLOOR_SHARE: Final = 0.005
"""What 95 of 100 simulated calls cost, at least. Many calls that cost next to nothing, such as refused ones,
must not let the next hundred in for nothing."""

GAIN: Final = 0.1
"""How much of a new call's cost goes into what is known: it is forgotten by half within seven calls. With
0.05 or 0.2 the simulation comes to the same within a tenth."""

SPREADS: Final = 2.0
"""So many mean deviations above the mean are held. With 1 some 2.8 times of what calls cost is held and 13 %
cost more than held; with 2 it is 4.2 times and 11 %; with 3 it is 5.5 times and 8 %."""

TOKENS_PER_BYTE: Final = 0.25
"""Before anything is known: English text has about 4 bytes a token."""

OUTPUT_TOKENS: Final = 1_024
"""Before anything is known, where the call allows more."""

WEIGHT: Final = 0.25
"""Of the latest answer's tokens in their average: after eight others a tenth of an old habit is left."""

MARGIN: Final = 2
"""Times the average output is reserved: half of all calls are above their average."""

MAX_KINDS: Final = 10_000
"""Pairs of a caller and a model that are remembered, some 300 bytes each: 3 MB. When there are more, those
that came first are forgotten: they start anew, with a hold that is rather too high."""


class Habit:
    """What calls of a kind, a caller and a model, have cost of their ceiling, and have counted.

    Of the cost the mean share and the mean deviation from it are kept, exponentially weighted, and their sum
    is held.

    Figures, from a simulation of 20,000 calls as Claude Code makes them (sessions of 1 to 400 turns that grow
    to 160,000 tokens, half of them cold, 2 % of turns with a lost cache, one call in eight a small one;
    prices of Claude Opus 5.5, `max_tokens` 32,000): calls cost 1.1 % of their ceiling in the median, 8 % at
    the 90th percentile, 13 % at the 99th. The ceilings came to 67 times of what was spent, the holds to 4.2
    times. 11 % of the calls cost more than held, 11 % of the money was not held beforehand, and no 200 calls
    in a row together cost more than was held for them; with Claude Haiku 4.5 it is 8 %. Worst is 200
    sessions that begin at once, all cold, after warm calls have been learned from: they cost 1.5 times what
    was held for them in the median, and 5.4 times at most.
    """

    __slots__ = ("_counted", "_mean", "_output_tokens", "_priced", "_spread", "_tokens_per_byte")

    def __init__(self) -> None:
        self._priced = self._counted = False
        self._mean = START_SHARE
        self._spread = 0.0
        self._tokens_per_byte = TOKENS_PER_BYTE
        self._output_tokens = 0.0

    def __repr__(self) -> str:
        return f"<Habit of {self._mean:.3f} ± {self._spread:.3f} of the ceiling>"

    def nanousd(self, ceiling_nanousd: int) -> int:
        """What to hold for a call that costs at most `ceiling_nanousd`; never more, and 0 only of 0."""
        share = START_SHARE
        if self._priced:
            share = self._mean + SPREADS * self._spread
            if share < FLOOR_SHARE:
                share = FLOOR_SHARE
            elif share > 1.0:
                share = 1.0
        held = int(ceiling_nanousd * share) + 1
        return min(ceiling_nanousd, held)

    def learn_cost(self, ceiling_nanousd: int, actual_nanousd: int) -> None:
        """A call has ended; with a ceiling of 0 there is nothing to learn."""
        if ceiling_nanousd <= 0:
            return
        share = actual_nanousd / ceiling_nanousd
        share = min(share, 1.0)
        self._priced = True
        off = share - self._mean
        self._mean += GAIN * off
        self._spread += GAIN * ((off if off > 0.0 else -off) - self._spread)

    def input_tokens(self, body_bytes: int) -> int:
        """How many a call with a body of this size is expected to count.

        At least one, as of output: what wants nothing of a limit is not counted by it afterwards either.
        """
        expected = int(body_bytes * self._tokens_per_byte)
        return expected if expected > 0 else 1

    def output_tokens(self, max_tokens: int | None) -> int:
        """How many a call is expected to count; never more than the `max_tokens` that it allows.

        That may be any number: with a negative one it would give others room.
        """
        expected = int(self._output_tokens * MARGIN) + 1 if self._counted else OUTPUT_TOKENS
        if max_tokens is None or expected < max_tokens:
            return expected
        return max_tokens if max_tokens > 0 else 1

    def learn_tokens(self, body_bytes: int, input_tokens: int, output_tokens: int) -> None:
        """Take note of what a call has counted."""
        per_byte = input_tokens / body_bytes if body_bytes else TOKENS_PER_BYTE
        if self._counted:
            self._tokens_per_byte += WEIGHT * (per_byte - self._tokens_per_byte)
            self._output_tokens += WEIGHT * (output_tokens - self._output_tokens)
        else:
            self._counted = True
            self._tokens_per_byte, self._output_tokens = per_byte, float(output_tokens)


class Habits:
    """Those of each caller and model. One for each worker."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Habit] = {}

    def __repr__(self) -> str:
        return f"<Habits of {len(self._kinds)} kinds>"

    def of(self, caller: str, model: str) -> Habit:
        """The habit of this kind."""
        kinds = self._kinds
        habit = kinds.get((caller, model))
        if habit is None:
            if len(kinds) >= MAX_KINDS:
                del kinds[next(iter(kinds))]
            habit = kinds[caller, model] = Habit()
        return habit
