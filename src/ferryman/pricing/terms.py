"""What a cost is computed from, beside usage and prices.

Apart from who computes it, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ferryman.model import CacheCreation, Refusal


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What the price depends on, beside usage and model.

    Attributes:
        at: when the exchange began (UTC): the price in force then counts.
        batch: it is a request of a batch.
        estimated: some counts of the usage are guesses.
        refusal: the answer was refused before it had any output.
        declined: models that handed over to a fallback → the category of their refusal, by the `fallback`
            blocks of the answer; `None` if nobody has looked at them. What is not in it is billed.
    """

    at: datetime
    batch: bool = False
    estimated: bool = False
    refusal: Refusal | None = None
    declined: dict[str, str | None] | None = None


class Iteration(msgspec.Struct, gc=False):
    """An entry of `iterations`. Source: anthropic 2.12.0, types/beta/beta_iterations_usage.py."""

    type: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
