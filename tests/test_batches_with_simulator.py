"""Batches and files through the gateway, by the official SDK, against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types.messages import MessageBatchSucceededResult

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.conftest import KEY, Bench
from tests.support.gateway import Gateway

BATCHES = "/v1/messages/batches"


@pytest.fixture
def simulator() -> Iterator[Server]:
    """A simulator that takes the server's key and no other."""
    with Server(SimulatorSettings(api_keys=(KEY,))) as running:
        yield running


@pytest.fixture
def gateway(line: Bench, simulator: Server) -> Gateway:
    """A gateway in front of the simulator."""
    return line.gateway(simulator.url)


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="whatever", max_retries=0) as made:
        yield made


def item(custom_id: str, control: str = "") -> Any:
    """A request of a batch; `control` goes into its model's name."""
    model = f"claude-opus-5-5:{control}" if control else "claude-opus-5-5"
    params = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    return {"custom_id": custom_id, "params": params}


def test_life_of_a_batch_passes_through(
    sdk: anthropic.Anthropic, gateway: Gateway, simulator: Server
) -> None:
    items = [item("a"), item("b", "uninterruptible"), item("c", "expire")]
    made = sdk.messages.batches.create(
        requests=items, extra_headers={"x-simulator": "polls=1; batch-seconds=60"}
    )
    assert sdk.messages.batches.retrieve(made.id).processing_status == "in_progress"
    assert [one.id for one in sdk.messages.batches.list(limit=1)] == [made.id]
    assert sdk.messages.batches.cancel(made.id).processing_status == "canceling"
    assert sdk.messages.batches.retrieve(made.id).processing_status == "canceling"
    ended = sdk.messages.batches.retrieve(made.id)
    assert (ended.request_counts.canceled, ended.request_counts.succeeded) == (2, 1)
    lines = list(sdk.messages.batches.results(made.id))
    assert [line.result.type for line in lines] == ["canceled", "succeeded", "canceled"]
    assert isinstance(lines[1].result, MessageBatchSucceededResult)
    assert lines[1].result.message.usage.service_tier == "batch"
    assert sdk.messages.batches.delete(made.id).id == made.id
    for record in simulator.recorder.wait_ended(9):
        assert dict(record.headers)[b"x-api-key"] == KEY.encode(), "every request came through the gateway"


@pytest.mark.parametrize("prefix", ["", "/anthropic"])
def test_results_url_names_the_gateway_and_the_prefix_of_the_client(
    gateway: Gateway, simulator: Server, prefix: str
) -> None:
    with anthropic.Anthropic(base_url=gateway.url + prefix, api_key="whatever", max_retries=0) as sdk:
        made = sdk.messages.batches.create(requests=[item("a")])
        expected = f"{gateway.url}{prefix}{BATCHES}/{made.id}/results"
        assert made.results_url is None
        told = sdk.messages.batches.with_raw_response.retrieve(made.id)
        assert told.parse().results_url == expected
        assert told.headers["x-ferryman-mutations"] == "results_url"
        theirs = simulator.recorder.wait_ended(2)[-1].response_body
        assert told.http_response.content == theirs.replace(
            simulator.url.encode(), f"{gateway.url}{prefix}".encode()
        )
        assert [one.results_url for one in sdk.messages.batches.list()] == [expected]
        assert [line.custom_id for line in sdk.messages.batches.results(made.id)] == ["a"]


def test_results_url_is_below_public_url(line: Bench, simulator: Server) -> None:
    gateway = line.gateway(simulator.url, public_url="https://claude.example.org/")
    with anthropic.Anthropic(base_url=gateway.url, api_key="whatever", max_retries=0) as sdk:
        made = sdk.messages.batches.create(requests=[item("a")])
        shown = sdk.messages.batches.retrieve(made.id)
    assert shown.results_url == f"https://claude.example.org{BATCHES}/{made.id}/results"


def test_results_pass_untouched(sdk: anthropic.Anthropic, gateway: Gateway, simulator: Server) -> None:
    made = sdk.messages.batches.create(requests=[item("a"), item("b")])
    sdk.messages.batches.retrieve(made.id)
    path = f"{gateway.url}{BATCHES}/{made.id}/results"
    answer = httpx.get(path, headers={"x-api-key": "whatever", "anthropic-version": "2023-06-01"})
    assert answer.content == simulator.recorder.wait_ended(3)[-1].response_body
    assert answer.headers["x-ferryman-mutations"] == "none"


def test_creation_records_the_batch_with_its_models(sdk: anthropic.Anthropic, gateway: Gateway) -> None:
    other = item("c")
    other["params"]["model"] = "claude-haiku-4-5"
    made = sdk.messages.batches.create(requests=[item("a"), item("b"), other])
    batch = gateway.entry(1).batch
    assert batch is not None
    assert (batch.id, batch.requests) == (made.id, 3)
    assert batch.models == {"claude-opus-5-5": 2, "claude-haiku-4-5": 1}
    assert batch.hold_nanousd > 2 * 50 * 10_000 + 50 * 2_500  # all output tokens, at half price


def test_refused_creation_records_no_batch(sdk: anthropic.Anthropic, gateway: Gateway) -> None:
    with pytest.raises(anthropic.BadRequestError):
        sdk.messages.batches.create(requests=[item("a"), item("a")])
    assert gateway.entry(1).batch is None


def test_results_record_what_the_batch_came_to_at_half_price(
    sdk: anthropic.Anthropic, gateway: Gateway
) -> None:
    usage = 'usage={"input_tokens": 1001, "output_tokens": 77, "cache_read_input_tokens": 301}'
    plain = sdk.messages.create(
        model="claude-opus-5-5",
        max_tokens=50,
        messages=[{"role": "user", "content": "Hello"}],
        extra_headers={"x-simulator": usage},
    )
    assert plain.usage.input_tokens == 1001
    made = sdk.messages.batches.create(
        requests=[item("a"), item("b"), item("c", "status=500"), item("d", "expire")],
        extra_headers={"x-simulator": usage},
    )
    sdk.messages.batches.retrieve(made.id)
    assert len(list(sdk.messages.batches.results(made.id))) == 4
    cost, read = gateway.entry(1).cost, gateway.entry(5)
    assert cost is not None
    assert (read.cost, read.usage) == (None, None), "the reader pays nothing"
    settles = read.settles
    assert settles is not None
    assert (settles.id, settles.lines) == (made.id, 4)
    (share,) = settles.shares
    assert (share.model, share.requests) == ("claude-opus-5-5", 2)
    assert share.costs[-1].nanousd == cost.nanousd  # two at half price
    assert share.costs[-1].batch
    assert (share.usage.input_tokens, share.usage.output_tokens) == (2002, 154)


def test_refusal_of_a_batch_passes_through(sdk: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="given twice"):
        sdk.messages.batches.create(requests=[item("a"), item("a")])


def test_file_passes_through_both_ways(sdk: anthropic.Anthropic) -> None:
    data = bytes(range(256)) * 4_000
    made = sdk.files.upload(
        file=("a.bin", data, "application/pdf"), extra_headers={"x-simulator": "downloadable"}
    )
    assert [file.id for file in sdk.files.list(limit=1)] == [made.id]
    assert sdk.files.retrieve_metadata(made.id).size_bytes == len(data)
    assert sdk.files.download(made.id).read() == data
    assert sdk.files.delete(made.id).id == made.id
