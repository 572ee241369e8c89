"""Who declined to answer, and why: it decides what an answer costs.

Source: anthropic 2.12.0, types/beta/beta_fallback_block.py and beta_refusal_stop_details.py.
"""

from __future__ import annotations

import msgspec

from ferryman.model import Refusal
from ferryman.wire.usage import UNREADABLE

REFUSAL = "refusal"

MAX_DECLINED = 32
"""Models that handed over in one answer; more are not looked at, and are billed as if nobody had declined."""


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
    content: list[msgspec.Raw] | None = None
    stop_details: _StopDetails | None = None


class _Content(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


_decode_started = msgspec.json.Decoder(_Started).decode
_decode_refused = msgspec.json.Decoder(_Refused).decode
_decode_content = msgspec.json.Decoder(_Content).decode


def refusal_in(body: bytes) -> Refusal | None:
    """The refusal that is the JSON answer `body`, whose `stop_reason` is one; `None` if it has any output."""
    try:
        found = _decode_refused(body)
    except UNREADABLE:
        return None
    if found.content:
        return None
    return Refusal(found.stop_details.category if found.stop_details is not None else None)


def declined_in(body: bytes) -> dict[str, str | None] | None:
    """The models that declined on the way to the JSON answer `body`, with the categories.

    `None` if it cannot be read.
    """
    try:
        blocks = _decode_content(body).content or []
    except UNREADABLE:
        return None
    declined: dict[str, str | None] = {}
    for block in blocks:
        _note(declined, block)
    return declined


def note_declined(declined: dict[str, str | None], data: bytes) -> None:
    """Add to `declined` what the `content_block_start` event with this `data` tells, if it does."""
    try:
        block = _decode_started(data).content_block
    except UNREADABLE:
        return
    if block is not None:
        _note(declined, block)


def _note(declined: dict[str, str | None], block: _Block) -> None:
    if block.type == "fallback" and block.came_from is not None and len(declined) < MAX_DECLINED:
        declined[block.came_from.name] = block.trigger.category if block.trigger is not None else None
