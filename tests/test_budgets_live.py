"""Budgets in a whole gateway: what is told is what was spent, whatever is changed or killed meanwhile."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx

from tests.conftest import Bench
from tests.support.processes import Family, children, until
from tests.test_caps_hold import CALL, COST, MASTER, Start, call, charging, in_ledger, own, spend_of, start

__all__ = ["start"]

CONTROL = "control"


def test_budget_of_a_key_that_has_spent_already_begins_with_that(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream(charging).url)
    made = own(family, "POST", "/key/generate", {})
    key = made["key"]
    assert [call(family.url, key).status_code for _ in range(4)] == [200] * 4
    own(family, "POST", "/key/update", {"key": key, "max_budget": 1, "budget_hold": "ceiling"})
    for number in range(5, 9):  # some of them before all workers know of the budget
        assert call(family.url, key).status_code == 200
        assert spend_of(family, key) <= number * COST
    until(lambda: in_ledger(family, made["token"]) == 8 * COST, "stored")
    until(lambda: spend_of(family, key) == 8 * COST, "all counted once")
    own(family, "POST", f"/key/{key}/reset_spend", {"reset_to": 0})
    assert spend_of(family, key) == 0
    assert call(family.url, key).status_code == 200
    assert spend_of(family, key) == COST
    own(family, "POST", "/key/update", {"key": key, "max_budget": 0.03})
    assert call(family.url, key).status_code == 429


def test_reset_lets_a_key_go_on_whichever_of_its_windows_is_used_up(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream(charging).url)
    cap = {"max_budget": 0.04, "budget_duration": "30d"}
    made = own(
        family,
        "POST",
        "/key/generate",
        {
            "budget_limits": [cap, {"max_budget": 1, "budget_duration": "1d"}],
            "model_max_budget": {"claude-*": cap},
            "budget_hold": "ceiling",
        },
    )
    key = made["key"]
    assert [call(family.url, key).status_code for _ in range(2)] == [200, 429]
    until(lambda: in_ledger(family, made["token"]) == COST, "stored")
    own(family, "POST", f"/key/{key}/reset_spend", {"reset_to": 0})
    assert [call(family.url, key).status_code for _ in range(2)] == [200, 429]


def test_sessions_and_end_users_that_come_up_have_budgets_of_their_own(start: Start, line: Bench) -> None:
    family = start(
        "--workers", "2", "--upstream-url", line.upstream(charging).url,
        FERRYMAN_MAX_SESSION_BUDGET="0.1", FERRYMAN_BUDGET_HOLD="ceiling",
    )  # fmt: skip
    made = own(family, "POST", "/key/generate", {})

    def in_session(name: str) -> int:
        headers = {"x-api-key": made["key"], "x-claude-code-session-id": name}
        return httpx.post(f"{family.url}/v1/messages", json=CALL, headers=headers, timeout=30).status_code

    first = [in_session("one") for _ in range(6)]
    # Each costs $0.0225 and holds $0.0345 of a tenth of a dollar.
    assert first == [200, 200, 200, 429, 429, 429]
    assert in_session("two") == 200
    assert call(family.url, made["key"]).status_code == 200


def test_budgets_go_on_while_the_control_plane_is_killed_again_and_again(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream(charging).url)
    made = own(family, "POST", "/key/generate", {"max_budget": 100, "max_parallel_requests": 50})
    done = 0
    for _ in range(2):
        until(lambda: _is_up(family), "started again")
        os.kill(children(family.popen.pid)[CONTROL], signal.SIGKILL)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: call(family.url, made["key"]).status_code, range(20)))
        assert set(statuses) == {200}
        done += len(statuses)
    until(lambda: _is_up(family), "started again")
    until(lambda: in_ledger(family, made["token"]) == done * COST, "stored")
    until(lambda: spend_of(family, made["key"]) == done * COST, "told")


def _is_up(family: Family) -> bool:
    headers = {"authorization": f"Bearer {MASTER}"}
    return httpx.get(f"{family.url}/key/list", headers=headers).status_code == 200


def test_a_killed_workers_slots_and_holds_come_back(start: Start, line: Bench) -> None:
    family = start("--workers", "2", "--upstream-url", line.upstream(charging).url)
    asked = {"max_budget": 100, "max_parallel_requests": 3, "budget_hold": "ceiling"}
    made = own(family, "POST", "/key/generate", asked)

    def told() -> int:
        try:
            return call(family.url, made["key"]).status_code
        except httpx.TransportError:
            return 0

    for name in ("worker 1", "worker 2"):
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(told) for _ in range(30)]
            os.kill(family.pid(name), signal.SIGKILL)
            assert {one.result() for one in calls} <= {0, 200, 429}
    until(lambda: told() == 200, "a slot is free")
    before = in_ledger(family, made["token"])

    def settled() -> bool:
        nonlocal before
        now = in_ledger(family, made["token"])
        same, before = now == before, now
        return same and spend_of(family, made["key"]) == now != Decimal(0)

    until(settled, "what is told is what the ledger has")
