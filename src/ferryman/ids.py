"""The ids of exchanges."""

from __future__ import annotations

import random
from typing import Final

_VARIANTS: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit with the variant, 0b10, and two bits of a random one."""

_DIGITS: Final = 19  # 12 random bits, 2 and 12, 48
_DRAWN: Final = 256
"""Ids whose random digits are drawn at once, which takes a tenth of the time: 5 kB."""


class Ids:
    """Makes ids: UUIDv7 (RFC 9562, section 5.7), which sort by the millisecond they were made in.

    They have to be unique, not secret: the random bits come from a generator that the system's
    randomness has seeded, which saves a system call for each.
    """

    __slots__ = ("_at", "_digits", "_milliseconds", "_prefix", "_random_bytes")

    def __init__(self) -> None:
        self._random_bytes = random.Random().randbytes  # noqa: S311  # see above
        self._digits = ""
        self._at = 0
        self._milliseconds = -1
        self._prefix = ""

    def next(self, now_seconds: float) -> str:
        """A new id for the Unix time `now_seconds`."""
        milliseconds = int(now_seconds * 1000)
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            text = f"{milliseconds:012x}"
            self._prefix = f"{text[:8]}-{text[8:]}-7"
        at = self._at
        if at >= len(self._digits):
            self._digits = self._random_bytes(_DIGITS * _DRAWN // 2).hex()
            at = 0
        self._at = at + _DIGITS
        digits = self._digits
        variant = _VARIANTS[digits[at + 3]]
        return (
            f"{self._prefix}{digits[at : at + 3]}-{variant}{digits[at + 4 : at + 7]}-"
            f"{digits[at + 7 : at + _DIGITS]}"
        )
