"""Traces: what a collector is told of exchanges, and that nobody waits for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)

from ferryman.control.traces import FLUSH_SPANS, MAX_WAITING, Traces
from ferryman.http1.origin import Origin
from ferryman.ledger.records import encode
from ferryman.model import SETTLEMENT, Cost, Ended, Entry, OutputTokensDetails, Usage
from ferryman.simulator.server import Server as Simulator
from ferryman.store.rows import entry_of_row, row_of
from ferryman.telemetry.otel import EntryIds, Tracing
from ferryman.telemetry.spans import span_of
from tests.conftest import Bench
from tests.support.collector import Collector
from tests.support.processes import Family
from tests.support.stores import entry
from tests.test_cli import DEADLINE_SECONDS, Process

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UPSTREAM = Origin("https", "api.anthropic.com", 443)
ASKED: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Tell nobody."}],
}
CONVENTIONS = {
    value
    for module in (
        gen_ai_attributes,
        client_attributes,
        error_attributes,
        http_attributes,
        server_attributes,
        url_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper()
}


class Traced:
    """A gateway that traces, before the simulator."""

    def __init__(
        self, stack: ExitStack, directory: Path, config: str | None = None, **variables: str
    ) -> None:
        self.collector = stack.enter_context(Collector())
        self.simulator = stack.enter_context(Simulator())
        env = {
            "ANTHROPIC_API_KEY": "sk-ant-the-server-key",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            **variables,
        }
        words = ("-c", config) if config is not None else ("--upstream-url", self.simulator.url)
        self.family = stack.enter_context(Family(directory, *words, env=env))

    def ask(self, traceparent: str | None = SAMPLED, **more: Any) -> httpx.Response:
        """Ask for a message."""
        headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"} | more.pop("headers", {})
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return httpx.post(
            f"{self.family.url}/v1/messages", json=ASKED | more, headers=headers, timeout=DEADLINE_SECONDS
        )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture
def traced(stack: ExitStack, tmp_path: Path) -> Traced:
    return Traced(stack, tmp_path)


def test_message_is_a_span_of_the_clients_trace(traced: Traced) -> None:
    asked_at = datetime.now(UTC)
    answer = traced.ask(headers={"x-ferryman-tags": "blue,red", "x-claude-code-session-id": "s-1"})
    (span,) = traced.collector.wanted(1)
    assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
    assert (span.name, span.kind, span.error) == ("chat claude-opus-5-5", "client", None)
    usage = answer.json()["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-opus-5-5",
        "gen_ai.response.model": "claude-opus-5-5",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
        "ferryman.request_id": answer.headers["x-ferryman-request-id"],
        "ferryman.tags": ["blue", "red"],
        "ferryman.ended": "done",
    }
    assert {name: span.attributes[name] for name in expected} == expected
    assert span.resource["service.name"] == "ferryman"
    length = timedelta(seconds=(span.ended_at_nanoseconds - span.started_at_nanoseconds) / 1e9)
    began = datetime.fromtimestamp(span.started_at_nanoseconds / 1e9, UTC)
    assert asked_at - timedelta(seconds=1) < began <= began + length < datetime.now(UTC)
    assert "Tell nobody." not in str(span)
    assert "sk-ant" not in str(span)
    assert traced.collector.paths == {"/v1/traces"}


def test_span_names_the_upstream_that_has_the_model(stack: ExitStack, tmp_path: Path) -> None:
    main, spare = stack.enter_context(Simulator()), stack.enter_context(Simulator())
    config = tmp_path / "two.yaml"
    blocks = {
        "main": {"base_url": main.url, "api_key": "k"},
        "spare": {"base_url": spare.url, "api_key": "k", "models": ["claude-haiku-*"]},
    }
    config.write_text(json.dumps({"upstreams": blocks}))
    traced = Traced(stack, tmp_path, str(config))
    for model in ("claude-opus-5-5", "claude-haiku-5-5"):
        assert traced.ask(model=model).status_code == 200
    spans = traced.collector.wanted(2)
    ports = {span.attributes["gen_ai.request.model"]: span.attributes["server.port"] for span in spans}
    assert ports == {
        "claude-opus-5-5": int(main.url.rpartition(":")[2]),
        "claude-haiku-5-5": int(spare.url.rpartition(":")[2]),
    }


def test_context_goes_upstream_as_it_came(stack: ExitStack, line: Bench) -> None:
    gateway, upstream = line.pair()
    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1,other=2", "baggage": "a=b"}
    httpx.get(f"{gateway.url}/v1/models", headers=headers, timeout=DEADLINE_SECONDS)
    for name, value in headers.items():
        assert upstream.requests[0].values(name.encode()) == [value.encode()]
    assert gateway.entry().traceparent == SAMPLED


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (SAMPLED, SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01-later", f"cc-{TRACE}-{SPAN}-01"),
        (SAMPLED.upper(), None),
        ("00-1-2-01", None),
        ("", None),
    ],
)
def test_only_what_is_a_traceparent_is_kept(line: Bench, header: str, kept: str | None) -> None:
    gateway, _ = line.pair()
    httpx.get(f"{gateway.url}/v1/models", headers={"traceparent": header}, timeout=DEADLINE_SECONDS)
    assert gateway.entry().traceparent == kept


def test_stream_error_and_other_paths_are_spans(traced: Traced) -> None:
    traced.ask(stream=True)
    traced.ask(headers={"x-simulator": "status=529"})
    httpx.get(
        f"{traced.family.url}/v1/models/claude-opus-5-5",
        headers={"x-api-key": "any"},
        timeout=DEADLINE_SECONDS,
    )
    stream, failed, other = sorted(traced.collector.wanted(3), key=lambda one: one.started_at_nanoseconds)
    assert stream.attributes["gen_ai.request.stream"] is True
    assert 0 < stream.attributes["gen_ai.response.time_to_first_chunk"] < 10
    assert failed.error is not None
    assert failed.attributes["error.type"] == "529"
    assert (other.name, other.kind, other.error) == ("GET /v1/models", "server", None)
    assert other.attributes["url.path"] == "/v1/models/claude-opus-5-5"
    assert not any(name.startswith("gen_ai.") for name in other.attributes)
    assert (other.parent_id, len(other.trace_id)) == ("", 32)
    names = {name for span in traced.collector.spans for name in span.attributes}
    assert {name for name in names if not name.startswith("ferryman.")} <= CONVENTIONS


def test_client_that_does_not_sample_gets_no_span(traced: Traced) -> None:
    traced.ask(f"00-{TRACE}-{SPAN}-00")
    traced.ask(SAMPLED)
    spans = traced.collector.wanted(1)
    traced.family.end(15)
    assert [span.trace_id for span in traced.collector.spans] == [TRACE] == [one.trace_id for one in spans]


def test_standard_variables_are_heeded(stack: ExitStack, tmp_path: Path) -> None:
    traced = Traced(
        stack,
        tmp_path,
        OTEL_SERVICE_NAME="toll",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=here",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=seven",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    traced.ask()
    (span,) = traced.collector.wanted(1)
    assert span.resource["service.name"] == "toll"
    assert span.resource["deployment.environment.name"] == "here"
    assert traced.collector.headers["x-tenant"] == "seven"


def test_spans_of_the_last_exchanges_are_sent_before_the_end(stack: ExitStack, tmp_path: Path) -> None:
    traced = Traced(stack, tmp_path, OTEL_BSP_SCHEDULE_DELAY="60000")
    for _ in range(3):
        traced.ask()
    code, _, _ = traced.family.end(15)
    assert code == 0
    assert len(traced.collector.spans) == 3


def test_collector_that_is_away_holds_nobody_up(stack: ExitStack, tmp_path: Path) -> None:
    traced = Traced(stack, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert [traced.ask().status_code for _ in range(3)] == [200] * 3
    code, _, messages = traced.family.end(15)
    assert code == 0
    assert "process killed" not in messages


def test_what_a_slow_collector_cannot_take_is_dropped_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and says nothing
        port = listener.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        traces = Traces(Tracing(), lambda _: UPSTREAM)
        row = row_of(encode(entry(1)))
        traces.take([row] * FLUSH_SPANS)
        connection, _ = listener.accept()  # so the thread waits for its answer
        before = time.monotonic()
        for _ in range(MAX_WAITING + 2):
            traces.take([row])
        assert time.monotonic() - before < 0.5
        assert f"{MAX_WAITING} batches waiting, " in repr(traces)
        assert not repr(traces).endswith(" 0 entries dropped>")
        connection.close()
    traces.close()


def test_entry_that_is_told_of_twice_is_one_span() -> None:
    ids = EntryIds()
    ids.entry_id = "one"
    first = (ids.generate_trace_id(), ids.generate_span_id())
    ids.entry_id = "two"
    assert (ids.generate_trace_id(), ids.generate_span_id()) != first
    ids.entry_id = "one"
    assert (ids.generate_trace_id(), ids.generate_span_id()) == first


def test_prompt_of_the_span_has_the_cache_in_it() -> None:
    usage = Usage(
        input_tokens=1,
        output_tokens=8,
        cache_creation_input_tokens=20,
        cache_read_input_tokens=300,
        output_tokens_details=OutputTokensDetails(thinking_tokens=5),
    )
    told = span_of(entry(1, usage=usage), UPSTREAM).attributes
    assert told["gen_ai.usage.input_tokens"] == 321
    assert told["gen_ai.usage.cache_creation.input_tokens"] == 20
    assert told["gen_ai.usage.cache_read.input_tokens"] == 300
    assert told["gen_ai.usage.reasoning.output_tokens"] == 5


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"ended": Ended.CLIENT_GONE}, "client_gone"),
        ({"ended": Ended.REFUSED, "status": 429}, "429"),
        ({"ended": Ended.UPSTREAM_ERROR, "status": 502, "error": "No connection."}, "502"),
        ({"ended": Ended.REFUSED, "status": 404, "path": "/v1/nothing"}, None),
        ({"ended": Ended.DONE, "status": 404, "path": "/v1/files/file_1"}, None),
        ({"ended": Ended.INTERRUPTED, "status": None, "path": "/v1/files/file_1"}, "interrupted"),
    ],
)
def test_what_went_wrong_is_told_by_a_word(changes: dict[str, Any], error_type: str | None) -> None:
    span = span_of(entry(1, **changes), UPSTREAM)
    assert span.attributes.get("error.type") == error_type
    assert (span.error is None) is (error_type is None)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/messages/batches/msgbatch_1/results", "POST /v1/messages"),
        ("/anthropic/v1/files/file_1", "POST /anthropic/v1/files"),
        ("/anthropic/v1/messages", "chat claude-opus-4-5"),
        ("/", "POST /"),
    ],
)
def test_name_of_a_span_has_no_id_in_it(path: str, name: str) -> None:
    assert span_of(entry(1, path=path), UPSTREAM).name == name


def test_row_on_its_way_tells_the_entry() -> None:
    cost = Cost(nanousd=5, price_source="catalog", price_revision="x", parts=[], model="claude-opus-4-5")
    one = entry(7, cost=cost, traceparent=SAMPLED, tags=["a"], error="What went wrong.")
    assert entry_of_row(row_of(encode(one))) == one
    bare = Entry(
        id=one.id,
        started_at=one.started_at,
        method=SETTLEMENT,
        path="",
        request_bytes=0,
        ended=Ended.DONE,
        attempts=0,
        usage_complete=False,
        response_bytes=0,
        duration_seconds=0.0,
    )
    assert entry_of_row(row_of(encode(bare))) == bare


def test_without_traces_nothing_is_loaded_for_them() -> None:
    program = """if True:
        import sys
        import ferryman.control.process, ferryman.cli.main
        from ferryman.clock import SystemClock
        from ferryman.control.traces import open_traces
        from ferryman.settings import Settings
        assert open_traces(Settings(), SystemClock()) is None
        print(*[name for name in sys.modules if name.startswith(("opentelemetry", "google", "requests"))])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_traces_without_their_libraries_are_refused_with_a_hint(tmp_path: Path) -> None:
    env = {"OTEL_TRACES_EXPORTER": "otlp", "ANTHROPIC_API_KEY": "any"}
    words = ("--port", "0", "--runtime-directory", "run")
    with Process(tmp_path, *words, env=env, without=("opentelemetry",)) as process:
        code, _, messages = process.end()
    assert code == 2
    assert "otel_traces_exporter: traces need more libraries" in messages
    assert "ferryman[otel]" in messages


def test_variable_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    env = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_BSP_MAX_QUEUE_SIZE": "0",
        "ANTHROPIC_API_KEY": "any",
    }
    with Process(tmp_path, "--port", "0", "--runtime-directory", "run", env=env) as process:
        code, _, messages = process.end()
    assert code == 2
    assert "an `OTEL_*` variable cannot be used" in messages
