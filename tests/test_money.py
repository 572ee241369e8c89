"""A call costs the same streamed and whole, packed and in pieces; what breaks off is estimated."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.relay.unpriced import MAX_TOLD, Unpriced
from tests.conftest import Bench
from tests.support.costs import CATALOG, NOW, usage_of
from tests.support.edge import Connection
from tests.support.gateway import Gateway
from tests.support.money import ASKED, COUNTS, LONG, STREAMED, WHOLE, Answer, Json, Stage, event, usd
from tests.support.raw import RawClient, get, post

MODELS = [ASKED, "claude-opus-4-8", "claude-haiku-5-5", "claude-nova-1"]
CATEGORIES = ["bio", "cyber", None]
counts = st.integers(0, 150_000)
splits = st.fixed_dictionaries({"ephemeral_5m_input_tokens": counts, "ephemeral_1h_input_tokens": counts})
tokens: Json = {
    "input_tokens": counts,
    "output_tokens": counts | st.just(0),
    "cache_creation_input_tokens": counts,
    "cache_read_input_tokens": counts,
}
entries = st.fixed_dictionaries(
    tokens
    | {"type": st.sampled_from(["message", "fallback_message", "advisor_message", "compaction", "new"])},
    optional={"model": st.sampled_from(MODELS), "cache_creation": splits},
)
told = st.fixed_dictionaries(
    tokens,
    optional={
        "cache_creation": splits,
        "speed": st.sampled_from(["fast", "standard"]),
        "inference_geo": st.sampled_from(["us", "global"]),
        "service_tier": st.sampled_from(["standard", "priority"]),
        "server_tool_use": st.fixed_dictionaries({"web_search_requests": st.integers(0, 9)}),
        "iterations": st.lists(entries, max_size=4),
    },
)
texts = st.fixed_dictionaries({"type": st.just("text"), "text": st.sampled_from(["", "Hello", '"fallback"'])})
hand_overs = st.fixed_dictionaries(
    {"type": st.just("fallback"), "from": st.fixed_dictionaries({"model": st.sampled_from(MODELS)})},
    optional={"trigger": st.fixed_dictionaries({"category": st.sampled_from(CATEGORIES)})},
)
hidden = st.just({"type": "redacted_thinking", "data": "x"})  # a block that no delta brings


answers = st.builds(
    Answer,
    told,
    st.lists(texts | hand_overs | hidden, max_size=3),
    st.sampled_from(["end_turn", "refusal"]),
    st.sampled_from(CATEGORIES),
    st.sampled_from(MODELS),
)


def test_streamed_and_whole_call_of_the_same_usage_cost_the_same(line: Bench) -> None:
    stage = Stage(line)

    @settings(max_examples=150, deadline=None)
    @given(answers, st.booleans())
    def run(answer: Answer, packed: bool) -> None:
        stage.answer, stage.packed = answer, packed
        whole, told_usd = stage.ask(WHOLE)
        streamed, nothing = stage.ask(STREAMED)
        assert whole.cost == streamed.cost == answer.cost()
        assert told_usd == [usd(whole.cost)] * 2
        assert nothing == [], "its head was gone before the cost was known"
        assert whole.usage_complete
        assert streamed.usage_complete

    run()


# ── what breaks off ──


@pytest.mark.parametrize("leaves", ["upstream", "client"])
def test_stream_that_breaks_off_anywhere_costs_its_input_and_an_estimate(line: Bench, leaves: str) -> None:
    data = b"".join(LONG.events())
    ends = [at + 2 for at in range(len(data)) if data.startswith(b"\n\n", at)]
    cuts: list[int] = []
    may_go = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(data[: cuts[-1]])
        may_go.acquire()
        connection.sock.close()

    gateway, _ = line.pair(script)
    start = json.loads(data[: ends[0]].split(b"data: ")[1])["message"]["usage"]
    floor = cost_of(usage_of(**start), "claude-opus-4-8", Terms(NOW), CATALOG).nanousd
    for number, cut in enumerate(sorted({1, *ends, *(end - 1 for end in ends), *range(7, len(data), 97)}), 1):
        cuts.append(cut)
        with RawClient(gateway.port) as client:
            client.send(STREAMED)
            client.read_until(data[max(cut - 9, 0) : cut])
            if leaves == "upstream":
                may_go.release()
        entry = gateway.entry(number)
        may_go.release()
        if cut < ends[0]:
            assert entry.cost is None
            assert not entry.usage_complete, "nothing is known of it, and it may have cost something"
            continue
        assert entry.cost is not None
        assert entry.cost.nanousd >= floor
        assert entry.cost.estimated is (cut < ends[-2]), "the last counts are told by `message_delta`"
        assert entry.usage_complete is (cut >= ends[-1])
        if entry.cost.estimated:
            assert entry.usage is not None
            assert (entry.usage.input_tokens, entry.usage.cache_read_input_tokens) == (1_000, 1_000)


def test_count_that_came_on_the_way_does_not_make_a_broken_stream_whole(line: Bench) -> None:
    begin, *_ = LONG.events()
    so_far = event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 2})
    delta = event("content_block_delta", delta={"type": "text_delta", "text": "x" * 3_000})

    def script(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        connection.chunk(begin + so_far + delta)
        connection.sock.close()

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(STREAMED)
        client.read_to_end()
    entry = gateway.entry()
    assert entry.cost is not None
    assert entry.cost.estimated
    assert entry.usage is not None
    assert entry.usage.output_tokens == 900, "max_tokens, which is less than what came"


# ── heads and ends of answers ──


def serve(kind: str, body: bytes) -> Callable[[Connection], None]:
    """One answer, framed in a way of its own, on each connection."""

    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if kind == "chunks":
            connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 3):
                connection.chunk(body[at : at + 3])
            connection.chunk(b"")
        elif kind == "close":
            connection.send(head + b"Connection: close\r\n\r\n" + body)
        else:
            connection.send(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.sock.close()

    return script


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("kind", ["chunks", "close", "length"])
def test_answer_in_any_frame_tells_its_cost_once_in_its_head(line: Bench, kind: str, version: bytes) -> None:
    gateway, _ = line.pair(serve(kind, LONG.whole()))
    with RawClient(gateway.port) as client:
        response = client.ask(WHOLE.replace(b"HTTP/1.1", version, 1))
        assert response.body == LONG.whole()
        assert response.values(b"x-ferryman-cost-usd") == [usd(gateway.entry().cost)]
    assert gateway.entry().cost == LONG.cost()


def test_long_answer_has_no_cost_in_its_head_and_the_right_one_in_its_record(line: Bench) -> None:
    content = [{"type": "text", "text": "x" * (1 << 21)}]
    gateway, _ = line.pair(serve("length", LONG._replace(content=content).whole()))
    with RawClient(gateway.port) as client:
        assert client.ask(WHOLE).values(b"x-ferryman-cost-usd") == []
    cost = gateway.entry().cost
    assert cost is not None
    assert sum(part.units for part in cost.parts) == 4_002, "as in the usage"


def test_client_that_leaves_while_the_answer_is_held_is_charged_all_the_same(line: Bench) -> None:
    body = LONG.whole()
    may_end = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        connection.send(b"Content-Length: %d\r\n\r\n" % len(body) + body[:40])
        assert may_end.wait(10)
        connection.send(body[40:])
        connection.wait_closed()

    gateway, upstream = line.pair(script)
    with RawClient(gateway.port) as client:
        client.send(WHOLE)
        gateway.until(lambda: any(one.held_answer for one in gateway.worker.line.live))
    gateway.until(lambda: gateway.worker.line.drains)
    may_end.set()
    entry = gateway.entry()
    assert (entry.ended, entry.cost) == ("client_gone", LONG.cost())
    assert len(upstream.requests) == 1


def test_calls_that_are_free_have_no_cost(gateway: Gateway) -> None:
    requests = [
        post(b'{"model":"claude-opus-5-5","messages":[]}', path=b"/v1/messages/count_tokens"),
        get(b"/v1/models"),
        get(b"/v1/messages", method=b"HEAD"),
    ]
    with RawClient(gateway.port) as client:
        for number, request in enumerate(requests, 1):
            response = client.ask(request, head_only=b"HEAD" in request)
            assert response.values(b"x-ferryman-cost-usd") == []
            assert gateway.entry(number).cost is None


@pytest.fixture
def gateway(line: Bench) -> Gateway:
    def script(connection: Connection) -> None:
        while True:
            request = connection.request()
            if request.line.startswith(b"HEAD"):
                connection.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
                )
            else:
                connection.answer(LONG.whole())

    return line.pair(script)[0]


# ── hostile answers ──


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"word word', rb'"\ud83d word', id="half-a-character"),
        pytest.param(b'"word word', b'"\xff word', id="no-utf-8"),
        pytest.param(b'"claude-opus-4-8"', rb'"\ud83d"', id="model-of-half-a-character"),
        pytest.param(b'"claude-opus-4-8"', b'"\xff"', id="model-of-no-utf-8"),
        pytest.param(b'"claude-opus-4-8"', b'"%b"' % (b"m" * 900_000), id="long-model"),
        pytest.param(b'"usage": {', b'"usage": {"iterations": [{"type": "\xff"}], ', id="odd-iterations"),
    ],
)
def test_answer_with_texts_that_are_none_is_charged_and_its_record_can_be_read(
    line: Bench, old: bytes, new: bytes
) -> None:
    body = LONG.whole().replace(old, new)
    assert body != LONG.whole()
    gateway, _ = line.pair(serve("length", body))
    with RawClient(gateway.port) as client:
        response = client.ask(WHOLE)
    assert response.body == body
    cost = gateway.entry().cost
    assert cost is not None
    assert sum(part.units for part in cost.parts) == 4_002
    assert len(cost.model) <= 200
    assert all(bytes(raw).decode() for raw in gateway.entry().usage.iterations or [])  # type: ignore[union-attr]  # it has a cost


def test_packed_answer_that_decodes_to_nothing_is_not_held_for_ever(line: Bench) -> None:
    nothing = gzip.compress(b"")

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n")
        connection.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(3 * (1 << 20) // (len(nothing) * 1_000)):
            connection.chunk(nothing * 1_000)
        connection.chunk(gzip.compress(LONG.whole()))
        connection.chunk(b"")

    gateway, _ = line.pair(script)
    with RawClient(gateway.port) as client:
        assert client.ask(WHOLE).values(b"x-ferryman-cost-usd") == []
    assert gateway.entry().cost == LONG.cost()


# ── models without a price ──


def test_model_without_a_price_is_never_free_and_is_warned_of_once(line: Bench) -> None:
    stage = Stage(line)
    entry = {"type": "advisor_message", "model": "claude-opus-99", **dict.fromkeys(COUNTS, 10)}
    stage.answer = LONG._replace(usage=LONG.usage | {"iterations": [entry]}, model="claude-nova-1")
    with capture_logs() as told:
        for request in (WHOLE, STREAMED, WHOLE):
            record, _ = stage.ask(request)
            assert record.cost is not None
            assert record.cost.price_source == "fallback"
            assert record.cost.nanousd > LONG.cost().nanousd
    warned = [(one["model"], one["priced_as"]) for one in told if one["event"] == "price not known"]
    assert warned == [("claude-nova-1", "dearest of all"), ("claude-opus-99", "dearest opus")]


def test_warnings_of_made_up_models_come_to_an_end() -> None:
    unpriced = Unpriced()
    with capture_logs() as told:
        for number in range(2 * MAX_TOLD):
            usage = usage_of(input_tokens=1)
            unpriced.note(cost_of(usage, f"nova-{number}", Terms(NOW), CATALOG), usage, CATALOG)
    assert [one["last_told"] for one in told] == [False] * (MAX_TOLD - 1) + [True]
