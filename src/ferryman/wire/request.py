"""The head fields of a request body, which may be compressed."""

from __future__ import annotations

import zlib

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


def decoded(body: bytes | bytearray, coding: bytes, limit_bytes: int) -> bytes | None:
    """`body` without its content coding.

    Args:
        body: as it came.
        coding: the value of `Content-Encoding`.
        limit_bytes: how long the result may become.

    Returns:
        At most `limit_bytes + 1` bytes: a longer result is cut there. `None` for what cannot be decoded:
        an unknown coding, several of them, or damaged data.
    """
    bits = _WINDOW_BITS.get(coding.strip().lower())
    if bits is None:
        return None
    decoder = zlib.decompressobj(wbits=bits)
    try:
        result = decoder.decompress(body, limit_bytes + 1)
    except zlib.error:
        return None
    return result if decoder.eof or len(result) > limit_bytes else None


_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's numbers for the formats of RFC 9110
