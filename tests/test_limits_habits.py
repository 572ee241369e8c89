"""What is held for a call: never more than it can cost, learned from what such calls have cost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ferryman.limits.habits import FLOOR_SHARE, MAX_KINDS, OUTPUT_TOKENS, START_SHARE, Habit, Habits

NANOUSD = st.integers(0, 10**13)


@given(NANOUSD, st.lists(st.tuples(NANOUSD, NANOUSD), max_size=30))
def test_hold_is_a_share_of_the_ceiling(ceiling: int, calls: list[tuple[int, int]]) -> None:
    habit = Habit()
    for most, actual in calls:
        habit.learn_cost(most, actual)
    held = habit.nanousd(ceiling)
    assert int(ceiling * FLOOR_SHARE) <= held <= ceiling
    assert (held == 0) == (ceiling == 0)


def test_first_call_of_a_kind_is_held_with_the_share_to_start_with() -> None:
    habits = Habits()
    habits.of("other", "m").learn_cost(1_000_000, 10)
    habits.of("k", "other").learn_cost(1_000_000, 10)
    assert habits.of("k", "m").nanousd(1_000_000) == int(1_000_000 * START_SHARE) + 1


def test_hold_comes_to_what_calls_cost_when_all_cost_the_same() -> None:
    habit = Habit()
    for _ in range(100):
        habit.learn_cost(1_000_000, 40_000)
    assert 40_000 <= habit.nanousd(1_000_000) <= 44_000


def test_hold_follows_calls_that_become_dear() -> None:
    habit = Habit()
    for _ in range(100):
        habit.learn_cost(1_000_000, 10_000)
    for _ in range(8):
        habit.learn_cost(1_000_000, 300_000)
    assert habit.nanousd(1_000_000) >= 300_000


def test_holds_of_uneven_calls_cover_their_sum() -> None:
    draw = random.Random(5)
    habit, held, spent = Habit(), 0, 0
    for _ in range(5_000):
        ceiling = draw.randrange(10**8, 3 * 10**9)
        cost = int(ceiling * min(1.0, draw.lognormvariate(-4.3, 0.9)))
        held += habit.nanousd(ceiling)
        spent += cost
        habit.learn_cost(ceiling, cost)
    assert spent < held < 4 * spent


def test_free_calls_teach_nothing_of_dear_ones() -> None:
    habit = Habit()
    habit.learn_cost(0, 0)
    assert habit.nanousd(1_000) == int(1_000 * START_SHARE) + 1


def test_kinds_are_bounded_and_the_first_are_forgotten() -> None:
    habits = Habits()
    for number in range(MAX_KINDS + 10):
        habits.of(f"k{number}", "m").learn_cost(1_000_000, 1_000_000)
    assert repr(habits) == f"<Habits of {MAX_KINDS} kinds>"
    assert habits.of("k10", "m").nanousd(1_000_000) > habits.of("k9", "m").nanousd(1_000_000)


def test_tokens_are_guessed_before_and_learned_after() -> None:
    habit = Habit()
    assert (habit.input_tokens(4_000), habit.output_tokens(None)) == (1_000, OUTPUT_TOKENS)
    for _ in range(20):
        habit.learn_tokens(4_000, 2_000, 50)
    assert (habit.input_tokens(4_000), habit.output_tokens(None)) == (2_000, 101)


def test_what_was_all_read_from_the_cache_is_counted_when_it_is_not() -> None:
    habit = Habit()
    habit.learn_tokens(4_000, 0, 0)
    assert (habit.input_tokens(4_000), habit.output_tokens(None)) == (1, 1)


def test_no_more_output_is_expected_than_a_call_allows() -> None:
    habit = Habit()
    assert [habit.output_tokens(most) for most in (20, 0, -5)] == [20, 1, 1]
    habit.learn_tokens(100, 25, 400)
    assert [habit.output_tokens(most) for most in (20, 0, -5)] == [20, 1, 1]
