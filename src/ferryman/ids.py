"""The ids of exchanges."""

from __future__ import annotations

import random


class Ids:
    """Makes ids: UUIDv7 (RFC 9562, section 5.7), which sort by the millisecond they were made in.

    They have to be unique, not secret: the random bits come from a generator that the system's
    randomness has seeded, which saves a system call for each.
    """

    __slots__ = ("_milliseconds", "_prefix", "_random_bits")

    def __init__(self) -> None:
        self._random_bits = random.Random().getrandbits  # noqa: S311  # see above
        self._milliseconds = -1
        self._prefix = ""

    def next(self, now_seconds: float) -> str:
        """A new id for the Unix time `now_seconds`."""
        milliseconds = int(now_seconds * 1000)
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            text = f"{milliseconds:012x}"
            self._prefix = f"{text[:8]}-{text[8:]}-"
        # 0x7 is the version and 0b10 the variant; each number begins with a digit that is not 0.
        bits = self._random_bits
        return f"{self._prefix}{0x7000 | bits(12):x}-{0x8000 | bits(14):x}-{bits(48):012x}"
