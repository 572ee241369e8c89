"""What is held for a call: never more than it can cost, learned from what such calls have cost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ferryman.limits.hold import FLOOR_SHARE, MAX_KINDS, START_SHARE, Shares

NANOUSD = st.integers(0, 10**13)


@given(NANOUSD, st.lists(st.tuples(NANOUSD, NANOUSD), max_size=30))
def test_hold_is_a_share_of_the_ceiling(ceiling: int, calls: list[tuple[int, int]]) -> None:
    shares = Shares()
    for most, actual in calls:
        shares.learn("m", "k", most, actual)
    held = shares.expected("m", "k", ceiling)
    assert int(ceiling * FLOOR_SHARE) <= held <= ceiling
    assert (held == 0) == (ceiling == 0)


def test_first_call_of_a_kind_is_held_with_the_share_to_start_with() -> None:
    shares = Shares()
    shares.learn("m", "other", 1_000_000, 10)
    shares.learn("other", "k", 1_000_000, 10)
    assert shares.expected("m", "k", 1_000_000) == int(1_000_000 * START_SHARE) + 1


def test_hold_comes_to_what_calls_cost_when_all_cost_the_same() -> None:
    shares = Shares()
    for _ in range(100):
        shares.learn("m", "k", 1_000_000, 40_000)
    assert 40_000 <= shares.expected("m", "k", 1_000_000) <= 44_000


def test_hold_follows_calls_that_become_dear() -> None:
    shares = Shares()
    for _ in range(100):
        shares.learn("m", "k", 1_000_000, 10_000)
    for _ in range(8):
        shares.learn("m", "k", 1_000_000, 300_000)
    assert shares.expected("m", "k", 1_000_000) >= 300_000


def test_holds_of_uneven_calls_cover_their_sum() -> None:
    draw = random.Random(5)
    shares, held, spent = Shares(), 0, 0
    for _ in range(5_000):
        ceiling = draw.randrange(10**8, 3 * 10**9)
        cost = int(ceiling * min(1.0, draw.lognormvariate(-4.3, 0.9)))
        held += shares.expected("m", "k", ceiling)
        spent += cost
        shares.learn("m", "k", ceiling, cost)
    assert spent < held < 4 * spent


def test_free_calls_teach_nothing_of_dear_ones() -> None:
    shares = Shares()
    shares.learn("m", "k", 0, 0)
    assert shares.expected("m", "k", 1_000) == int(1_000 * START_SHARE) + 1


def test_kinds_are_bounded_and_the_first_are_forgotten() -> None:
    shares = Shares()
    for number in range(MAX_KINDS + 10):
        shares.learn("m", f"k{number}", 1_000_000, 1_000_000)
    assert repr(shares) == f"<Shares of {MAX_KINDS} kinds>"
    assert shares.expected("m", "k9", 1_000_000) < shares.expected("m", "k10", 1_000_000)
