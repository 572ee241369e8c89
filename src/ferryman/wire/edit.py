"""Where the members of a JSON object stand, and edits of one of them that leave every other byte as it came.

msgspec has to say first that the bytes are JSON, and how long each value is: it walks through values at
the speed of C, however they are nested. Only keys, colons and commas are left to be looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.splice import Splice

MAX_MEMBERS = 1_000
"""Fields of an object that is looked at this closely; the Messages API knows about twenty at the top. Each
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


def members(body: bytes | bytearray, start: int = 0, end: int | None = None) -> list[Member]:
    """The members of a JSON object, in order; a name may stand more than once.

    Args:
        body: has the object.
        start: where it begins, with or without white space before it.
        end: behind it; `None` where `body` is nothing else.

    Raises:
        msgspec.DecodeError: it is no JSON, or no object.
        UnicodeDecodeError: a key is not UTF-8.
        RecursionError: it is nested more deeply than msgspec goes.
        InvalidRequest: it has more than `MAX_MEMBERS` members.
    """
    names: list[str] = []

    def distinct(_type: type, name: str) -> _Key:
        if len(names) == MAX_MEMBERS:
            where = "The request body" if end is None else "An object in the request body"
            raise InvalidRequest(f"{where} has more than {MAX_MEMBERS} top-level fields.")
        names.append(name)
        return _Key()

    text = body if end is None else body[start:end]
    values = msgspec.json.decode(text, type=dict[_Key, msgspec.Raw], dec_hook=distinct).values()
    found: list[Member] = []
    at = _end_of(_OPENING, body, start)
    for name, value in zip(names, values, strict=True):
        key = _KEY.match(body, at)
        assert key is not None  # noqa: S101  # msgspec has seen it
        value_end = key.end() + len(memoryview(value))
        found.append(Member(name, key.start(1), key.end(), value_end))
        at = _end_of(_COMMA, body, value_end)
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


def only(found: list[Member], name: str) -> Member | None:
    """The one of the members `found` that has this name, `None` if none has.

    Raises:
        InvalidRequest: it stands more than once.
    """
    named = [member for member in found if member.name == name]
    if len(named) > 1:
        raise twice(name)
    return named[0] if named else None


def removals(body: bytes | bytearray, found: list[Member], names: Mapping[str, str]) -> list[Splice]:
    """Cuts members out of `body`, which is an object, in one slice each; none overlaps another.

    With a member goes the comma before it, or the one behind it if none before it stays, and the white
    space between that comma and the member.

    Args:
        body: the object.
        found: its `members`.
        names: of those to go, and what names the change. One that is not there is not missed.

    Raises:
        InvalidRequest: one of them stands more than once.
    """
    cuts: list[Splice] = []
    for index, member in enumerate(found):
        if (what := names.get(member.name)) is None:
            continue
        only(found, member.name)
        start, end = member.start, member.end
        if len(cuts) < index:
            start = _end_of(_COMMA, body, found[index - 1].end) - 1
        elif index + 1 < len(found):
            end = found[index + 1].start
        else:
            start = start if index else _end_of(_OPENING, body, 0)
            end = _end_of(_COMMA, body, end) - 1
        cuts.append(Splice(start, end, b"", what))
    return cuts


def addition(body: bytes | bytearray, start: int, added: bytes, what: str, *, alone: bool) -> Splice:
    """Puts members before all others of an object.

    Args:
        body: has the object.
        start: where the object stands, white space before it included.
        added: the members as JSON, with commas between them.
        what: names the change.
        alone: the object has no other member, or those that it has are cut out of it.
    """
    at = _end_of(_OPENING, body, start)
    return Splice(at, at, added if alone else added + b",", what)


def twice(name: str) -> InvalidRequest:
    """The error for a field that stands twice: two readers could take two different ones."""
    return InvalidRequest(f"`{name}` stands more than once in the request body; leave one.")


def _end_of(pattern: re.Pattern[bytes], body: bytes | bytearray, at: int) -> int:
    found = pattern.match(body, at)
    assert found is not None  # noqa: S101  # msgspec has seen it
    return found.end()
