"""Splices: what they name changes, every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.wire.splice import Splice, named, spliced


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=5)), max_size=8),
    st.data(),
)
def test_every_byte_outside_of_the_splices_stays(
    body: bytes, cuts: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    places = sorted(min(at, len(body)) for at, _ in cuts for _ in range(2))
    splices = [
        Splice(start, end, text, "x")
        for start, end, (_, text) in zip(places[::2], places[1::2], cuts, strict=True)
    ]
    expected, at = b"", 0
    for splice in splices:
        expected += body[at : splice.start] + splice.text
        at = splice.end
    expected += body[at:]
    assert spliced(body, splices) == expected
    in_other_order = data.draw(st.permutations([one for one in splices if one.start < one.end]))
    inserted = [one for one in splices if one.start == one.end]
    assert spliced(bytearray(body), [*inserted, *in_other_order]) == expected


def test_without_splices_the_body_is_the_same() -> None:
    assert spliced(b"abc", []) == b"abc"


def test_splices_may_touch_and_insertions_come_before_what_is_replaced() -> None:
    body = b"abcdef"
    splices = [
        Splice(2, 4, b"X", "1"),
        Splice(2, 2, b"first", "2"),
        Splice(2, 2, b"second", "3"),
        Splice(4, 5, b"", "4"),
    ]
    assert spliced(body, splices) == b"abfirstsecondXf"


@pytest.mark.parametrize(
    "places", [[(0, 2), (1, 3)], [(0, 4), (1, 2)], [(1, 3), (1, 4)], [(2, 1)], [(5, 7)], [(-1, 2)]]
)
def test_a_byte_that_two_splices_name_or_that_is_not_there_is_a_programming_error(
    places: list[tuple[int, int]],
) -> None:
    with pytest.raises(AssertionError, match="a splice from"):
        spliced(b"abcdef", [Splice(start, end, b"", "x") for start, end in places])


def test_a_change_is_named_once() -> None:
    splices = [Splice(0, 0, b"", "model"), Splice(1, 1, b"", "images"), Splice(2, 2, b"", "model")]
    assert named(splices) == ["model", "images"]
