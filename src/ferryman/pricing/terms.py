"""What a cost is computed from, beside usage and prices."""

from __future__ import annotations

from datetime import datetime

from ferryman.model import Refusal


class Terms:
    """What the price depends on, beside usage and model.

    Attributes:
        at: when the exchange began (UTC): the price in force then counts.
        batch: it is a request of a batch.
        estimated: some counts of the usage are guesses.
        refusal: the answer was refused before it had any output.
        declined: models that handed over to a fallback → the category of their refusal, by the `fallback`
            blocks of the answer; `None` if nobody has looked at them. What is not in it is billed.
    """

    __slots__ = ("at", "batch", "declined", "estimated", "refusal")

    def __init__(
        self,
        at: datetime,
        *,
        batch: bool = False,
        estimated: bool = False,
        refusal: Refusal | None = None,
        declined: dict[str, str | None] | None = None,
    ) -> None:
        self.at = at
        self.batch = batch
        self.estimated = estimated
        self.refusal = refusal
        self.declined = declined
