"""Reports over HTTP: LiteLLM's shapes, and totals that are the sums of the entries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.clock import SystemClock
from ferryman.control.app import create_app
from ferryman.control.asking import Asking
from ferryman.control.reports import Reports
from ferryman.control.spend import routes
from ferryman.model import Cost, Entry, Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.estimate import BYTES_PER_TOKEN
from ferryman.store.store import Store
from tests.support.stores import NOON, entry, opened, sqlite_url

DAY = "2026-11-20"
DAYS = f"start_date={DAY}&end_date=2026-11-22"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(opened(url)) as one:
        one.migrate()
        one.write.insert_entries(entries())
        yield one


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with closing(opened(sqlite_url(tmp_path))) as one:
        one.migrate()
        yield one


def entries() -> list[Entry]:
    """Two days, two people, two models; each costs ten times the one before, in nano-dollars."""
    usage = Usage(
        input_tokens=1, output_tokens=20, cache_creation_input_tokens=300, cache_read_input_tokens=4_000
    )
    many: list[dict[str, Any]] = [
        {"end_user": "ann", "model": "opus", "tags": ["a", "b"]},
        {"end_user": "bob", "model": "opus", "tags": ["a"]},
        {"end_user": "bob", "model": "haiku", "status": 529},
        {"end_user": "ann", "model": "opus", "started_at": NOON + timedelta(days=2)},
    ]
    return [
        entry(number, usage=usage, principal="open", cost=Cost(10**number, "catalog", "r", []), **one)
        for number, one in enumerate(many)
    ]


def ask(store: Store, method: str, path: str, body: object = None) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(routes(store.read), SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(send())


def get(store: Store, path: str) -> Any:
    response = ask(store, "GET", path)
    assert response.status_code == 200, response.text
    return response.json()


def post(store: Store, path: str, body: object) -> Any:
    response = ask(store, "POST", path, body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(response: httpx.Response, status: int = 400) -> str:
    body = response.json()
    assert (response.status_code, body["type"]) == (status, "error")
    return str(body["error"]["message"])


def test_lists_are_dearest_first_and_exact(store: Store) -> None:
    assert get(store, "/spend/users") == [
        {"user_id": "ann", "spend": 1.001e-06, "cost_nanousd": 1_001},
        {"user_id": "bob", "spend": 1.1e-07, "cost_nanousd": 110},
    ]
    assert get(store, f"/spend/users?user_id=ann&end_date={DAY}")[0]["cost_nanousd"] == 1
    assert get(store, "/spend/users?limit=1")[0]["user_id"] == "ann"
    (key,) = get(store, "/spend/keys")
    assert key == {
        "token": None,
        "key_name": None,
        "key_alias": "open",
        "spend": 1.111e-06,
        "cost_nanousd": 1_111,
    }
    assert get(store, "/spend/tags") == [
        {"individual_request_tag": "a", "log_count": 2, "total_spend": 1.1e-08, "cost_nanousd": 11},
        {"individual_request_tag": "b", "log_count": 1, "total_spend": 1e-09, "cost_nanousd": 1},
    ]


def test_global_sums(store: Store) -> None:
    assert get(store, "/global/spend") == {"spend": 1.111e-06, "cost_nanousd": 1_111, "max_budget": None}
    assert get(store, f"/global/spend/models?{DAYS}") == [
        {"model": "opus", "total_spend": 1.011e-06, "cost_nanousd": 1_011},
        {"model": "haiku", "total_spend": 1e-07, "cost_nanousd": 100},
    ]
    (key,) = get(store, f"/global/spend/keys?{DAYS}")
    assert (key["key_alias"], key["cost_nanousd"]) == ("open", 1_111)
    tags = get(store, f"/global/spend/tags?{DAYS}&limit=1")
    assert tags == {"spend_per_tag": [{"name": "a", "log_count": 2, "spend": 1.1e-08, "cost_nanousd": 11}]}
    (ann, bob) = post(store, "/global/spend/end_users", {"startTime": f"{DAY}T10:00:00Z", "endTime": None})
    assert ann == {"end_user": "ann", "total_count": 2, "total_spend": 1.001e-06, "cost_nanousd": 1_001}
    assert bob["total_count"] == 2
    assert post(store, "/global/spend/end_users", {"api_key": "nobody"}) == []


def test_lists_without_days_look_back_thirty(empty: Store) -> None:
    class Clock(SystemClock):
        def now(self) -> float:
            return (NOON + timedelta(days=30)).timestamp()

    empty.write.insert_entries(entries())
    app = create_app(Reports(empty.read, Asking(), Clock()).routes(), SystemClock())

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.get("/global/spend/models")

    assert [one["cost_nanousd"] for one in asyncio.run(send()).json()] == [1_000]


def test_report_by_customer_and_by_key(store: Store) -> None:
    first, last = get(store, f"/global/spend/report?{DAYS}&group_by=customer")
    assert (first["group_by_day"], last["group_by_day"]) == (DAY, "2026-11-22")
    ann, bob = first["customers"]
    assert (ann["customer"], ann["total_spend"], bob["cost_nanousd"]) == ("ann", 1e-09, 110)
    assert bob["metadata"] == [
        {"model": "haiku", "spend": 1e-07, "cost_nanousd": 100, "total_tokens": 4_321, "api_key": None},
        {"model": "opus", "spend": 1e-08, "cost_nanousd": 10, "total_tokens": 4_321, "api_key": None},
    ]
    (key,) = get(store, f"/global/spend/report?{DAYS}&group_by=api_key&api_key=open")
    assert (key["api_key"], key["cost_nanousd"], key["total_output_tokens"]) == ("open", 1_111, 80)
    assert key["total_input_tokens"] == 4 * 4_301
    assert [one["model"] for one in key["model_details"]] == ["haiku", "opus"]
    first, last = get(store, f"/global/spend/report?{DAYS}")
    assert (first["group_by_day"], last["group_by_day"]) == (DAY, "2026-11-22")
    (nobodys,) = first["teams"]
    assert (nobodys["team_name"], nobodys["team_id"], nobodys["cost_nanousd"]) == (None, None, 111)


def test_activity_by_day_newest_first_and_in_pages(store: Store) -> None:
    whole = get(store, f"/user/daily/activity?{DAYS}")
    newest, oldest = whole["results"]
    assert (newest["date"], oldest["date"]) == ("2026-11-22", DAY)
    assert oldest["metrics"] == {
        "spend": 1.11e-07,
        "cost_nanousd": 111,
        "prompt_tokens": 3 * 4_301,
        "completion_tokens": 60,
        "cache_read_input_tokens": 12_000,
        "cache_creation_input_tokens": 900,
        "total_tokens": 3 * 4_321,
        "api_requests": 3,
        "successful_requests": 2,
        "failed_requests": 1,
    }
    assert set(oldest["breakdown"]["models"]) == {"haiku", "opus"}
    assert oldest["breakdown"]["api_keys"]["open"]["metrics"] == oldest["metrics"]
    metadata = whole["metadata"]
    assert (metadata["total_cost_nanousd"], metadata["total_api_requests"]) == (1_111, 4)
    assert (metadata["total_pages"], metadata["has_more"], metadata["total_tokens"]) == (1, False, 4 * 4_321)
    pages = [get(store, f"/user/daily/activity?{DAYS}&page_size=1&page={page}") for page in (1, 2, 3)]
    assert [page["results"] for page in pages] == [[newest], [oldest], []]
    assert [page["metadata"]["has_more"] for page in pages] == [True, False, False]
    assert sum(page["metadata"]["total_cost_nanousd"] for page in pages) == 1_111
    ann = get(store, f"/user/daily/activity?{DAYS}&user_id=ann&model=opus")
    assert ann["metadata"]["total_cost_nanousd"] == 1_001


def test_empty_ledger_has_empty_reports(empty: Store) -> None:
    for path in ("/spend/keys", "/spend/users", "/spend/tags", "/global/spend/models"):
        assert get(empty, path) == []
    assert get(empty, "/global/spend")["cost_nanousd"] == 0
    activity = get(empty, f"/user/daily/activity?{DAYS}")
    assert (activity["results"], activity["metadata"]["total_pages"]) == ([], 0)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/spend/keys?user_id=x", "`user_id` is not known here; known are `start_date`"),
        ("/spend/users?limit=0", "`limit`: `0`"),
        ("/spend/tags?start_date=2026-11-20T10:00", "`start_date`: `2026-11-20T10:00` cannot be used"),
        ("/spend/tags?end_date=2026-02-30", "`end_date`: `2026-02-30`"),
        ("/global/spend?x=1", "`x` is not known here"),
        ("/global/spend/report", "`start_date` is missing"),
        (f"/global/spend/report?start_date={DAY}", "`end_date` is missing"),
        (f"/global/spend/report?{DAYS}&group_by=planet", "`group_by`: `planet` is not served; wanted `team`"),
        (f"/global/spend/report?{DAYS}&team_id=x", "`team_id` is not built yet"),
        (f"/user/daily/activity?{DAYS}&timezone=60", "`timezone` is not built yet"),
        (f"/user/daily/activity?{DAYS}&page=x", "`page`: `x`"),
        (f"/user/daily/activity?start_date={DAY}&end_date=2026-11-19", "the last day is before the first"),
    ],
)  # fmt: skip
def test_parameter_that_cannot_be_used_is_refused_by_name(empty: Store, path: str, told: str) -> None:
    assert told in refusal(ask(empty, "GET", path))


USAGE = {"input_tokens": 1_000, "output_tokens": 100, "cache_read_input_tokens": 10_000}


@pytest.mark.parametrize(
    ("response", "nanousd"),
    [
        ({"model": "claude-opus-5-5", "usage": USAGE}, 4_000_000 + 2_000_000 + 2_000_000),
        (
            {
                "model": "claude-opus-5-5",
                "object": "chat.completion",
                "usage": {
                    "prompt_tokens": 11_000,
                    "completion_tokens": 100,
                    "prompt_tokens_details": {"cached_tokens": 10_000},
                },
            },
            8_000_000,
        ),
        (
            {
                "model": "claude-opus-5-5",
                "usage": USAGE,
                "content": [],
                "stop_reason": "refusal",
                "stop_details": {"category": "cyber"},
            },
            0,
        ),
    ],
    ids=["Anthropic's", "OpenAI's", "a refusal"],
)
def test_answer_is_priced_as_it_would_be_on_the_way(
    empty: Store, response: dict[str, Any], nanousd: int
) -> None:
    found = post(empty, "/spend/calculate", {"completion_response": response})
    assert (found["cost"], found["cost_nanousd"]) == (nanousd / 1e9, nanousd)
    assert (found["price_source"], found["estimated"]) == ("catalog", False)


def test_prompt_is_estimated_by_its_bytes(empty: Store) -> None:
    messages = [{"role": "user", "content": "x" * 3_000}]
    found = post(empty, "/spend/calculate", {"model": "claude-opus-5-5", "messages": messages})
    (part,) = found["breakdown"]
    assert (part["what"], found["estimated"]) == ("input", True)
    assert 3_000 // BYTES_PER_TOKEN < part["units"] < 3_100 // BYTES_PER_TOKEN
    assert found["cost_nanousd"] == part["units"] * 4_000
    unknown = post(empty, "/spend/calculate", {"model": "new", "messages": messages})
    assert (unknown["price_source"], unknown["price_revision"]) == ("fallback", load_catalog().revision)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "wanted either `messages`"),
        ({"messages": [], "completion_response": {}, "model": "m"}, "wanted either"),
        ({"messages": []}, "`model` is missing"),
        ({"completion_response": {"usage": {}}}, "`completion_response` has no `model`"),
        ({"completion_response": {"model": "m"}}, "`completion_response` cannot be used"),
        ({"completion_response": {"model": "m", "usage": {"input_tokens": "x"}}}, "`usage` cannot be used"),
        ({"model": 1}, "the body cannot be used"),
        ([], "the body cannot be used"),
    ],
)
def test_question_that_cannot_be_priced_is_refused(empty: Store, body: object, told: str) -> None:
    assert told in refusal(ask(empty, "POST", "/spend/calculate", body))


def test_body_is_bounded(empty: Store) -> None:
    body = {"model": "m", "messages": ["x" * (1 << 20)]}
    assert "larger than" in refusal(ask(empty, "POST", "/spend/calculate", body), 413)
    assert "unknown field `x`" in refusal(ask(empty, "POST", "/global/spend/end_users", {"x": 1}))
