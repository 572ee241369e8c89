"""The head fields of a request body, which may be compressed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from ferryman.errors import InvalidRequest
from ferryman.model import Call
from ferryman.wire.edit import members, twice
from ferryman.wire.usage import UNREADABLE

MAX_METADATA_BYTES = 65_536
"""Of `litellm_metadata`; it is kept as long as the exchange lives."""

MAX_USER_ID = 2_000
"""Characters kept of `metadata.user_id`, for the same reason; Claude Code's have about 200."""


class _Once:
    """A field that may be set once.

    msgspec sets the field of a dataclass for every key that names it, so a key that stands twice is
    noticed on the way, however it is spelled; to look for it in all bytes would double the cost of reading.
    """

    __slots__ = ("_kept", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._kept = f"its_{name}"

    def __set__(self, head: object, value: object) -> None:
        if getattr(head, self._kept) is not UNSET:
            raise twice(self._name)
        setattr(head, self._kept, value)


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


class _Kept:
    """What stands in the fields that may be set once; `UNSET` where no key named them."""

    its_model: str | UnsetType | None = UNSET
    its_metadata: _Metadata | UnsetType | None = UNSET
    its_litellm_metadata: msgspec.Raw | UnsetType = UNSET


@dataclass(init=False, repr=False, eq=False)
class _Head(_Kept):
    model: str | None = _Once("model")  # type: ignore[assignment]
    stream: bool | None = None
    max_tokens: int | None = None
    metadata: _Metadata | None = _Once("metadata")  # type: ignore[assignment]
    litellm_metadata: msgspec.Raw = _Once("litellm_metadata")  # type: ignore[assignment]


_decode = msgspec.json.Decoder(_Head).decode
_DECODERS: dict[str, Callable[[bytes | bytearray], object]] = {
    "model": msgspec.json.Decoder(str | None).decode,
    "stream": msgspec.json.Decoder(bool | None).decode,
    "max_tokens": msgspec.json.Decoder(int | None).decode,
    "metadata": msgspec.json.Decoder(_Metadata | None).decode,
    "litellm_metadata": msgspec.Raw,
}
_NOTHING = Call()


def read_call(body: bytes | bytearray) -> Call:
    """The fields of `body` that we look at; an empty `Call` when it isn't a JSON object.

    What is malformed goes upstream as it came: its answer, not ours, is the one clients know. A field of
    a type that we don't know is left out, and costs none of the others.

    Raises:
        InvalidRequest: `model`, `metadata` or `litellm_metadata` stands twice, or the last is too large.
    """
    try:
        head = _decode(body)
    except (msgspec.ValidationError, RecursionError):
        head = _salvaged(body)
    except UNREADABLE:
        return _NOTHING
    model = head.its_model
    if model is UNSET:
        model = None
    if head.its_metadata is UNSET and head.its_litellm_metadata is UNSET:
        return Call(model, head.stream, head.max_tokens)
    metadata = head.its_metadata or None
    user_id = metadata and metadata.user_id and metadata.user_id[:MAX_USER_ID]
    return Call(model, head.stream, head.max_tokens, user_id, _ours(head.its_litellm_metadata))


def _ours(raw: msgspec.Raw | UnsetType) -> bytes | None:
    if raw is UNSET:
        return None
    if len(memoryview(raw)) > MAX_METADATA_BYTES:
        raise InvalidRequest(f"`litellm_metadata` is larger than {MAX_METADATA_BYTES} bytes; shorten it.")
    return bytes(raw)  # a `Raw` would hold the whole body


def _salvaged(body: bytes | bytearray) -> _Head:
    """The fields of a body in which one has a type that we don't know."""
    head = _Head()
    try:
        every = members(body)
    except UNREADABLE:
        return head
    for name, _, start, end in every:
        if (decode := _DECODERS.get(name)) is not None:
            try:
                value = decode(body[start:end])
            except UNREADABLE:
                value = None
            setattr(head, name, value)
    return head


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
