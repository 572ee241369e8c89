"""Counts tokens by a rule that a reader can check by hand. Pure.

The rule: a token is four bytes of UTF-8, rounded up for each text block; a message costs four more
for its frame; an image costs 1,568, whatever its size; any other block and each tool counts the bytes
of its compact JSON, `cache_control` left out; tools with `defer_loading` cost nothing. Real counts
differ, but grow in the same way.

What is cached follows from the request alone, for the simulator remembers nothing between requests:
the prompt up to the last `cache_control` is cached. Of that, what stands before the last assistant
message was there in the request before and is read; the rest is created, each part for as long as the
`cache_control` that closes it says (5m unless `ttl` is 1h). There is no smallest size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ferryman.simulator.validate import Block, MessageRequest

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1_568  # what the largest image costs (platform documentation, vision)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The tokens of a prompt, divided as they are billed. They add up to `total`."""

    input_tokens: int
    created_5m_tokens: int
    created_1h_tokens: int
    read_tokens: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.input_tokens + self.created_5m_tokens + self.created_1h_tokens + self.read_tokens


@dataclass(frozen=True, slots=True)
class _Piece:
    tokens: int
    ttl: str | None  # of the cache_control on it


def text_tokens(text: str) -> int:
    """The tokens of a text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def block_tokens(block: Block) -> int:
    """The tokens of a content block or a tool."""
    if block.get("type") == "text":
        return text_tokens(block["text"])
    if block.get("type") == "image":
        return TOKENS_PER_IMAGE
    bare = {name: value for name, value in block.items() if name != "cache_control"}
    return -(-len(msgspec.json.encode(bare)) // BYTES_PER_TOKEN)


def prompt_tokens(request: MessageRequest) -> PromptTokens:
    """Count a request's prompt: tools, system, messages, in this order, as the cache sees them."""
    pieces = list(_pieces(request))
    if request.extra.get("cache_control") and pieces:  # automatic caching: up to the last block
        pieces[-1] = _Piece(pieces[-1].tokens, _ttl(request.extra["cache_control"]))
    cached = max((index + 1 for index, piece in enumerate(pieces) if piece.ttl), default=0)
    known = min(cached, _before_last_answer(request))
    created = {"5m": 0, "1h": 0}
    waiting = 0
    for piece in pieces[known:cached]:
        waiting += piece.tokens
        if piece.ttl:
            created[piece.ttl] += waiting
            waiting = 0
    return PromptTokens(
        input_tokens=sum(piece.tokens for piece in pieces[cached:]),
        created_5m_tokens=created["5m"],
        created_1h_tokens=created["1h"],
        read_tokens=sum(piece.tokens for piece in pieces[:known]),
    )


def _pieces(request: MessageRequest) -> Iterator[_Piece]:
    for tool in request.tools:
        yield _piece(tool, 0) if not tool.get("defer_loading") else _Piece(0, None)
    for block in request.system:
        yield _piece(block, 0)
    for turn in request.turns:
        frame = TOKENS_PER_MESSAGE
        for block in turn.blocks:
            yield _piece(block, frame)
            frame = 0


def _piece(block: Block, frame_tokens: int) -> _Piece:
    return _Piece(block_tokens(block) + frame_tokens, _ttl(block.get("cache_control")))


def _ttl(cache_control: object) -> str | None:
    if not isinstance(cache_control, dict):
        return None
    return "1h" if cache_control.get("ttl") == "1h" else "5m"


def _before_last_answer(request: MessageRequest) -> int:
    """How many pieces stand before the last assistant message; 0 when there is none."""
    count = len(request.tools) + len(request.system)
    found = 0
    for turn in request.turns:
        if turn.role == "assistant":
            found = count
        count += len(turn.blocks)
    return found
