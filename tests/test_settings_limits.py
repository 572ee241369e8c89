"""What the settings say of budgets and limits for all, and what workers are told of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.control.access.compile import NO_ROW, unknown_scope
from ferryman.control.access.durations import is_duration
from ferryman.errors import SettingsError
from ferryman.limits.spec import DEFAULTS, GATEWAY, Budget, Defaults, Scope
from ferryman.limits.windows import parse
from ferryman.settings import Settings
from ferryman.settings_limits import duration_parts, gateway_limits
from ferryman.settings_load import load
from tests.support.control import Control
from tests.support.stores import opened, sqlite_url


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (
            "auth: keys",
            "auth, from {}: `keys` needs `master_key` (FERRYMAN_MASTER_KEY), with which keys are made.",
        ),
        ("max_budget: -1", "max_budget, from {}: `-1` is no amount; wanted dollars, 0 or more"),
        ("max_budget: 1e3", "max_budget, from {}: `1e3` is no amount"),
        ("max_session_budget: 0.0000000001", "max_session_budget, from {}: `0.0000000001` is no amount"),
        ("max_end_user_budget: 1000000001", "max_end_user_budget, from {}: `1000000001` is no amount"),
        (
            "budget_duration: 1d",
            "budget_duration, from {}: it is the window of `max_budget`, and there",
        ),
        ("max_budget: 1\nbudget_duration: month", "budget_duration, from {}: `month` is no duration; wanted"),
        ("time_zone: Mars/Base", "time_zone, from {}: `Mars/Base` is no time zone of this machine"),
        ("time_zone: ../etc", "time_zone, from {}: `../etc` is no time zone of this machine"),
        ("model_budgets: {a: {usd: 1}}", "model_budgets, from {}: `a` has `usd`, which is no limit; wanted"),
        ("model_budgets: {a: {max_budget: x}}", "model_budgets, from {}: `a`: `x` is no amount"),
        (
            "model_budgets: {a: {rpm_limit: -1}}",
            "model_budgets, from {}: `a` has `-1` as `rpm_limit`; wanted",
        ),
        ("model_budgets: {a: {budget_duration: 1d}}", "`a` has a `budget_duration` and no `max_budget`"),
        (
            "model_budgets: {a: {max_budget: 1, budget_duration: x}}",
            "`a` has `x` as `budget_duration`, which",
        ),
    ],
)
def test_limit_that_cannot_be_used_is_named_at_the_start(tmp_path: Path, file: str, problem: str) -> None:
    path = tmp_path / "ferryman.yaml"
    path.write_text(file, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load({}, environ={"ANTHROPIC_API_KEY": "key"}, directory=tmp_path)
    (said,) = caught.value.problems
    assert problem.format(path) in said


def test_limits_of_all_are_the_gateways_scope(tmp_path: Path) -> None:
    settings = {
        "max_budget": "100.5",
        "budget_duration": "1mo",
        "model_budgets": {
            "claude-opus-*": {"max_budget": "10", "budget_duration": "1d", "rpm_limit": "5"},
            "claude-haiku-5": {"tpm_limit": "1000", "max_parallel_requests": "2"},
        },
        "max_end_user_budget": "1",
        "end_user_budget_duration": "7d",
        "max_session_budget": "2",
        "budget_hold": "ceiling",
        "time_zone": "Europe/Berlin",
    }
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        with Control(store, **settings) as control:  # type: ignore[arg-type]  # settings of several types
            scope = control.scope(GATEWAY)
            assert control.parts()[DEFAULTS] == (
                b'{"time_zone":"Europe/Berlin","customers":true,"sessions":true}'
            )
            control.post("/customer/new", {"user_id": "c", "max_budget": 1})
            assert control.scope(GATEWAY) == scope
    assert scope is not None
    assert len({one.row for one in scope.limits} | {one.row for one in scope.budgets}) == 5
    assert [(one.what, one.amount, one.model) for one in scope.limits] == [
        ("requests", 5, "claude-opus-*"),
        ("tokens", 1000, "claude-haiku-5"),
        ("parallel", 2, "claude-haiku-5"),
    ]
    assert [(one.cap_nanousd, one.window, one.model, one.hold) for one in scope.budgets] == [
        (100_500_000_000, "1mo", "", "ceiling"),
        (10**10, "1d", "claude-opus-*", "ceiling"),
    ]


def test_unknown_end_users_and_sessions_get_a_scope_when_they_come_up() -> None:
    settings = Settings(max_end_user_budget="1", end_user_budget_duration="7d", max_session_budget="2")
    limits = gateway_limits(settings)
    customer = unknown_scope("customer:c", limits, "2026-11-22")
    assert customer == Scope(
        "customer:c", "end user `c`", budgets=[Budget(10**9, NO_ROW, "7d", "2026-11-22")]
    )
    session = unknown_scope("session:s", limits, "2026-11-22")
    assert session == Scope("session:s", "session `s`", budgets=[Budget(2 * 10**9, NO_ROW)])
    assert unknown_scope("tag:t", limits, "2026-11-22") is None
    assert unknown_scope("session:s", gateway_limits(Settings()), "2026-11-22") is None


def test_defaults_are_told_where_nothing_is_set(tmp_path: Path) -> None:
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        with Control(store) as control:
            assert control._part("defaults", Defaults) == Defaults()


@given(st.from_regex(r"[0-9]{0,9}(mo|[smhdwy]|)", fullmatch=True))
def test_settings_take_the_durations_that_budgets_have(word: str) -> None:
    """Settings cannot look into `ferryman.limits`, which stands above them."""
    parts = duration_parts(word)
    assert is_duration(word) is (parts is not None)
    assert parts is None or parse(word) == parts
