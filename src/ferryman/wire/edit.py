"""Edits of a JSON object that change one of its members and leave every other byte as it came.

msgspec has to say first that the bytes are JSON, and how long each value is: it walks through values at
the speed of C, however they are nested. Only keys, colons and commas are left to be looked at here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from ferryman.errors import InvalidRequest

MAX_MEMBERS = 1_000
"""Top-level fields of a body that is looked at this closely; the Messages API knows about twenty. Each
costs about a microsecond, in which nobody else is served."""

_KEY = re.compile(rb'[ \t\r\n]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*:[ \t\r\n]*')
_COMMA = re.compile(rb"[ \t\r\n]*[,}]")
_BETWEEN = re.compile(rb"[ \t\r\n]*,?[ \t\r\n]*")
_OPENING = re.compile(rb"[ \t\r\n]*\{")

_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Member(NamedTuple):
    """One member of an object; positions are offsets in its bytes.

    Attributes:
        name: the key, without escapes.
        start: of the key's first quote.
        value_start, end: of the value, white space around it excluded.
    """

    name: str
    start: int
    value_start: int
    end: int


class _Key:
    """A key that equals no other, so that a dict keeps the members of a name that stands twice."""

    __slots__ = ()


def members(body: bytes | bytearray) -> list[Member]:
    """The members of the JSON object `body`, in order; a name may stand more than once.

    Raises:
        msgspec.DecodeError: it is no JSON, or no object.
        UnicodeDecodeError: a key is not UTF-8.
        RecursionError: it is nested more deeply than msgspec goes.
        InvalidRequest: it has more than `MAX_MEMBERS` members.
    """
    names: list[str] = []

    def distinct(_type: type, name: str) -> _Key:
        if len(names) == MAX_MEMBERS:
            raise InvalidRequest(f"The request body has more than {MAX_MEMBERS} top-level fields.")
        names.append(name)
        return _Key()

    values = msgspec.json.decode(body, type=dict[_Key, msgspec.Raw], dec_hook=distinct).values()
    found: list[Member] = []
    at = _end_of(_OPENING, body, 0)
    for name, value in zip(names, values, strict=True):
        key = _KEY.match(body, at)
        assert key is not None  # noqa: S101  # msgspec has seen it
        end = key.end() + len(memoryview(value))
        found.append(Member(name, key.start(1), key.end(), end))
        at = _end_of(_COMMA, body, end)
    return found


def elements(body: bytes | bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """Where the elements of the JSON array from `start` to `end` stand, white space around them excluded.

    Raises:
        msgspec.DecodeError: there is no array.
        RecursionError: it is nested more deeply than msgspec goes.
    """
    found: list[tuple[int, int]] = []
    at = start + 1
    for value in _decode_elements(body[start:end]):
        space = _BETWEEN.match(body, at)
        assert space is not None  # noqa: S101  # it may be empty
        at = space.end() + len(memoryview(value))
        found.append((space.end(), at))
    return found


def without_member(body: bytes | bytearray, name: str) -> bytes | bytearray:
    """`body`, a JSON object, without its member `name`: one slice is cut, all other bytes stay.

    With the member goes the comma before it, or the one behind it if it is the first, and the white
    space between that comma and the member. A body that has no such member is returned as it is.

    Raises:
        InvalidRequest: the member stands more than once, or as `members` says.
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: as `members` says.
    """
    found = members(body)
    positions = [index for index, member in enumerate(found) if member.name == name]
    if not positions:
        return body
    if len(positions) > 1:
        raise twice(name)
    (index,) = positions
    member = found[index]
    if index > 0:
        start, end = _end_of(_COMMA, body, found[index - 1].end) - 1, member.end
    elif len(found) > 1:
        start, end = member.start, found[1].start
    else:
        start, end = _end_of(_OPENING, body, 0), _end_of(_COMMA, body, member.end) - 1
    return body[:start] + body[end:]


def twice(name: str) -> InvalidRequest:
    """The error for a field that stands twice: two readers could take two different ones."""
    return InvalidRequest(f"`{name}` stands more than once in the request body; leave one.")


def _end_of(pattern: re.Pattern[bytes], body: bytes | bytearray, at: int) -> int:
    found = pattern.match(body, at)
    assert found is not None  # noqa: S101  # msgspec has seen it
    return found.end()
