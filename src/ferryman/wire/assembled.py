"""The message that an event stream has told, put together as if it had not been streamed.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming. Not for the line: it holds all of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ferryman.wire.prefix import CUT, value_in
from ferryman.wire.sse import WholeEvents, data_of


class _Block:
    """A block of the content: as it began, and the parts of its texts."""

    def __init__(self, begun: dict[str, Any]) -> None:
        self.begun = begun
        self.texts: dict[str, list[str]] = {}
        self.citations: list[object] = []
        self.over = False

    def take(self, delta: dict[str, Any]) -> None:
        """The members of a delta that are texts go on; a citation is one more."""
        for name, value in delta.items():
            if name != "type" and isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
        if "citation" in delta:
            self.citations.append(delta["citation"])

    def told(self) -> dict[str, Any]:
        """The whole block."""
        block = dict(self.begun)
        for name, parts in self.texts.items():
            joined = "".join(parts)
            if name == "partial_json":
                block["input"] = _input(joined, cut=not self.over)
            else:
                before = block.get(name)
                block[name] = (before if isinstance(before, str) else "") + joined
                if not self.over:
                    block[name] += CUT
        if self.citations:
            block["citations"] = self.citations
        return block


def message_in(events: bytes) -> tuple[dict[str, Any], bool]:
    """The message of a stream, and whether the stream had its end.

    Texts of blocks that are not over end with `CUT`. An `error` event is the message's member `error`.

    Args:
        events: the stream from its beginning on; what follows the last whole event is left out.
    """
    message: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    over = False
    for event in WholeEvents().cut(events).split(b"\n\n"):
        told = _decoded(data_of(event))
        kind = told.get("type")
        if kind == "message_start":
            message |= _members(told.get("message"))
        elif kind == "message_delta":
            message |= _members(told.get("delta"))
            message["usage"] = _members(message.get("usage")) | _members(told.get("usage"))
        elif kind == "message_stop":
            over = True
        elif kind == "error":
            message["error"] = told.get("error")
        elif isinstance(index := told.get("index"), int):
            _take(blocks, index, told)
    message["content"] = [blocks[index].told() for index in sorted(blocks)]
    return message, over


def _take(blocks: dict[int, _Block], index: int, told: dict[str, Any]) -> None:
    """Take an event about a block."""
    kind = told["type"]
    if kind == "content_block_start":
        blocks[index] = _Block(_members(told.get("content_block")))
    elif index in blocks and kind == "content_block_delta":
        blocks[index].take(_members(told.get("delta")))
    elif index in blocks and kind == "content_block_stop":
        blocks[index].over = True


def _input(text: str, *, cut: bool) -> object:
    """The input of a tool; as it came if it is no JSON.

    It may end too early though its block is over: where `max_tokens` was reached.
    """
    try:
        return value_in(text.encode(), cut=True)
    except ValueError:
        return text + CUT if cut else text


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        return _members(msgspec.json.decode(data))
    except (ValueError, RecursionError):
        return {}


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
