"""What people are told of a budget before it is reached."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.test_gate import COST_NANOUSD, USD, Till, key_scope, said, till

__all__ = ["till"]  # the fixture


@pytest.mark.parametrize(
    ("base_share", "state", "passed"),
    [(0.2, b"allowed", None), (0.4, b"allowed_warning", b"0.30"), (0.8, b"allowed_warning", b"0.75")],
)
def test_a_soft_budget_is_one_more_share_that_is_told_when_it_is_passed(
    till: Till,  # the fixture
    base_share: float,
    state: bytes,
    passed: bytes | None,
) -> None:
    budget = till.budget(USD, soft_nanousd=3 * USD // 10)
    till.open(key_scope(budgets=[budget]))
    till.begin(budget, base_nanousd=int(base_share * USD))
    answer = till.ask()
    assert (said(answer, b"status"), said(answer, b"overage-surpassed-threshold")) == (state, passed)


def test_a_soft_budget_without_a_cap_is_told_in_the_log_alone_and_once_a_window(
    till: Till,  # the fixture
) -> None:
    budget = till.budget(None, window="1d", soft_nanousd=COST_NANOUSD)
    till.open(key_scope(budgets=[budget]))
    with capture_logs() as logs:
        answers = [till.ask() for _ in range(5)]
        till.gateway.pass_time(86_400)
        till.begin(budget)
        answers += [till.ask() for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert all(said(answer, b"status") is None for answer in answers)
    warnings = [entry for entry in logs if entry["event"] == "soft budget passed"]
    assert [(one["of"], one["soft"], one["log_level"]) for one in warnings] == [
        ("key `laptop`", "$0.0006", "warning")
    ] * 2


def test_what_a_call_holds_itself_is_not_told_as_used(till: Till) -> None:  # the fixture
    budget = till.budget(USD // 100, hold="ceiling", soft_nanousd=USD // 1_000)
    till.open(key_scope(budgets=[budget]))
    with capture_logs() as logs:
        answer = till.ask(b'{"model":"claude-opus-5-5","max_tokens":200}')
    # What it has cost, $0.0006 of $0.01, and not what it held.
    assert (answer.status, said(answer, b"overage-utilization")) == (200, b"0.06")
    assert not [entry for entry in logs if entry["event"] == "soft budget passed"]
