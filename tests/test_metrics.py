"""Metrics of a whole gateway, read as Prometheus reads them; what counts them; and what is built on them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ferryman.control.metrics import counts as counting
from ferryman.simulator.server import Server as Simulator
from ferryman.telemetry.exposition import Metric
from ferryman.telemetry.metrics import METRICS
from tests.support.metrics import Samples, samples, value
from tests.support.processes import Family, until
from tests.test_cli import Process

ROOT = Path(__file__).parent.parent
MASTER = "sk-master"
AS_MASTER = {"authorization": f"Bearer {MASTER}"}
MODEL = "claude-opus-4-5"


class Watched:
    """A gateway of two workers before a simulator, with a port for metrics."""

    def __init__(self, directory: Path, stack: ExitStack, *words: str) -> None:
        self.port = free_port()
        simulator = stack.enter_context(Simulator())
        self.family = stack.enter_context(
            Family(
                directory,
                *("--workers", "2", "--upstream-url", simulator.url, "--metrics-port", str(self.port)),
                *words,
                env={"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": "sk-ant-x"},
            )
        )
        self.client = stack.enter_context(httpx.Client(base_url=self.family.url, timeout=20))

    def made(self, path: str, **fields: Any) -> dict[str, Any]:
        response = self.client.post(path, headers=AS_MASTER, json=fields)
        assert response.status_code == 200, response.text
        made: dict[str, Any] = response.json()
        return made

    def ask(self, key: str, **changes: Any) -> int:
        body = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
        return self.client.post("/v1/messages", headers={"x-api-key": key}, json=body | changes).status_code

    def text(self) -> str:
        response = httpx.get(f"http://127.0.0.1:{self.port}/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return response.text

    def left(self, kind: str) -> float:
        """What is left of the budget of that kind."""
        return value(samples(self.text()), "ferryman_budget_remaining_usd", kind=kind)

    def counted(self, exchanges: int) -> Samples:
        """What is told once so many exchanges are."""

        def there() -> Samples:
            found = samples(self.text())
            return found if value(found, "ferryman_requests_total") >= exchanges else {}

        return until(there, "counted")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def test_gateway_tells_what_all_its_workers_have_done(tmp_path: Path, stack: ExitStack) -> None:
    gateway = Watched(tmp_path, stack, "--max-budget", "5", "--budget-duration", "1d")
    key = gateway.made("/key/generate", key_alias='quo"ted\\key', max_budget=1)["key"]
    assert [gateway.ask(key, stream=stream) for stream in (False, True, False)] == [200] * 3
    assert gateway.ask(key, model="no-such-model-at-all") == 404
    assert gateway.ask("sk-nobody") == 401
    found = gateway.counted(5)
    assert value(found, "ferryman_requests_total", endpoint="messages", model=MODEL, status="200") == 3
    assert value(found, "ferryman_errors_total", side="client") == 2
    assert value(found, "ferryman_errors_total", **{"class": "authentication"}) == 1
    assert value(found, "ferryman_request_duration_seconds_count", model=MODEL, stream="true") == 1
    assert value(found, "ferryman_time_to_first_token_seconds_count", model=MODEL) == 3
    assert value(found, "ferryman_overhead_seconds_count") >= 3
    assert value(found, "ferryman_tokens_total", **{"class": "output"}) == 60
    spent = value(found, "ferryman_spend_usd_total", model=MODEL)
    assert spent > 0
    assert value(found, "ferryman_key_spend_usd_total") == pytest.approx(spent)
    assert value(found, "ferryman_key_info", alias='quo"ted\\key') == 1
    for kind, cap in (("gateway", 5), ("key", 1)):
        assert value(found, "ferryman_budget_limit_usd", kind=kind) == cap
        until(lambda kind=kind, left=cap - spent: gateway.left(kind) == pytest.approx(left), "told")  # type: ignore[misc]  # its defaults are bound at once
    assert value(found, "ferryman_worker_ready") == value(found, "ferryman_journal_healthy") == 2
    # Workers tell how they fare once a second.
    opened = "ferryman_upstream_connections_opened_total"
    assert until(lambda: value(samples(gateway.text()), opened) >= 1, "told")
    assert value(found, "ferryman_entries_lost_total") == 0
    assert value(found, "ferryman_entries_stored_total") == 5
    assert value(found, "ferryman_database_up") == 1
    assert value(found, "ferryman_journal_lag_seconds") < 10
    assert value(found, "ferryman_process_resident_memory_bytes", process="worker 2") > 0
    assert not [name for name, _ in found if "end_user" in name]


def test_main_port_tells_them_to_whom_may_see_everything(tmp_path: Path, stack: ExitStack) -> None:
    gateway = Watched(tmp_path, stack)
    gateway.made("/user/new", user_id="eve", user_role="proxy_admin_viewer", auto_create_key=False)
    viewer = gateway.made("/key/generate", user_id="eve")["key"]
    other = gateway.made("/key/generate")["key"]

    def status(key: str | None) -> int:
        headers = {} if key is None else {"x-api-key": key}
        return gateway.client.get("/metrics", headers=headers).status_code

    assert [status(key) for key in (MASTER, viewer, other, None)] == [200, 200, 403, 401]
    assert httpx.get(f"http://127.0.0.1:{gateway.port}/key/list").status_code == 404


def test_metrics_port_that_is_taken_is_said_at_the_start(tmp_path: Path, stack: ExitStack) -> None:
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    process = stack.enter_context(Process(tmp_path, "-p", "0", "--metrics-port", str(port)))
    code, _, err = process.end()
    assert code == 2
    assert f"metrics_port: cannot listen on `127.0.0.1:{port}`" in err


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        ((), False),
        (("--metrics-end-user",), True),
        (
            (
                "--metrics-end-user",
                "--litellm-settings",
                "{disable_end_user_cost_tracking_prometheus_only: true}",
            ),
            False,
        ),
        (("--litellm-settings", "{enable_end_user_cost_tracking_prometheus_only: true}"), True),
    ],
)
def test_end_users_are_counted_where_that_is_switched_on(
    tmp_path: Path, stack: ExitStack, words: tuple[str, ...], *, counted: bool
) -> None:
    gateway = Watched(tmp_path, stack, "--max-end-user-budget", "2", *words)
    key = gateway.made("/key/generate")["key"]
    assert gateway.ask(key, metadata={"user_id": "ann"}) == 200
    found = gateway.counted(1)
    assert value(found, "ferryman_end_user_requests_total", end_user="ann") == int(counted)
    assert (value(found, "ferryman_end_user_spend_usd_total") > 0) is counted
    assert value(found, "ferryman_budget_limit_usd", kind="customer") == 2 * int(counted)


# ── what is built on them ──


def told(directory: Path, stack: ExitStack) -> set[str]:
    """Every name on a real page, as queries write them."""
    names = set()
    for line in Watched(directory, stack).text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            names |= (
                {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
            )
    return names


def test_dashboard_and_alerts_name_what_is_told_and_all_of_it_is_documented(
    tmp_path: Path, stack: ExitStack
) -> None:
    there = told(tmp_path, stack)
    dashboard = (ROOT / "deploy" / "grafana.json").read_text("utf-8")
    alerts = (ROOT / "deploy" / "alerts.yaml").read_text("utf-8")
    for text in (dashboard, alerts):
        assert set(re.findall(r"ferryman_\w+", text)) <= there
    rules = yaml.safe_load(alerts)["groups"][0]["rules"]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert set(re.findall(r"ferryman:\w+:\w+", alerts)) == recorded
    assert all(rule["annotations"].keys() == {"summary", "todo"} for rule in rules if "alert" in rule)
    panels = json.loads(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there}
    assert (
        bases == {one.name for one in METRICS} == set(re.findall(r"^\| `(ferryman_\w+)`", page, re.MULTILINE))
    )


def test_an_alert_tells_of_all_that_is_given_up() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    watched = " ".join(rule["expr"] for rule in rules if "alert" in rule)
    given_up = [one.name for one in METRICS if one.name.endswith(("_dropped_total", "_lost_total"))]
    assert len(given_up) == 3
    assert [name for name in given_up if f"{name}[" not in watched and f"{name} " not in watched] == []


def test_labels_in_queries_are_labels_of_their_metrics() -> None:
    by_name = {one.name: {*one.labels, "le"} for one in METRICS}
    text = (ROOT / "deploy" / "grafana.json").read_text("utf-8").replace('\\"', '"')
    text += (ROOT / "deploy" / "alerts.yaml").read_text("utf-8")
    for name, matchers in re.findall(r"(ferryman_\w+)\{([^}]*)\}", text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert set(re.findall(r"(\w+)!?=", matchers)) <= by_name.get(name, by_name.get(base, set()))


def test_bounds_in_the_text_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert f"| models | {counting.MAX_MODELS} |" in page
    assert f"| keys | {counting.MAX_NAMES:,} |" in page
    assert f"| combinations of labels of exchanges | {counting.MAX_SERIES:,} |" in page


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"ferryman_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert bool(metric.bounds) is (metric.kind == "histogram")
    assert list(metric.bounds) == sorted(metric.bounds)
