"""Where an entry stands among all others, as integers: by its start, and under each value to be looked for.

A place is 63 bits: the milliseconds since 1970 that begin a UUIDv7 (42 bits, until 2109), then 21 of its
random bits. So places are in the order in which exchanges began, a range of time is a range of places,
and the database needs no other index for the id, for the time, or for the order of a page. Two entries
that would have the same place are kept apart by the writer: the later one gets the next that is free.

A key is 31 bits of the hour and 32 of a hash of the value. An index by value alone would have its new
rows all over; one by hour and value has them all in the part of this hour, which stays in memory.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from datetime import UTC, datetime, timedelta
from typing import Final
from zlib import crc32

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RANDOM_BITS: Final = 21
MILLISECONDS_BITS: Final = 42
LAST_PLACE: Final = (1 << MILLISECONDS_BITS + RANDOM_BITS) - 1

ID_LENGTH: Final = 36

MAX_SHIFT = 64
"""How far from its place an entry may stand. That two have the same place happens to one in two million
pairs of the same millisecond."""

MILLISECOND: Final = 1 << RANDOM_BITS
"""Places of one millisecond."""

_HOUR: Final = 3_600_000 * MILLISECOND
_ONE = timedelta(milliseconds=1)
_unhexlify: Final = unhexlify  # as names of our own compiled code finds these at once
_unpack: Final = struct.Struct(">QH6x").unpack


def place_of(entry_id: str) -> int:
    """The place of the entry with an id that `ferryman.ids.Ids` made, from 0 to `LAST_PLACE`.

    Any other text has a place too, at the beginning of 1970.
    """
    high: int
    low: int
    try:
        # The time, then the random bits but for those of the version and of the variant; in two parts, since
        # numbers above 64 bits take three times as long.
        data = _unhexlify(entry_id.replace("-", "")) if len(entry_id) == ID_LENGTH else b""
        high, low = _unpack(data)
        place = high >> 16 << RANDOM_BITS | (high & 0xFFF) << 9 | low >> 3 & 0x1FF
    except (ValueError, struct.error):
        place = -1
    return place if 0 <= place <= LAST_PLACE else crc32(entry_id.encode("utf-8", "replace"))


def first_place(moment: datetime) -> int:
    """The first place of what began in the same millisecond as `moment`, or later; 0 before 1970."""
    return min(max((moment - EPOCH) // _ONE * MILLISECOND, 0), LAST_PLACE)


def hour_of(place: int) -> int:
    """The hours from 1970 to the start of the entry at `place`."""
    return place // _HOUR


def first_of_hour(hour: int) -> int:
    """The first place in that hour."""
    return hour * _HOUR


def key_of(hour: int, value: str) -> int:
    """The key of `value` (without surrogates) in that hour; another value may have the same."""
    return hour << 32 | crc32(value.encode())
