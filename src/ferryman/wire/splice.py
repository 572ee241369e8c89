"""Edits of a body as slices of it: each names the bytes that it replaces, and all are made in one copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Splice(NamedTuple):
    """Bytes to stand in the place of others; positions are offsets in the body.

    Attributes:
        start, end: of what goes; the same number twice where nothing does.
        text: what stands there instead, empty for nothing.
        what: names the change in `x-ferryman-mutations`, such as `model`.
    """

    start: int
    end: int
    text: bytes
    what: str


def spliced(body: bytes | bytearray, splices: Iterable[Splice]) -> bytes:
    """`body` with all of `splices` made: every byte that none of them names stays as it is.

    Args:
        body: positions are those in it, before any change.
        splices: in any order. Two may touch; what two of them insert at one place stands in the order in
            which they are given, and before what is put in the place of the bytes behind it.

    Raises:
        AssertionError: two of them name the same byte, or one that is not there: whoever has made them is
            wrong, and a body that is wrong in another way must not go on.
    """
    parts: list[bytes | bytearray | memoryview] = []
    at = 0
    with memoryview(body) as whole:
        for start, end, text, _ in sorted(splices, key=_place):
            if not at <= start <= end <= len(body):
                raise AssertionError(f"a splice from {start} to {end} of {len(body)} bytes, behind {at}")
            parts += (whole[at:start], text)
            at = end
        parts.append(whole[at:])
        return b"".join(parts)


def named(splices: Sequence[Splice]) -> list[str]:
    """What `splices` change, each name once, in the order in which they are given."""
    return list(dict.fromkeys(splice.what for splice in splices))


def _place(splice: Splice) -> tuple[int, int]:
    return splice.start, splice.end
