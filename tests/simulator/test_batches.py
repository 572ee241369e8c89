"""Batches, by the official SDK where it can say it: their creation, their life and their results."""

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types.messages import MessageBatch

from ferryman.simulator.batches import LIFE_SECONDS
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .conftest import Client, body
from .test_usage import FULL_USAGE

PATH = "/v1/messages/batches"
NOON = datetime(2027, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[Server]:
    """A simulator of its own, so that it has no batches but those of the test; its clock stands."""
    with Server() as running:
        running.clock.hold(NOON)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as made:
        yield made


@pytest.fixture
def sdk(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="key", max_retries=0) as made:
        yield made


def item(custom_id: str = "one", control: str = "", **fields: Any) -> Any:
    """A request of a batch; `control` goes into its model's name."""
    model = f"claude-opus-5-5:{control}" if control else "claude-opus-5-5"
    return {"custom_id": custom_id, "params": body(**{"model": model, **fields})}


def create(sdk: anthropic.Anthropic, *items: Any, control: str = "") -> MessageBatch:
    headers = {"x-simulator": control} if control else {}
    return sdk.messages.batches.create(requests=items or [item()], extra_headers=headers)


def ended(sdk: anthropic.Anthropic, batch: MessageBatch) -> MessageBatch:
    found = sdk.messages.batches.retrieve(batch.id)
    assert found.processing_status == "ended"
    return found


def counts(batch: MessageBatch) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: count for name, count in batch.request_counts.model_dump().items() if count}


def result_types(sdk: anthropic.Anthropic, batch: MessageBatch) -> dict[str, str]:
    return {line.custom_id: line.result.type for line in sdk.messages.batches.results(batch.id)}


def test_batch_goes_from_creation_to_results(sdk: anthropic.Anthropic, server: Server) -> None:
    created = create(sdk, item("one"), item("two"))
    assert created.id.startswith("msgbatch_01")
    assert (created.processing_status, counts(created)) == ("in_progress", {"processing": 2})
    assert (created.created_at, created.expires_at) == (NOON, NOON + timedelta(days=1))
    assert (created.ended_at, created.results_url, created.cancel_initiated_at) == (None, None, None)
    found = ended(sdk, created)
    assert counts(found) == {"succeeded": 2}
    assert found.ended_at == NOON
    assert found.results_url == f"{server.url}{PATH}/{created.id}/results"
    lines = list(sdk.messages.batches.results(created.id))
    assert [line.custom_id for line in lines] == ["one", "two"]
    alone = sdk.messages.create(**body())
    for line in lines:
        assert line.result.type == "succeeded"
        message = line.result.message
        assert message.usage.service_tier == "batch"
        assert message.content == alone.content
        assert message.usage.model_copy(update={"service_tier": "standard"}) == alone.usage
    assert len({line.result.message.id for line in lines if line.result.type == "succeeded"}) == 2


def test_same_batch_twice_is_two_batches(sdk: anthropic.Anthropic) -> None:
    assert create(sdk).id != create(sdk).id


def test_beta_client_and_beta_query_find_the_same_batches(
    sdk: anthropic.Anthropic, http: httpx.Client
) -> None:
    created = sdk.beta.messages.batches.create(requests=[item()], betas=["message-batches-2024-09-24"])
    assert sdk.beta.messages.batches.retrieve(created.id).processing_status == "ended"
    (line,) = sdk.beta.messages.batches.results(created.id)
    assert line.result.type == "succeeded"
    shown = http.get(f"{PATH}/{created.id}?beta=true", headers=_headers())
    assert shown.json()["processing_status"] == "ended"


def _headers(**more: str) -> dict[str, str]:
    return {"x-api-key": "key", "anthropic-version": "2023-06-01", **more}


def test_results_url_has_the_host_that_was_asked(client: Client) -> None:
    made = client.request("POST", PATH, json={"requests": [item()]}).json()
    shown = client.request("GET", f"{PATH}/{made['id']}", headers={"host": "api.example.com:8443"}).json()
    assert shown["results_url"] == f"http://api.example.com:8443{PATH}/{made['id']}/results"


# ── the life of a batch ──


def test_batch_is_in_progress_for_as_many_polls_as_wished(sdk: anthropic.Anthropic) -> None:
    batch = create(sdk, control="polls=2")
    assert sdk.messages.batches.list().data[0].processing_status == "in_progress"  # no poll
    for _ in range(2):
        found = sdk.messages.batches.retrieve(batch.id)
        assert (found.processing_status, found.results_url) == ("in_progress", None)
    ended(sdk, batch)


def test_batch_ends_when_the_clock_says_so(sdk: anthropic.Anthropic, server: Server) -> None:
    batch = create(sdk, control="batch-seconds=600")
    server.clock.advance(599)
    assert sdk.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    server.clock.advance(1)
    assert sdk.messages.batches.list().data[0].ended_at == NOON + timedelta(seconds=600)
    ended(sdk, batch)


def test_batch_expires_after_a_day(sdk: anthropic.Anthropic, server: Server) -> None:
    batch = create(sdk, item("one"), item("two", "uninterruptible"), control="polls=1000")
    server.clock.advance(LIFE_SECONDS)
    found = ended(sdk, batch)
    assert (found.ended_at, counts(found)) == (found.expires_at, {"expired": 2})
    assert result_types(sdk, batch) == {"one": "expired", "two": "expired"}


def test_canceled_batch_finishes_only_what_cannot_be_interrupted(sdk: anthropic.Anthropic) -> None:
    items = item("a"), item("b", "uninterruptible"), item("c", "status=500"), item("d", "expire")
    batch = create(sdk, *items, control="batch-seconds=3600; polls=1")
    assert sdk.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    canceling = sdk.messages.batches.cancel(batch.id)
    assert (canceling.processing_status, canceling.cancel_initiated_at) == ("canceling", NOON)
    assert counts(canceling) == {"processing": 4}
    assert sdk.messages.batches.cancel(batch.id) == canceling
    assert sdk.messages.batches.retrieve(batch.id).processing_status == "canceling"
    assert counts(ended(sdk, batch)) == {"canceled": 3, "succeeded": 1}
    types = result_types(sdk, batch)
    assert types == {"a": "canceled", "b": "succeeded", "c": "canceled", "d": "canceled"}
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        sdk.messages.batches.cancel(batch.id)


def test_each_request_ends_as_its_model_wishes(sdk: anthropic.Anthropic) -> None:
    batch = create(
        sdk,
        item("fine"),
        item("busy", "status=529"),
        item("late", "expire"),
        item("unknown", model="gpt-x"),
        item("unbounded", max_tokens=None),
        item("streamed", stream=True),
        item("odd", "no-such-key"),
    )
    assert counts(ended(sdk, batch)) == {"succeeded": 1, "errored": 5, "expired": 1}
    errors = {
        line.custom_id: (line.result.error.error.type, line.result.error.error.message)
        for line in sdk.messages.batches.results(batch.id)
        if line.result.type == "errored"
    }
    assert errors["busy"] == ("overloaded_error", "The simulator was asked to answer with 529.")
    assert errors["unknown"] == ("not_found_error", "model: gpt-x")
    assert errors["unbounded"] == ("invalid_request_error", "max_tokens: Field required")
    assert errors["streamed"][0] == errors["odd"][0] == "invalid_request_error"


def test_deleted_batch_is_gone_and_one_in_progress_stays(sdk: anthropic.Anthropic) -> None:
    batch = create(sdk, control="polls=1")
    with pytest.raises(anthropic.BadRequestError, match="has not ended"):
        sdk.messages.batches.delete(batch.id)
    sdk.messages.batches.retrieve(batch.id)
    ended(sdk, batch)
    deleted = sdk.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.batches.retrieve(batch.id)


def test_batch_in_progress_has_no_results(client: Client) -> None:
    made = client.request("POST", PATH, control="polls=1", json={"requests": [item()]}).json()
    assert client.request("GET", f"{PATH}/{made['id']}/results").status_code == 404


# ── results ──


def test_usage_of_a_line_is_dictated_as_that_of_a_message_is(
    sdk: anthropic.Anthropic, http: httpx.Client
) -> None:
    bare = {name: value for name, value in FULL_USAGE.items() if name != "service_tier"}
    batch = create(
        sdk, item("whole", f"usage={json.dumps(FULL_USAGE)}"), item("bare", f"usage={json.dumps(bare)}")
    )
    lines = http.get(f"{PATH}/{batch.id}/results", headers=_headers()).text.splitlines()
    usages = [json.loads(line)["result"]["message"]["usage"] for line in lines]
    assert usages == [FULL_USAGE, {**bare, "service_tier": "batch"}]


def test_wishes_of_the_creation_hold_for_every_line(sdk: anthropic.Anthropic) -> None:
    batch = create(sdk, item("a"), item("b"), control='usage={"input_tokens": 7, "output_tokens": 8}')
    usages = [line.result.message.usage for line in sdk.messages.batches.results(ended(sdk, batch).id)
              if line.result.type == "succeeded"]  # fmt: skip
    assert [(usage.input_tokens, usage.output_tokens, usage.service_tier) for usage in usages] == [
        (7, 8, "batch")
    ] * 2


def test_results_can_be_cut_after_a_line_and_compressed(client: Client) -> None:
    items = [item(f"r-{number}") for number in range(3)]
    made = client.request("POST", PATH, json={"requests": items}).json()
    path = f"{PATH}/{made['id']}/results"
    whole = client.request("GET", path)
    assert whole.headers["content-type"] == "application/x-jsonl"
    packed = client.request("GET", path, control="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == whole.text
    got = bytearray()
    headers = _headers(**{"x-simulator": "cut=2; pace=0.001"})
    with client.http.stream("GET", path, headers=headers) as answer:
        pieces = answer.iter_raw()
        while got.count(b"\n") < 2:
            got += next(pieces)
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
    assert whole.content.startswith(bytes(got))
    assert got.count(b"\n") == 2


def test_results_fail_as_the_creation_has_wished_for_whoever_reads_them(client: Client) -> None:
    wishes = 'results="status=503; times=2"'
    made = client.request("POST", PATH, control=wishes, json={"requests": [item()]}).json()
    path = f"{PATH}/{made['id']}/results"
    assert [client.request("GET", path).status_code for _ in range(3)] == [503, 503, 200]


@pytest.mark.parametrize("wishes", ["results=status=503", 'results="no-such-key"', "results=", "results=7"])
def test_wishes_for_results_that_make_no_sense_are_refused(client: Client, wishes: str) -> None:
    assert client.request("POST", PATH, control=wishes, json={"requests": [item()]}).status_code == 400


def test_results_that_stall_come_whole(client: Client) -> None:
    made = client.request("POST", PATH, json={"requests": [item("a"), item("b")]}).json()
    path = f"{PATH}/{made['id']}/results"
    assert client.request("GET", path, control="stall=0.01").content == client.request("GET", path).content


@pytest.mark.slow
def test_results_of_a_large_batch_are_made_as_they_are_read() -> None:
    count = 5_000  # of 1.5 KB each
    with Server(SimulatorSettings(recorded_response_bytes=0)) as server, _http(server) as http:
        items = [item(f"r-{number}", "text-bytes=1000") for number in range(count)]
        made = http.post(PATH, json={"requests": items}).json()
        tracemalloc.start()
        lines = size_bytes = 0
        with http.stream("GET", f"{PATH}/{made['id']}/results") as answer:
            for piece in answer.iter_raw():
                size_bytes += len(piece)
                lines += piece.count(b"\n")
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert lines == count
    assert size_bytes > 7_000_000
    assert peak_bytes < 1_000_000


def _http(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=_headers(), timeout=30)


# ── the list ──


def test_sdk_pages_through_all_batches_newest_first(sdk: anthropic.Anthropic) -> None:
    made = [create(sdk).id for _ in range(5)]
    page = sdk.messages.batches.list(limit=2)
    assert (page.has_more, page.first_id, page.last_id) == (True, made[4], made[3])
    assert [batch.id for batch in page] == made[::-1]
    back = sdk.messages.batches.list(limit=2, before_id=made[1])
    assert ([batch.id for batch in back.data], back.has_more) == ([made[3], made[2]], True)
    with pytest.raises(anthropic.BadRequestError, match="after_id"):
        sdk.messages.batches.list(after_id="msgbatch_unknown")


def test_oldest_batches_make_room() -> None:
    size_bytes = len(json.dumps({"requests": [item()]}))
    settings = SimulatorSettings(kept_batches=3, kept_batch_bytes=2 * size_bytes)
    with Server(settings) as server, _http(server) as http:

        def make(*items: Any) -> str:
            made: str = http.post(PATH, json={"requests": items}).json()["id"]
            return made

        def kept() -> list[str]:
            return [one["id"] for one in http.get(PATH).json()["data"]]

        first, second, third = make(item()), make(item()), make(item())
        assert first not in kept()
        assert kept() == [third, second]
        large = make(*(item(str(number)) for number in range(10)))
        assert kept() == [large], "one that is larger than all together stands alone"


# ── what is refused ──


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "requests: Field required"),
        (b'{"requests": {}}', "requests: Input should be a valid list"),
        (b'{"requests": []}', "at least 1 item"),
        (b'{"requests": [1]}', "requests.0: Input should be a valid dictionary"),
        (b'{"requests": [{"params": {}}]}', "requests.0.custom_id: Field required"),
        (b'{"requests": [{"custom_id": "a"}]}', "requests.0.params: Field required"),
        (b'{"requests": [{"custom_id": 1, "params": {}}]}', "requests.0.custom_id: Input should be a valid"),
        (b'{"requests": [{"custom_id": "", "params": {}}]}', "should match pattern"),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', "should match pattern"),
        (b'{"requests": [{"custom_id": "%b", "params": {}}]}' % (b"a" * 65), "should match pattern"),
        (b'{"requests": [{"custom_id": "a", "params": []}]}', "requests.0.params: Input should be a valid"),
        (b'{"requests": [{"custom_id": "a", "params": {}, "x": 1}]}', "requests.0.x: Extra inputs"),
        (b'{"requests": [{"custom_id": "a", "params": {}}], "x": 1}', "x: Extra inputs"),
        (
            b'{"requests": [{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}]}',
            "requests.1.custom_id: `a` is given twice",
        ),
    ],
)
def test_bad_creation_is_refused(client: Client, sent: bytes, message: str) -> None:
    answer = client.request("POST", PATH, content=sent)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]
    assert client.request("GET", PATH).json()["data"] == []


def test_more_requests_than_anthropic_takes_are_refused(client: Client) -> None:
    sent = b'{"requests": [%b]}' % b",".join([b"0"] * 100_001)
    answer = client.request("POST", PATH, content=sent)
    assert "at most 100000 items" in answer.json()["error"]["message"]


def test_batch_may_be_larger_than_a_message_and_not_larger_than_its_own_limit() -> None:
    settings = SimulatorSettings(max_body_bytes=200, max_batch_bytes=1_000)
    with Server(settings) as server, _http(server) as http:
        assert http.post(PATH, json={"requests": [item(messages=None, text="a" * 500)]}).status_code == 200
        assert http.post(PATH, json={"requests": [item(text="a" * 2_000)]}).status_code == 413
        assert http.post("/v1/messages", json=body(text="a" * 500)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_batches_need_a_credential_and_a_version(client: Client, method: str) -> None:
    path = PATH if method == "POST" else f"{PATH}/msgbatch_x"
    assert client.http.request(method, path, headers={"anthropic-version": "2023-06-01"}).status_code == 401
    assert client.http.request(method, path, headers={"x-api-key": "key"}).status_code == 400
    if method != "POST":
        assert client.request(method, path).status_code == 404
