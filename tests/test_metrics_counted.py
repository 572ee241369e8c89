"""Counting entries into metrics: each once, in few series, in the right place."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ferryman.control.metrics import counts as counting
from ferryman.control.metrics.counts import Counts
from ferryman.control.metrics.gauges import KINDS, MAX_BUDGETS, told
from ferryman.control.metrics.labels import endpoint_of, error_of
from ferryman.control.rows import Capped
from ferryman.ledger.records import encode
from ferryman.model import SETTLEMENT, CacheCreation, Cost, Ended, Entry, ServerToolUse, Usage
from ferryman.store.rollup import summed
from ferryman.store.rows import row_of
from ferryman.telemetry.exposition import Metric, Page
from ferryman.telemetry.metrics import METRICS
from tests.support.metrics import Samples, samples, value
from tests.support.stores import NOON, entry, opened, sqlite_url

MODEL = "claude-opus-4-5"


def page_of(entries: list[Entry], *, tells_end_users: bool = False) -> Samples:
    """What is told of entries that are counted in one batch."""
    counts = Counts(tells_end_users=tells_end_users)
    count(counts, entries)
    return put(counts)


def count(counts: Counts, entries: list[Entry]) -> None:
    rows = [row_of(encode(one)) for one in entries]
    counts.count(rows, summed(rows)[0])


def put(counts: Counts) -> Samples:
    page = Page(METRICS)
    counts.put(page)
    return samples(page.text())


def test_token_classes_exclude_each_other() -> None:
    usage = Usage(
        input_tokens=1,
        output_tokens=20,
        cache_creation_input_tokens=300,
        cache_read_input_tokens=4_000,
        cache_creation=CacheCreation(ephemeral_1h_input_tokens=100),
        server_tool_use=ServerToolUse(web_search_requests=2),
    )
    found = page_of([entry(1, usage=usage)])
    names = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
    assert [value(found, "ferryman_tokens_total", **{"class": name}) for name in names] == [
        1,
        20,
        200,
        100,
        4_000,
    ]
    assert value(found, "ferryman_cache_hit_ratio") == pytest.approx(4_000 / 4_301)
    assert value(found, "ferryman_server_tool_uses_total", tool="web_search") == 2


@pytest.mark.parametrize("times", [1, counting.FEW])
def test_each_bucket_has_what_is_up_to_its_bound(times: int) -> None:
    lengths = (0.01, 0.05, 0.06, 601.0) * times
    found = page_of([entry(number, duration_seconds=length) for number, length in enumerate(lengths)])
    bucket = "ferryman_request_duration_seconds_bucket"
    assert [value(found, bucket, le=bound) for bound in ("0.05", "0.1", "600", "+Inf")] == [
        number * times for number in (2, 3, 3, 4)
    ]
    assert value(found, "ferryman_request_duration_seconds_sum") == pytest.approx(601.12 * times)


def test_batches_of_entries_add_up() -> None:
    counts = Counts()
    for day in range(3):
        count(counts, [entry(day, started_at=NOON + timedelta(days=day), principal="k", cost=cost(10))])
    found = put(counts)
    assert (
        value(found, "ferryman_requests_total") == value(found, "ferryman_key_requests_total", key="k") == 3
    )
    assert value(found, "ferryman_spend_usd_total") == pytest.approx(30e-9)


def test_settlement_of_a_batch_is_no_request_for_results() -> None:
    path = "/v1/messages/batches/msgbatch_1/results"
    found = page_of([entry(1, path=path, method="GET"), entry(2, path=path, method=SETTLEMENT)])
    assert value(found, "ferryman_requests_total", endpoint="batches") == 1
    assert value(found, "ferryman_requests_total", endpoint="settlement") == 1


def test_models_that_clients_make_up_get_no_series() -> None:
    found = page_of([entry(n, model=f"made-up-{n}", status=404) for n in range(50)])
    assert value(found, "ferryman_requests_total", model="(other)") == 50


def test_series_are_bounded() -> None:
    numbers = range(2 * counting.MAX_NAMES)
    found = page_of(
        [entry(n, model=f"m{n}", principal=f"k{n}", end_user=f"u{n}") for n in numbers], tells_end_users=True
    )
    models = {dict(labels)["model"] for name, labels in found if name == "ferryman_requests_total"}
    assert len(models) == counting.MAX_MODELS + 1
    for name in ("key", "end_user"):
        ours = [one for one in found if one[0] == f"ferryman_{name}_requests_total"]
        assert len(ours) == counting.MAX_NAMES + 1
        assert sum(found[one] for one in ours) == len(numbers)


def test_statuses_without_end_are_counted_together() -> None:
    counts = Counts()
    models = [f"m{n}" for n in range(counting.MAX_MODELS)]
    count(counts, [entry(n, model=model) for n, model in enumerate(models)])
    many = [
        entry(n, model=model, status=status) for n, model in enumerate(models) for status in range(400, 460)
    ]
    count(counts, many)
    found = put(counts)
    assert len([one for one in found if one[0] == "ferryman_requests_total"]) <= counting.MAX_SERIES + 1
    assert value(found, "ferryman_requests_total") == len(models) + len(many)


def test_model_priced_as_another_is_told() -> None:
    found = page_of([entry(1, cost=cost(1, "fallback")), entry(2, cost=cost(1))])
    assert value(found, "ferryman_fallback_priced_total", model=MODEL) == 1


def cost(nanousd: int, source: str = "catalog") -> Cost:
    return Cost(nanousd, source, "r", [])


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/messages", "messages"),
        ("/anthropic/v1/messages", "messages"),
        ("/v1/messages/count_tokens", "count_tokens"),
        ("/v1/messages/batches/x/results", "batches"),
        ("/v1/files/file_1/content", "files"),
        ("/v1/chat/completions", "chat/completions"),
        ("/v1/messages_x", "(other)"),
        ("/anything", "(other)"),
    ],
)
def test_paths_belong_to_few_endpoints(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


@pytest.mark.parametrize(
    ("status", "ended", "error"),
    [
        (200, Ended.DONE, None),
        (529, Ended.DONE, ("overloaded", "upstream")),
        (429, Ended.DONE, ("rate_limit", "upstream")),
        (400, Ended.DONE, ("invalid_request", "client")),
        (418, Ended.DONE, ("4xx", "client")),
        (429, Ended.REFUSED, ("rate_limit", "client")),
        (529, Ended.REFUSED, ("overloaded", "ferryman")),
        (200, Ended.CLIENT_GONE, ("client_gone", "client")),
        (504, Ended.TIMEOUT, ("timeout", "upstream")),
        (0, Ended.INTERRUPTED, ("interrupted", "ferryman")),
    ],
)
def test_errors_have_a_side(status: int, ended: Ended, error: tuple[str, str] | None) -> None:
    assert error_of(status, ended.value) == error


def test_entry_that_is_stored_twice_is_counted_once(tmp_path: Path) -> None:
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        counts = Counts()
        store.write.on_stored = lambda new: counts.count(new.rows, new.sums)
        store.write.insert_entries([entry(1), entry(2)])
        store.write.insert_entries([entry(1), entry(3)])
        assert value(put(counts), "ferryman_requests_total") == 3


def test_value_is_written_as_prometheus_reads_it() -> None:
    metric = Metric("ferryman_x", "gauge", "An x.", ("a",))
    page = Page([metric])
    page.add(metric, 1.5, 'back\\slash "quoted"\nline')
    assert samples(page.text()) == {("ferryman_x", frozenset({("a", 'back\\slash "quoted"\nline')})): 1.5}
    with pytest.raises(ValueError, match="zip"):
        page.add(metric, 1)


def test_no_number_of_end_users_pushes_the_budget_of_a_key_out() -> None:
    scopes = [*(f"customer:{number}" for number in range(MAX_BUDGETS + 5)), "key:laptop", "session:s"]
    found = told([((scope, "1d", ""), Capped(cap_nanousd=1)) for scope in scopes], KINDS)
    assert len(found) == MAX_BUDGETS
    assert found[0][0][0] == "key:laptop"
