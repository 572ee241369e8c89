"""The ledger over HTTP, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ferryman.clock import SystemClock
from ferryman.control.app import create_app
from ferryman.control.asking import MAX_WAITING, THREADS
from ferryman.control.spend import Spend, routes
from ferryman.control.spend_query import LIST_PARAMETERS, MAX_LISTED, NOT_BUILT, PAGE_PARAMETERS
from ferryman.control.spend_row import row_of
from ferryman.errors import StoreUnavailable
from ferryman.model import CacheCreation, Cost, CostPart, Ended, Entry, Usage
from ferryman.store.read import Filter, Page, Reader
from ferryman.store.store import Store
from tests.support.postgres import Server
from tests.support.stores import NOON, entry, opened, sqlite_url

Get = Callable[..., httpx.Response]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Store]:
    """A store where it does not matter which."""
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        yield store


def answers(reader: Reader, path: str, number: int = 1, **parameters: Any) -> list[httpx.Response]:
    """The answers to `number` requests at once."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(routes(reader), SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return list(
                await asyncio.gather(*[client.get(path, params=parameters or None) for _ in range(number)])
            )

    return asyncio.run(ask())


def get(store: Store, path: str, **parameters: Any) -> Any:
    (response,) = answers(store.read, path, **parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def refusal(store: Store, path: str, query: str) -> str:
    (response,) = answers(store.read, f"{path}?{query}")
    body = response.json()
    assert (response.status_code, body["type"]) == (400, "error")
    assert body["error"]["type"] == "invalid_request_error"
    return str(body["error"]["message"])


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["request_id"][-6:], 16) for row in rows]


def test_row_has_litellms_names_and_every_field_of_ours(store: Store) -> None:
    usage = Usage(
        input_tokens=1,
        output_tokens=20,
        cache_creation_input_tokens=300,
        cache_read_input_tokens=4_000,
        cache_creation=CacheCreation(100, 200),
        service_tier="standard",
    )
    notes = {"team": msgspec.Raw(b'"red"'), "n": msgspec.Raw(b"[1]")}
    told = entry(
        1,
        usage=usage,
        spend_logs_metadata=notes,
        end_user="ann",
        tags=["a", "b"],
        upstream_request_id="req_1",
        stream=True,
    )
    store.write.insert_entries([told])
    (row,) = get(store, "/spend/logs")
    assert get(store, "/spend/logs/v2")["data"] == [row]
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (4_301, 20, 4_321)
    assert (row["startTime"], row["endTime"]) == ("2026-11-20T12:01:00Z", "2026-11-20T12:01:01.500000Z")
    assert (row["status"], row["http_status"], row["ended"]) == ("success", 200, "done")
    assert (row["request_tags"], row["end_user"], row["call_type"]) == (
        ["a", "b"],
        "ann",
        "anthropic_messages",
    )
    assert (row["ephemeral_1h_input_tokens"], row["thinking_tokens"]) == (200, None)
    assert row["metadata"] == {"spend_logs_metadata": {"team": "red", "n": [1]}}
    assert row["spend"] is None
    assert set(Entry.__struct_fields__) - {"usage", "cost"} <= set(row)
    assert set(Usage.__struct_fields__) - {
        "cache_creation",
        "server_tool_use",
        "output_tokens_details",
    } <= set(row)


@pytest.mark.parametrize(
    ("changes", "sums"),
    [
        pytest.param({"usage": None}, (0, 0, 0), id="none to come"),
        pytest.param({"usage": None, "usage_complete": False}, (None, None, None), id="unknown"),
        pytest.param(
            {"usage": Usage(input_tokens=3), "usage_complete": False}, (3, None, 3), id="known in part"
        ),
    ],
)
def test_tokens_that_are_not_known_are_never_zero(
    changes: dict[str, Any], sums: tuple[int | None, ...]
) -> None:
    row = row_of(entry(1, **changes))
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == sums


def test_row_tells_what_it_cost_exactly_and_in_dollars(store: Store) -> None:
    parts = [CostPart("claude-opus-4-5", "output", 3, 25_000_000, 1, 2)]
    cost = Cost(37_500, "catalog", "r", parts, estimated=True)
    store.write.insert_entries([entry(1, cost=cost), entry(2, usage=None), entry(3)])
    unknown, free, row = get(store, "/spend/logs")
    assert (row["spend"], row["cost_nanousd"]) == (0.0000375, 37_500)
    assert (row["price_source"], row["price_revision"], row["estimated"]) == ("catalog", "r", True)
    assert row["breakdown"] == [
        {
            "model": "claude-opus-4-5",
            "what": "output",
            "units": 3,
            "picousd_per_unit": 25_000_000,
            "multiplier": "0.5",
            "picousd": 37_500_000,
        }
    ]
    assert (free["spend"], unknown["spend"]) == (0.0, None)
    assert (free["cost_nanousd"], unknown["breakdown"]) == (None, None)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"min_spend": "0.000000002"}, [3, 2]),
        ({"min_spend": "0.0000000021"}, [3]),
        ({"max_spend": "0.0000000029"}, [2, 1, 0]),
        ({"min_spend": "0.000000001", "max_spend": "0.000000002"}, [2, 1]),
        ({"min_spend": "0", "max_spend": "0"}, [0]),
    ],
)
def test_entries_are_found_by_what_they_cost(
    store: Store, parameters: dict[str, str], expected: list[int]
) -> None:
    costs = [None, *(Cost(number, "catalog", "r", []) for number in (1, 2, 3))]
    store.write.insert_entries([entry(number, cost=cost) for number, cost in enumerate(costs)])
    body = get(store, "/spend/logs/v2", **parameters)
    assert (numbers(body["data"]), body["total"]) == (expected, len(expected))


def test_callers_notes_are_in_metadata_as_in_litellm() -> None:
    row = row_of(entry(1, spend_logs_metadata={"team": b"1"}, time_to_first_byte_seconds=0.5))
    assert row["metadata"] == {"spend_logs_metadata": {"team": b"1"}}
    assert row["completionStartTime"] == row["startTime"] + timedelta(seconds=0.5)
    assert row_of(entry(1))["metadata"] == {}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"end_user": "ann"}, [1]),
        ({"model": "claude-haiku-4-5"}, [2]),
        ({"session_id": "s"}, [3]),
        ({"status_filter": "failure"}, [3]),
        ({"status_filter": "success"}, [2, 1, 0]),
        ({"request_id": entry(2).id}, [2]),
        ({"request_id": "another"}, []),
        ({"start_date": "2026-11-20T12:02:00Z"}, [3, 2]),
        ({"start_date": "2026-11-20 13:02:00+01:00", "sort_by": "startTime"}, [3, 2]),
        ({"end_date": "2026-11-20T12:02:00"}, [2, 1, 0]),
        ({"start_date": "2026-11-20", "end_date": "2026-11-20"}, [3, 2, 1, 0]),
        ({"start_date": "2026-11-21"}, []),
        ({"sort_order": "asc"}, [0, 1, 2, 3]),
    ],
)
def test_parameters_select(store: Store, parameters: dict[str, str], expected: list[int]) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"end_user": "ann"},
        {"model": "claude-haiku-4-5"},
        {"session_id": "s", "status": 529},
    ]
    store.write.insert_entries([entry(number, **change) for number, change in enumerate(changes)])
    body = get(store, "/spend/logs/v2", **parameters)
    assert numbers(body["data"]) == expected
    assert (body["total"], body["total_is_exact"]) == (len(expected), True)


def test_plus_of_an_offset_may_stand_unescaped(one: Store) -> None:
    one.write.insert_entries([entry(number) for number in range(4)])
    assert numbers(get(one, "/spend/logs/v2?start_date=2026-11-20T13:02:00+01:00")["data"]) == [3, 2]


def test_old_form_is_a_list_and_its_user_is_the_end_user(store: Store) -> None:
    store.write.insert_entries([entry(0), entry(1, end_user="ann"), entry(2, end_user="bob")])
    assert numbers(get(store, "/spend/logs")) == [2, 1, 0]
    assert numbers(get(store, "/spend/logs", user_id="ann", summarize="false")) == [1]
    assert numbers(get(store, "/spend/logs", request_id=entry(2).id)) == [2]
    assert numbers(
        get(store, "/spend/logs", start_date="2026-11-20T12:01Z", end_date="2026-11-20T12:01Z")
    ) == [1]


def test_old_form_ends_at_its_cap(one: Store) -> None:
    one.write.insert_entries([entry(number) for number in range(MAX_LISTED + 5)])
    rows = get(one, "/spend/logs")
    assert (len(rows), numbers(rows[:1] + rows[-1:])) == (MAX_LISTED, [MAX_LISTED + 4, 5])
    body = get(one, "/spend/logs/v2", page=10, page_size=1000)
    assert (body["total"], body["total_is_exact"], body["total_pages"]) == (MAX_LISTED, False, 10)
    assert numbers(body["data"])[-1] == 5
    body = get(one, "/spend/logs/v2", cursor=body["next_cursor"])
    assert numbers(body["data"]) == [4, 3, 2, 1, 0]
    assert (body["page"], body["next_cursor"]) == (None, None)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_by_number_and_by_cursor_hold_each_entry_once(store: Store, order: str) -> None:
    same_moment = [entry(number, started_at=NOON) for number in range(7)]
    store.write.insert_entries(same_moment)
    expected = list(range(7)) if order == "asc" else list(range(7))[::-1]
    by_number: list[int] = []
    for page in (1, 2, 3, 4):
        body = get(store, "/spend/logs/v2", page=page, page_size=3, sort_order=order)
        assert (body["page"], body["page_size"], body["total"], body["total_pages"]) == (page, 3, 7, 3)
        by_number += numbers(body["data"])
    body = get(store, "/spend/logs/v2", page_size=3, sort_order=order)
    by_cursor = numbers(body["data"])
    while (cursor := body["next_cursor"]) is not None:
        body = get(store, "/spend/logs/v2", page_size=3, sort_order=order, cursor=cursor)
        by_cursor += numbers(body["data"])
    assert by_number == by_cursor == expected


@pytest.mark.parametrize("name", sorted(NOT_BUILT))
@pytest.mark.parametrize("path", ["/spend/logs", "/spend/logs/v2"])
def test_parameter_that_is_not_built_is_refused_by_name(one: Store, path: str, name: str) -> None:
    if name not in (LIST_PARAMETERS if path == "/spend/logs" else PAGE_PARAMETERS):
        assert refusal(one, path, f"{name}=true").startswith(f"`{name}` is not built yet")
    elif name == "summarize":
        assert "ask `/user/daily/activity`" in refusal(one, path, "summarize=true")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("nmae=x", "`nmae` is not known here; known are `start_date`"),
        ("model=a&model=b", "`model` is there twice"),
        ("model=", "`model` has no value"),
        ("model=a%00", "`model` has no value"),
        ("page=0", "`page`: `0` cannot be used"),
        ("page=x", "`page`: `x`"),
        ("page_size=1001", "from 1 to 1000"),
        ("page=201", "`cursor`"),
        ("page=1&cursor=1", "exclude each other"),
        ("cursor=x", "`cursor`: `x`"),
        ("sort_by=spend", "`sort_by`: `spend` is not served"),
        ("sort_order=up", "`sort_order`: `up`"),
        ("min_spend=-1", "`min_spend`: `-1` cannot be used; wanted dollars"),
        ("max_spend=1e3", "`max_spend`: `1e3`"),
        ("min_spend=2&max_spend=1.99", "`max_spend` is less than `min_spend`"),
        ("status_filter=ok", "`status_filter`: `ok`"),
        ("start_date=yesterday", "`start_date`: `yesterday`"),
        ("end_date=2026-02-30", "`end_date`: `2026-02-30`"),
        ("end_date=9999-12-31", "`end_date`: `9999-12-31`"),
        ("start_date=2026-11-22&end_date=2026-11-21", "`end_date` is before `start_date`"),
    ],
)
def test_parameter_that_cannot_be_used_is_refused_by_name(one: Store, query: str, told: str) -> None:
    assert told in refusal(one, "/spend/logs/v2", query)


def test_database_that_is_away_is_503_with_retry_after(server: Server) -> None:
    with closing(opened(server.url("nowhere"))) as store:
        for path in ("/spend/logs", "/spend/logs/v2"):
            (response,) = answers(store.read, path)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "x-should-retry" not in response.headers
            assert "the ledger cannot be read for now" in response.json()["error"]["message"]


class SlowReader(Reader):
    """Answers only when it is let, and notes in how many threads it is asked at once."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.most = 0
        self.asked = 0
        self._now = 0
        self._lock = threading.Lock()

    def page(self, *_: Any, **__: Any) -> Page:
        with self._lock:
            self._now += 1
            self.asked += 1
            self.most = max(self.most, self._now)
        self.let.wait(10)
        with self._lock:
            self._now -= 1
        return Page([], None)


def test_reports_have_few_threads_and_beyond_a_bound_are_refused() -> None:
    reader = SlowReader()
    threading.Timer(0.3, reader.let.set).start()
    statuses = [response.status_code for response in answers(reader, "/spend/logs", MAX_WAITING + 3)]
    assert sorted(statuses) == [200] * MAX_WAITING + [529] * 3
    assert reader.most == THREADS


def test_reports_that_waited_behind_one_that_found_the_database_away_are_told_so_at_once() -> None:
    class Away(SlowReader):
        def page(self, *words: Any, **named: Any) -> Page:
            super().page(*words, **named)
            raise StoreUnavailable("it hangs")

    reader = Away()
    threading.Timer(0.3, reader.let.set).start()
    found = answers(reader, "/spend/logs", MAX_WAITING)
    assert {response.status_code for response in found} == {503}
    assert reader.asked == THREADS, "none of the others tried again by itself"


def test_failures_are_those_of_the_filter(one: Store) -> None:
    odd = [entry(1, ended=Ended.CLIENT_GONE), entry(2, status=None), entry(3, status=404), entry(4)]
    one.write.insert_entries(odd)
    told = {row["request_id"]: row["status"] for row in get(one, "/spend/logs")}
    failures = one.read.page(Filter(outcome="failure")).entries
    assert {key for key, status in told.items() if status == "failure"} == {each.id for each in failures}


def test_end_waits_for_no_report(one: Store) -> None:
    """The next control plane waits for this one."""
    go = threading.Event()
    spend = Spend(one.read)
    reports = [spend.asking.threads.submit(go.wait, 10) for _ in range(THREADS + 1)]
    spend.close()
    assert not any(report.done() for report in reports[:THREADS])
    assert reports[THREADS].cancelled()
    go.set()
