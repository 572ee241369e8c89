"""Batches and files through the gateway, by the official SDK, against the simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

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
    path = f"{gateway.url}{BATCHES}/{made.id}/results"
    answer = httpx.get(path, headers={"x-api-key": "whatever", "anthropic-version": "2023-06-01"})
    assert answer.content == simulator.recorder.wait_ended(7)[-1].response_body
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["result"]["type"] for line in lines] == ["canceled", "succeeded", "canceled"]
    assert lines[1]["result"]["message"]["usage"]["service_tier"] == "batch"
    assert sdk.messages.batches.delete(made.id).id == made.id


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
