"""The head fields of a request body, which may be compressed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.model import ABSENT, Call, Metadata
from ferryman.wire.edit import members
from ferryman.wire.once import Counted
from ferryman.wire.usage import UNREADABLE

MAX_METADATA_BYTES = 65_536
"""Of `litellm_metadata`; it is kept as long as the exchange lives."""


_decode: Final = msgspec.json.Decoder(Counted).decode
_DECODERS: dict[str, Callable[[bytes | bytearray], object]] = {
    "model": msgspec.json.Decoder(str | None).decode,
    "stream": msgspec.json.Decoder(bool | None).decode,
    "max_tokens": msgspec.json.Decoder(int | None).decode,
    "metadata": msgspec.json.Decoder(Metadata | None).decode,
    "litellm_metadata": msgspec.Raw,
}
_NOTHING = Call()


def read_call(body: bytes | bytearray) -> Call:
    """The fields of `body` that we look at; an empty `Call` when it isn't a JSON object.

    What is malformed goes upstream as it came: its answer, not ours, is the one clients know. A field of
    a type that we don't know is left out, and costs none of the others.

    Raises:
        InvalidRequest: `model`, `max_tokens`, `metadata` or `litellm_metadata` stands twice, or the last is
            too large.
    """
    try:
        call = Call(**_decode(body).__dict__)
    except (msgspec.ValidationError, RecursionError):
        call = _salvaged(body)
    except UNREADABLE:
        return _NOTHING
    return call if call.litellm_metadata is ABSENT else _with_ours(call)


def _with_ours(call: Call) -> Call:
    length = len(memoryview(call.litellm_metadata))
    if length > MAX_METADATA_BYTES:
        raise InvalidRequest(f"`litellm_metadata` is larger than {MAX_METADATA_BYTES} bytes; shorten it.")
    # What msgspec has found holds the whole body.
    return msgspec.structs.replace(call, litellm_metadata=call.litellm_metadata.copy())


def _salvaged(body: bytes | bytearray) -> Call:
    """The fields of a body in which one has a type that we don't know."""
    counted = Counted()
    try:
        every = members(body)
    except UNREADABLE:
        return _NOTHING
    for name, _, start, end in every:
        if (decode := _DECODERS.get(name)) is not None:
            try:
                value = decode(body[start:end])
            except UNREADABLE:
                value = ABSENT if name == "litellm_metadata" else None
            setattr(counted, name, value)
    return Call(**counted.__dict__)


def decoded(body: bytes | bytearray, coding: bytes, limit_bytes: int) -> bytes | None:
    """`body` without its content coding.

    Args:
        body: as it came.
        coding: the value of `Content-Encoding`.
        limit_bytes: how long the result may become.

    Returns:
        At most `limit_bytes + 1` bytes: a longer result is cut there. `None` for what cannot be decoded:
        an unknown coding, several of them, damaged data, or more behind the end.
    """
    bits = _WINDOW_BITS.get(coding.strip().lower())
    if bits is None:
        return None
    decoder = zlib.decompressobj(wbits=bits)
    try:
        result = decoder.decompress(body, limit_bytes + 1)
    except zlib.error:
        return None
    if len(result) > limit_bytes:
        return result
    # A reader that goes on behind the end would see more than we have.
    return result if decoder.eof and not decoder.unused_data else None


_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's numbers for the formats of RFC 9110
