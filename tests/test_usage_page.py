"""`GET /api/oauth/usage`, as Claude Code reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ferryman.control.usage_page import Cap, with_caps
from ferryman.model import Cost
from tests.conftest import Bench
from tests.support.control import Control
from tests.support.gateway import HeldClock
from tests.support.raw import RawClient
from tests.support.stores import entry

PATH = "/api/oauth/usage"
USD = 1_000_000_000
END = datetime(2027, 2, 1, tzinfo=UTC).timestamp()


def spend(control: Control, key: dict[str, Any], dollars: float, days_ago: int = 0, number: int = 0) -> None:
    started_at = datetime.fromtimestamp(control.clock.now(), UTC) - timedelta(days=days_ago)
    cost = Cost(int(dollars * USD), "catalog", "r", [])
    one = entry(number, principal=key["token"], cost=cost, started_at=started_at)
    control.store.write.insert_entries([one])


def test_key_without_a_cap_is_told_what_it_has_spent(control: Control, clock: HeldClock) -> None:
    key = control.post("/key/generate", {"soft_budget": 1})
    other = control.post("/key/generate")
    assert datetime.fromtimestamp(clock.now(), UTC).strftime("%a %d") == "Fri 15"
    for number, (dollars, days_ago) in enumerate([(0.019, 0), (0.3, 1), (4, 4), (50, 5), (600, 20)]):
        spend(control, key, dollars, days_ago, number)
    spend(control, other, 7, number=9)
    response = control.send("GET", PATH, caller=key["key"])
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": None,
            "used_credits": 5431,
            "utilization": None,
            "currency": "USD",
            "daily": {"limit": None, "used_credits": 1, "utilization": None},
            "weekly": {"limit": None, "used_credits": 431, "utilization": None},
        },
        "limits": [],
    }


def test_key_with_caps_is_told_of_its_own_its_users_and_its_teams(lone: Control) -> None:
    team = lone.post("/team/new", {"max_budget": 8, "budget_duration": "30d"})["team_id"]
    lone.post("/user/new", {"user_id": "ann", "max_budget": 100, "budget_duration": "7d"})
    asked = {"max_budget": 50, "budget_duration": "1d", "user_id": "ann", "team_id": team}
    of_a_model = {"claude-*": {"budget_limit": 1, "time_period": "1d"}}  # no row says of which
    key = lone.post("/key/generate", {**asked, "model_max_budget": of_a_model})
    spend(lone, key, 6.129)
    told = lone.get(PATH, caller=key["key"])
    assert told["extra_usage"] == {
        "is_enabled": True, "monthly_limit": 800, "used_credits": 612, "utilization": 76, "currency": "USD",
    }  # fmt: skip
    assert [(one["group"], one["percent"], one["is_active"]) for one in told["limits"]] == [
        ("daily", 12, False),
        ("weekly", 6, False),
        ("monthly", 76, True),
    ]
    assert [one["severity"] for one in told["limits"]] == ["normal", "normal", "warning"]


@pytest.mark.parametrize(
    ("caps", "active", "severities"),
    [
        ([Cap(100, 50, "1d", END), Cap(100, 75, "7d", END)], 1, ["normal", "warning"]),
        ([Cap(100, 95, "1d", END), Cap(100, 99, "", None)], 1, ["critical", "critical"]),
        ([Cap(100, 100, "1d", END), Cap(100, 120, "7d", END + 1)], 1, ["critical", "critical"]),
        ([Cap(0, 0, "", None), Cap(100, 130, "7d", END)], 0, ["critical", "critical"]),
    ],
)
def test_the_cap_that_counts_is_the_fullest_or_that_which_stays_reached_for_longest(
    caps: list[Cap], active: int, severities: list[str]
) -> None:
    limits = with_caps(caps)["limits"]
    assert [one["is_active"] for one in limits] == [number == active for number in range(len(caps))]
    assert [one["severity"] for one in limits] == severities


def test_the_end_of_a_window_is_the_second_of_the_headers() -> None:
    told = with_caps([Cap(25 * USD // 1_000, 1, "30d", END + 0.9)])
    assert told["limits"][0]["resets_at"] == "2027-02-01T00:00:00.000Z"
    assert told["extra_usage"]["monthly_limit"] == 2.5
    assert with_caps([Cap(USD, 1, "", None)])["limits"][0]["resets_at"] is None


def test_it_is_for_virtual_keys_alone(lone: Control) -> None:
    assert lone.send("GET", PATH).status_code == 404
    assert lone.send("GET", PATH, caller="sk-unknown").status_code == 401
    assert lone.send("GET", PATH, caller=None).status_code == 401


def test_a_worker_hands_it_on(line: Bench) -> None:
    gateway, upstream = line.pair(master_key="sk-1234")
    with RawClient(gateway.port) as client:
        answer = client.ask(b"GET /api/oauth/usage?skip_spend=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 503  # there is no control plane here
    assert b"control plane" in answer.body
    assert not upstream.requests
