"""Who declined to answer, and why: it decides what an answer costs.

Source: anthropic 2.12.0, types/beta/beta_fallback_block.py and beta_refusal_stop_details.py.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ferryman.model import Refusal
from ferryman.wire.usage import UNREADABLE, readable

REFUSAL: Final = "refusal"

MAX_DECLINED = 32
"""Models that handed over in one answer; more are not looked at, and are billed."""

MAX_NAME_CHARACTERS = 200
"""Of a model or category that is kept; the names that are known have at most 40."""

FALLBACK = "fallback"
"""The type of the block that stands where a model handed over: it is no output."""


class _Trigger(msgspec.Struct, gc=False):
    category: str | None = None


class _Model(msgspec.Struct, gc=False, rename={"name": "model"}):
    name: str = ""


class _Block(msgspec.Struct, gc=False, rename={"came_from": "from"}):
    type: str | None = None
    came_from: _Model | None = None
    trigger: _Trigger | None = None


class _Started(msgspec.Struct, gc=False):
    content_block: _Block | None = None


class _StopDetails(msgspec.Struct, gc=False):
    category: str | None = None


class _Refused(msgspec.Struct, gc=False):
    content: list[_Block] | None = None
    stop_details: _StopDetails | None = None


class _Content(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


_decode_started = msgspec.json.Decoder(_Started).decode
_decode_refused = msgspec.json.Decoder(_Refused).decode
_decode_content = msgspec.json.Decoder(_Content).decode


def refusal_in(body: bytes | bytearray) -> Refusal | None:
    """The refusal that is the JSON answer `body`, whose `stop_reason` is one; `None` if it has any output."""
    try:
        found = readable(_decode_refused, body)
    except UNREADABLE:
        return None
    if any(block.type != FALLBACK for block in found.content or ()):
        return None
    return refusal_of(found.stop_details.category if found.stop_details is not None else None)


def refusal_of(category: str | None) -> Refusal:
    """A refusal with a category, in bounds."""
    return Refusal(category[:MAX_NAME_CHARACTERS] if category is not None else None)


def declined_in(body: bytes | bytearray) -> dict[str, str | None] | None:
    """The models that declined on the way to the JSON answer `body`, with the categories.

    `None` if it cannot be read.
    """
    try:
        blocks = readable(_decode_content, body).content or []
    except UNREADABLE:
        return None
    declined: dict[str, str | None] = {}
    for block in blocks:
        _note(declined, block)
    return declined


def note_declined(declined: dict[str, str | None], data: bytes) -> bool:
    """Add to `declined` what the `content_block_start` event with this `data` tells.

    Returns:
        Whether it begins a block that stands for a model that handed over.
    """
    try:
        block = readable(_decode_started, data).content_block
    except UNREADABLE:
        return False
    if block is None:
        return False
    _note(declined, block)
    return block.type == FALLBACK


def _note(declined: dict[str, str | None], block: _Block) -> None:
    if block.type == FALLBACK and block.came_from is not None and len(declined) < MAX_DECLINED:
        category = block.trigger.category if block.trigger is not None else None
        name = block.came_from.name[:MAX_NAME_CHARACTERS]
        declined[name] = category[:MAX_NAME_CHARACTERS] if category is not None else None
