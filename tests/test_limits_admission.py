"""Letting exchanges through: all or nothing, never above a cap, and all of it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferryman.limits.admission import Admission
from ferryman.limits.heads import (
    BudgetState,
    LimitState,
    add_base,
    budget_state,
    fold,
    limit_state,
    lower_granted,
    set_head,
    zero_gauges,
)
from ferryman.limits.rules import Demand, Taken
from ferryman.limits.spec import Budget, Limit
from ferryman.limits.table import CounterTable
from ferryman.limits.verdict import Need, NotReady, Refused
from ferryman.limits.windows import Calendar
from tests.support.limits import counted

NOW = 1_795_334_400.0  # a whole minute
CALENDAR = Calendar()
MONTH = CALENDAR.span("30d", "", NOW)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[CounterTable]:
    table = CounterTable.create(tmp_path / "counters", 2)
    yield table
    table.close()


def gate(table: CounterTable, journal: str = "a") -> Admission:
    column = table.claim(journal)
    assert column is not None
    return Admission(table, column, CALENDAR)


def limit(table: CounterTable, what: str, amount: int, name: str = "") -> Limit:
    return Limit(what, amount, table.row_of(name or what))


def budget(table: CounterTable, cap: int | None, name: str = "budget", base: int = 0) -> Budget:
    row = table.row_of(name)
    set_head(table, row, MONTH.start, base, cap or 0)
    return Budget(cap, row, "30d", hold="ceiling")


def costing(nanousd: int) -> Demand:
    return Demand(ceiling_nanousd=nanousd)


def taken(verdict: Taken | Refused | NotReady) -> Taken:
    assert isinstance(verdict, Taken), verdict
    return verdict


def refused(verdict: Taken | Refused | NotReady) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


def spent(table: CounterTable, one: Budget) -> tuple[int, int]:
    state = budget_state(table, one, CALENDAR, NOW)
    return state.spent_nanousd, state.held_nanousd


def test_hold_becomes_what_it_came_to(table: CounterTable) -> None:
    one, worker = budget(table, 1_000), gate(table)
    first = taken(worker.admit(counted([], [one]), costing(600), NOW))
    assert [(part.rule.budget, part.span, part.committed_nanousd) for part in first.parts] == [
        (one, MONTH, 600)
    ]
    assert spent(table, one) == (0, 600)
    assert refused(worker.admit(counted([], [one]), costing(401), NOW)).used == 600
    worker.settle(first, 0, 0, 250)
    assert spent(table, one) == (250, 0)
    taken(worker.admit(counted([], [one]), costing(750), NOW))
    assert budget_state(table, one, CALENDAR, NOW) == BudgetState(*MONTH, 250, 750, 0, 1_000)


def test_refused_budget_tells_when_its_window_ends(table: CounterTable) -> None:
    one, worker = budget(table, 1_000, base=900), gate(table)
    assert MONTH.end is not None
    wait = MONTH.end - int(NOW)
    found = refused(worker.admit(counted([], [one]), costing(101), NOW + 0.5))
    assert found == Refused(one, 900, 101, 1_000, wait, MONTH.end)
    assert refused(worker.admit(counted([], [one]), costing(1_001), NOW)).retry_after_seconds is None


def test_budget_without_end_never_has_room_again(table: CounterTable) -> None:
    row = table.row_of("for ever")
    set_head(table, row, 1, 1_000, 1_000)
    found = refused(gate(table).admit(counted([], [Budget(1_000, row, hold="ceiling")]), costing(1), NOW))
    assert (found.retry_after_seconds, found.resets_at) == (None, None)


def test_cap_of_nothing_lets_only_through_what_is_free(table: CounterTable) -> None:
    one, worker = budget(table, 0), gate(table)
    assert refused(worker.admit(counted([], [one]), costing(1), NOW)).amount == 0
    taken(worker.admit(counted([], [one]), costing(0), NOW))


def test_budget_without_a_cap_counts(table: CounterTable) -> None:
    one, worker = budget(table, None), gate(table)
    held = taken(worker.admit(counted([], [one]), costing(10**15), NOW))
    worker.settle(held, 0, 0, 7)
    state = budget_state(table, one, CALENDAR, NOW)
    assert (state.spent_nanousd, state.remaining_nanousd) == (7, None)


def test_expected_holds_are_held_where_they_are_wanted(table: CounterTable) -> None:
    one = msgspec.structs.replace(budget(table, 1_000), hold="expected")
    taken(gate(table).admit(counted([], [one]), Demand(ceiling_nanousd=5_000, expected_nanousd=30), NOW))
    assert spent(table, one) == (0, 30)


def test_row_that_is_not_in_the_window_is_waited_for(table: CounterTable) -> None:
    row = table.row_of("new")
    one, worker = Budget(1_000, row, "30d", hold="ceiling"), gate(table)
    assert worker.admit(counted([], [one]), costing(5), NOW) == NotReady([Need(row, MONTH.start, 5)])
    set_head(table, row, MONTH.start, 0, 1_000)
    taken(worker.admit(counted([], [one]), costing(5), NOW))
    assert MONTH.end is not None
    assert worker.admit(counted([], [one]), costing(5), MONTH.end) == NotReady([Need(row, MONTH.end, 5)])
    assert spent(table, one) == (0, 5)


def test_allowance_that_is_too_small_is_waited_for(table: CounterTable) -> None:
    one, worker = budget(table, 1_000), gate(table)
    set_head(table, one.row, MONTH.start, 100, 300)
    taken(worker.admit(counted([], [one]), costing(200), NOW))
    assert worker.admit(counted([], [one]), costing(50), NOW) == NotReady([Need(one.row, MONTH.start, 350)])
    assert refused(worker.admit(counted([], [one]), costing(701), NOW)).used == 300


def test_spending_of_the_last_window_is_not_in_this_one(table: CounterTable) -> None:
    one, worker = budget(table, 1_000), gate(table)
    old = taken(worker.admit(counted([], [one]), costing(1_000), NOW))
    assert MONTH.end is not None
    set_head(table, one.row, MONTH.end, 0, 1_000)
    new = taken(worker.admit(counted([], [one]), costing(900), MONTH.end))
    worker.settle(old, 0, 0, 1_000)
    worker.settle(new, 0, 0, 400)
    state = budget_state(table, one, CALENDAR, MONTH.end)
    assert (state.spent_nanousd, state.held_nanousd) == (400, 0)


def test_one_refusal_leaves_all_as_it_was(table: CounterTable) -> None:
    one, worker = budget(table, 1_000), gate(table)
    rules = [limit(table, "requests", 10), limit(table, "tokens", 100), limit(table, "parallel", 1)]
    demand = Demand(input_tokens=40, output_tokens=20, ceiling_nanousd=500)
    taken(worker.admit(counted(rules, [one]), demand, NOW))
    before = [limit_state(table, rule, NOW) for rule in rules], spent(table, one)
    found = refused(worker.admit(counted(rules, [one]), demand, NOW))
    assert found.rule in rules[1:]
    assert ([limit_state(table, rule, NOW) for rule in rules], spent(table, one)) == before


def test_longest_wait_is_told(table: CounterTable) -> None:
    one, worker = budget(table, 1_000, base=1_000), gate(table)
    rules = [limit(table, "requests", 0), limit(table, "parallel", 0)]
    assert refused(worker.admit(counted(rules, []), Demand(), NOW)).retry_after_seconds is None
    rules = [limit(table, "requests", 1)]
    taken(worker.admit(counted(rules, []), Demand(), NOW))
    assert refused(worker.admit(counted(rules, [one]), costing(1), NOW)).rule is one


def test_requests_slide_out_of_sight(table: CounterTable) -> None:
    rule, worker = limit(table, "requests", 60), gate(table)
    for _ in range(60):
        taken(worker.admit(counted([rule], []), Demand(), NOW + 30))
    assert refused(worker.admit(counted([rule], []), Demand(), NOW + 30)).retry_after_seconds == 31
    assert refused(worker.admit(counted([rule], []), Demand(), NOW + 60)).retry_after_seconds == 1
    taken(worker.admit(counted([rule], []), Demand(), NOW + 61))
    assert refused(worker.admit(counted([rule], []), Demand(), NOW + 61)) == Refused(
        rule, 60, 1, 60, 1, int(NOW) + 180
    )
    assert limit_state(table, rule, NOW + 90) == LimitState(31, 29, int(NOW) + 180)
    assert limit_state(table, rule, NOW + 180) == LimitState(0, 60, int(NOW) + 180)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=60),
    st.integers(5, 20),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_waits_as_told_is_let_through_and_no_minute_has_twice_the_limit(
    table: CounterTable, steps: list[tuple[int, int]], amount: int
) -> None:
    rule, worker, now = limit(table, "input_tokens", amount, repr((steps, amount))), gate(table), NOW
    let: list[tuple[float, int]] = []
    for seconds, tokens in steps:
        now += seconds
        verdict = worker.admit(counted([rule], []), Demand(input_tokens=tokens), now)
        if isinstance(verdict, Refused):
            if verdict.retry_after_seconds is None:
                assert tokens > amount
                continue
            assert 1 <= verdict.retry_after_seconds <= 120
            now += verdict.retry_after_seconds
            verdict = worker.admit(counted([rule], []), Demand(input_tokens=tokens), now)
        assert isinstance(verdict, Taken)
        let.append((now, tokens))
    for end, _ in let:
        assert sum(tokens for at, tokens in let if end - 60 < at <= end) <= 2 * amount


def test_tokens_are_corrected_in_their_minute(table: CounterTable) -> None:
    rules = [limit(table, what, 1_000) for what in ("tokens", "input_tokens", "output_tokens")]
    worker, demand = gate(table), Demand(input_tokens=100, output_tokens=400)
    one, two = (taken(worker.admit(counted(rules, []), demand, NOW)) for _ in range(2))
    worker.settle(one, 120, 10, 0)
    assert [limit_state(table, rule, NOW).used for rule in rules] == [630, 220, 410]
    taken(worker.admit(counted(rules, []), Demand(input_tokens=1, output_tokens=1), NOW + 60))
    worker.settle(two, 90, 10, 0)
    assert [limit_state(table, rule, NOW + 60).used for rule in rules] == [232, 211, 21]
    late = taken(worker.admit(counted(rules, []), demand, NOW + 60))
    taken(worker.admit(counted(rules, []), Demand(input_tokens=1, output_tokens=1), NOW + 180))
    worker.settle(late, 1_000_000, 0, 0)
    assert [limit_state(table, rule, NOW + 180).used for rule in rules] == [2, 1, 1]


def test_count_tokens_has_a_limit_of_its_own(table: CounterTable) -> None:
    rules = [limit(table, "requests", 1), limit(table, "count_tokens", 2)]
    worker, counting = gate(table), Demand(requests=0, count_tokens=1, parallel=0)
    taken(worker.admit(counted(rules, []), Demand(), NOW))
    taken(worker.admit(counted(rules, []), counting, NOW))
    taken(worker.admit(counted(rules, []), counting, NOW))
    assert refused(worker.admit(counted(rules, []), counting, NOW)).rule is rules[1]


def test_slots_come_back(table: CounterTable) -> None:
    rule, one, other = limit(table, "parallel", 2), gate(table, "a"), gate(table, "b")
    first, second = (
        taken(one.admit(counted([rule], []), Demand(), NOW)),
        taken(other.admit(counted([rule], []), Demand(), NOW)),
    )
    assert refused(one.admit(counted([rule], []), Demand(), NOW)) == Refused(rule, 2, 1, 2, 1, None)
    one.settle(first, 0, 0, 0)
    third = taken(other.admit(counted([rule], []), Demand(), NOW + 3_600))
    other.give_back(third)
    other.settle(second, 0, 0, 0)
    assert limit_state(table, rule, NOW) == LimitState(0, 2, None)


def test_what_never_went_upstream_is_as_if_it_had_not_been(table: CounterTable) -> None:
    one, worker = budget(table, 1_000), gate(table)
    rules = [limit(table, what, 100) for what in ("requests", "tokens", "parallel")]
    held = taken(worker.admit(counted(rules, [one]), Demand(input_tokens=5, ceiling_nanousd=9), NOW))
    worker.give_back(held)
    assert [limit_state(table, rule, NOW).used for rule in rules] == [0, 0, 0]
    assert spent(table, one) == (0, 0)


def test_clock_that_is_put_back_counts_anew(table: CounterTable) -> None:
    rule, one, other = limit(table, "requests", 3), gate(table, "a"), gate(table, "b")
    taken(one.admit(counted([rule], []), Demand(), NOW + 60))
    taken(
        one.admit(counted([rule], []), Demand(), NOW + 59.9)
    )  # somebody looked at the clock a moment before
    taken(other.admit(counted([rule], []), Demand(), NOW + 59.9))
    assert refused(other.admit(counted([rule], []), Demand(), NOW + 60)).used == 3
    taken(one.admit(counted([rule], []), Demand(), NOW - 3_600))
    assert limit_state(table, rule, NOW - 3_600).used == 1


def test_new_owner_of_a_row_sees_nothing_of_the_old_one(table: CounterTable) -> None:
    worker = gate(table)
    names = {"requests": "r", "parallel": "p"}
    old = [limit(table, what, 5, name) for what, name in names.items()]
    spending = budget(table, 1_000)
    held = taken(worker.admit(counted(old, [spending]), costing(700), NOW))
    table.free_rows([])
    new = [limit(table, what, 5, f"new {name}") for what, name in names.items()]
    fresh = budget(table, 1_000, "new budget")
    assert {rule.row & 7 for rule in new} | {fresh.row & 7} == {0, 1, 2}
    again = taken(worker.admit(counted(new, [fresh]), costing(1_000), NOW))
    worker.settle(held, 0, 0, 700)
    taken(worker.admit(counted(old, []), Demand(), NOW))
    assert isinstance(worker.admit(counted([], [spending]), costing(1), NOW), NotReady)
    worker.settle(again, 0, 0, 30)
    assert [limit_state(table, rule, NOW).used for rule in new] == [1, 0]
    assert spent(table, fresh) == (30, 0)


def test_dead_workers_column_is_spent_until_it_is_folded(table: CounterTable) -> None:
    one, rule = budget(table, 1_000), limit(table, "parallel", 1)
    dead = gate(table, "dead")
    dead.settle(taken(dead.admit(counted([], [one]), costing(300), NOW)), 0, 0, 300)
    taken(dead.admit(counted([rule], [one]), costing(400), NOW))
    alive = gate(table, "alive")
    assert refused(alive.admit(counted([], [one]), costing(301), NOW)).used == 700
    assert refused(alive.admit(counted([rule], []), Demand(), NOW)).rule is rule
    assert zero_gauges(table, 0) == 1
    taken(alive.admit(counted([rule], []), Demand(), NOW))
    fold(table, 0, one.row, MONTH.start, 350)
    table.release(0)
    assert spent(table, one) == (350, 0)
    assert table.claim("next") == 0
    assert not add_base(table, one.row, MONTH.start + 1, 5)
    assert spent(table, one) == (350, 0)


def test_allowance_is_never_lowered_below_what_is_committed(table: CounterTable) -> None:
    one, worker = budget(table, 1_000, base=100), gate(table)
    taken(worker.admit(counted([], [one]), costing(300), NOW))
    assert lower_granted(table, one.row, 500) == 500
    assert lower_granted(table, one.row, 200) == 400
    assert isinstance(worker.admit(counted([], [one]), costing(1), NOW), NotReady)


CALLS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["admit", "settle", "back"]), st.integers(0, 400),
              st.integers(0, 100)),
    max_size=60,
)  # fmt: skip


@given(CALLS, st.integers(0, 1_500))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_whatever_happens(
    table: CounterTable, calls: list[tuple[int, str, int, int]], cap: int
) -> None:
    table.free_rows([])
    one, rule = budget(table, cap), limit(table, "parallel", 3)
    workers = [gate(table, name) for name in "abc"]
    open_calls: list[list[tuple[Taken, int]]] = [[], [], []]
    paid = 0
    for worker, what, nanousd, share in calls:
        mine = open_calls[worker]
        if what == "admit":
            committed = paid + sum(hold for each in open_calls for _, hold in each)
            running = sum(len(each) for each in open_calls)
            verdict = workers[worker].admit(counted([rule], [one]), costing(nanousd), NOW)
            fits = (committed + nanousd <= cap or nanousd == 0) and running < 3
            assert isinstance(verdict, Taken) == fits
            if isinstance(verdict, Taken):
                mine.append((verdict, nanousd))
        elif mine:
            held, hold = mine.pop(0)
            if what == "settle":
                workers[worker].settle(held, 0, 0, hold * share // 100)
                paid += hold * share // 100
            else:
                workers[worker].give_back(held)
        held_now = sum(hold for each in open_calls for _, hold in each)
        assert spent(table, one) == (paid, held_now)
        assert limit_state(table, rule, NOW).used == sum(len(each) for each in open_calls)
