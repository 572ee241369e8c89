"""What a call is expected to cost, of the most that it can cost: learned from calls of its kind.

Budgets with `hold: expected` hold that instead of the ceiling, which is far away from what calls cost: it
counts each byte as a token written to the cache for an hour, and every token of `max_tokens`.
"""

from __future__ import annotations

START_SHARE = 0.15
"""Of a kind that has not been seen: above what 99 of 100 simulated calls cost, cold ones included; see
`Shares`."""

FLOOR_SHARE = 0.005
"""What 95 of 100 simulated calls cost, at least. Many calls that cost next to nothing, such as refused ones,
must not let the next hundred in for nothing."""

GAIN = 0.1
"""How much of a new call goes into what is known: it is forgotten by half within seven calls. With 0.05 or
0.2 the simulation comes to the same within a tenth."""

SPREADS = 2.0
"""So many mean deviations above the mean are held. With 1 some 2.8 times of what calls cost is held and 13 %
cost more than held; with 2 it is 4.2 times and 11 %; with 3 it is 5.5 times and 8 %."""

MAX_KINDS = 4_096
"""Pairs of a model and a caller that are remembered, some 250 bytes each. When there are more, those that
came first are forgotten: they start anew, with a hold that is rather too high."""


class Shares:
    """The share of the ceiling that calls of a kind have cost. One for each worker.

    A kind is a model and a caller: the mean share and the mean deviation from it are kept, exponentially
    weighted, and their sum is held.

    Figures, from a simulation of 20,000 calls as Claude Code makes them (sessions of 1 to 400 turns that grow
    to 160,000 tokens, half of them cold, 2 % of turns with a lost cache, one call in eight a small one;
    prices of Claude Opus 5.5, `max_tokens` 32,000): calls cost 1.1 % of their ceiling in the median, 8 % at
    the 90th percentile, 13 % at the 99th. The ceilings came to 67 times of what was spent, the holds to 4.2
    times. 11 % of the calls cost more than held, 11 % of the money was not held beforehand, and no 200 calls
    in a row together cost more than was held for them; with Claude Haiku 4.5 it is 8 %. Worst is 200
    sessions that begin at once, all cold, after warm calls have been learned from: they cost 1.5 times what
    was held for them in the median, and 5.4 times at most.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<Shares of {len(self._kinds)} kinds>"

    def expected(self, model: str, caller: str, ceiling_nanousd: int) -> int:
        """What to hold for a call that costs at most `ceiling_nanousd`; never more, and 0 only of 0."""
        kind = self._kinds.get((model, caller))
        if kind is None:
            share = START_SHARE
        else:
            share = kind[0] + SPREADS * kind[1]
            share = FLOOR_SHARE if share < FLOOR_SHARE else min(share, 1.0)
        return min(ceiling_nanousd, int(ceiling_nanousd * share) + 1)

    def learn(self, model: str, caller: str, ceiling_nanousd: int, actual_nanousd: int) -> None:
        """A call has ended; with a ceiling of 0 there is nothing to learn."""
        if ceiling_nanousd <= 0:
            return
        share = min(1.0, max(0.0, actual_nanousd / ceiling_nanousd))
        kinds = self._kinds
        kind = kinds.get((model, caller))
        if kind is None:
            if len(kinds) >= MAX_KINDS:
                del kinds[next(iter(kinds))]
            mean, spread = START_SHARE, 0.0
        else:
            mean, spread = kind
        off = share - mean
        kinds[model, caller] = (mean + GAIN * off, spread + GAIN * (abs(off) - spread))
