"""The names of models in a request: where they stand, and other ones in their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ferryman.wire.edit import elements, members, twice
from ferryman.wire.splice import Splice
from ferryman.wire.usage import UNREADABLE

MODEL = "model"
"""In `x-ferryman-mutations`."""

_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def model_splice(body: bytes | bytearray, name: str) -> Splice:
    """The change that puts `name` in the place of the model of `body`, which has one.

    Raises:
        InvalidRequest: `model` stands twice, or there are more fields than are looked at.
        KeyError: there is none.
    """
    start, end = _place_of(body, 0, len(body), MODEL)
    return Splice(start, end, _encode(name), MODEL)


def batch_splices(body: bytes | bytearray, names: Mapping[str, str]) -> Iterator[Splice | None]:
    """The changes that put other names in the places of models of a batch.

    One is found after the other, so that whoever asks can do something else between two of them: each takes
    some 50 microseconds, and the largest batch has 100,000 requests.

    Args:
        body: the JSON of the creation of a batch.
        names: the model that is asked for → what is put in its place; others stay.

    Yields:
        A change for each request of the batch, `None` for one that stays as it is.

    Raises:
        InvalidRequest: `requests`, or `params` or `model` of a request, stands twice.
    """
    for start, end in elements(body, *_place_of(body, 0, len(body), "requests")):
        # What cannot be read goes on as it came: the upstream's answer is the one that clients know.
        try:
            yield _renamed(body, *_place_of(body, start, end, "params"), names)
        except (*UNREADABLE, KeyError):
            yield None


def _renamed(body: bytes | bytearray, start: int, end: int, names: Mapping[str, str]) -> Splice:
    """The change of the model of an object; KeyError if it stays."""
    at, to = _place_of(body, start, end, MODEL)
    return Splice(at, to, _encode(names[_decode_text(body[at:to])]), MODEL)


def _place_of(body: bytes | bytearray, start: int, end: int, name: str) -> tuple[int, int]:
    """Where the value of the member `name` stands, of the object from `start` to `end`."""
    whole = start == 0 and end == len(body)
    found = [member for member in members(body if whole else body[start:end]) if member.name == name]
    if len(found) > 1:
        raise twice(name)
    if not found:
        raise KeyError(name)
    return start + found[0].value_start, start + found[0].end
