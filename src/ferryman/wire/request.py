"""The head fields of a request body."""

from __future__ import annotations

import msgspec

from ferryman.model import Call
from ferryman.wire.usage import UNREADABLE

_decode = msgspec.json.Decoder(Call).decode


def read_call(body: bytes | bytearray) -> Call:
    """The fields of `body` that we look at; an empty `Call` when it isn't an object that holds them.

    What is malformed goes upstream as it came: its answer, not ours, is the one clients know.
    """
    try:
        return _decode(body)
    except UNREADABLE:
        return Call()
