"""How many tokens a call is expected to count, until its answer tells: for limits of tokens a minute."""

from __future__ import annotations

import msgspec

KEPT = 10_000
"""Keys and models that are told apart; the longest unused makes room. Of 200 bytes each: 2 MB."""

TOKENS_PER_BYTE = 0.25
"""Before anything is known: English text has about 4 bytes a token."""

OUTPUT_TOKENS = 1_024
"""Before anything is known, where the call allows more."""

WEIGHT = 0.25
"""Of the latest answer in the average: after eight others a tenth of an old habit is left."""

MARGIN = 2
"""Times the average output is reserved: half of all calls are above their average."""


class _Seen(msgspec.Struct, gc=False):
    tokens_per_byte: float
    output_tokens: float


class Expectations:
    """What calls of each key and model have counted so far."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    def __repr__(self) -> str:
        return f"<Expectations of {len(self._seen)}>"

    def tokens(self, key_id: str, model: str, body_bytes: int, max_tokens: int | None) -> tuple[int, int]:
        """Input and output tokens that a call is expected to count; never more output than it allows.

        What it asks for may be any number: with a negative one it would give others room.
        """
        if max_tokens is not None and max_tokens < 0:
            max_tokens = 0
        seen = self._seen.get((key_id, model))
        if seen is None:
            return int(body_bytes * TOKENS_PER_BYTE), min(max_tokens or OUTPUT_TOKENS, OUTPUT_TOKENS)
        output = int(seen.output_tokens * MARGIN) + 1
        return int(body_bytes * seen.tokens_per_byte), output if max_tokens is None else min(
            output, max_tokens
        )

    def learn(self, key_id: str, model: str, body_bytes: int, input_tokens: int, output_tokens: int) -> None:
        """Take note of what a call has counted."""
        per_byte = input_tokens / body_bytes if body_bytes else TOKENS_PER_BYTE
        seen = self._seen.pop((key_id, model), None)
        if seen is None:
            seen = _Seen(per_byte, output_tokens)
            if len(self._seen) >= KEPT:
                del self._seen[next(iter(self._seen))]
        else:
            seen.tokens_per_byte += WEIGHT * (per_byte - seen.tokens_per_byte)
            seen.output_tokens += WEIGHT * (output_tokens - seen.output_tokens)
        self._seen[key_id, model] = seen
