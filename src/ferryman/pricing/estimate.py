"""What an interrupted stream did not tell: its output. Pure.

The input is known from `message_start`. The output's count comes with `message_delta`, behind the last
block; a stream that breaks off before has generated, and Anthropic bills, what nobody has counted.
"""

from __future__ import annotations

import msgspec

from ferryman.model import Usage

BYTES_PER_TOKEN = 3
"""Of text in UTF-8. English has about four characters to a token, and the tokenizer of Claude 4.7 and later
makes some 30 % more tokens of the same text (about-claude/pricing); a Chinese character is three bytes and
about a token. Rather too many tokens than too few: budgets count on it, and the cost is marked."""

ENVELOPE_BYTES = 115
"""Of the shortest `content_block_delta` event without its text, from `event:` to the blank line."""


def estimated_output_tokens(
    reported: int | None, delta_bytes: int, delta_events: int, max_tokens: int | None = None
) -> int:
    """Tokens that had been generated when a stream broke off.

    Text, the input of tools and thinking are in it alike, and so are the signatures of thinking that is
    not shown, which carry it encrypted.

    Args:
        reported: the last `output_tokens`; `message_start` has a small number.
        delta_bytes: of all `content_block_delta` events, whole.
        delta_events: how many there were; each has at least one token in it.
        max_tokens: the request's, beyond which nothing is generated.
    """
    text_bytes = max(0, delta_bytes - delta_events * ENVELOPE_BYTES)
    guess = max(delta_events, -(-text_bytes // BYTES_PER_TOKEN))
    if max_tokens is not None:
        guess = min(guess, max_tokens)
    return max(guess, reported or 0)


def estimated_usage(
    usage: Usage, delta_bytes: int, delta_events: int, max_tokens: int | None = None
) -> Usage:
    """`usage` of a stream that broke off, with an estimate of its output; see above."""
    tokens = estimated_output_tokens(usage.output_tokens, delta_bytes, delta_events, max_tokens)
    return msgspec.structs.replace(usage, output_tokens=tokens)
