"""Faults and pacing on demand."""

import asyncio
import time

import httpx
import pytest

from ferryman.simulator.app import create_app
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .conftest import OLD, Client, body
from .sse import events_of, types_of

HEADERS = {"x-api-key": "key", "anthropic-version": OLD}


def read_until_broken(client: Client, control: str, *, stream: bool = False) -> tuple[bytes, httpx.HTTPError]:
    """What of an answer arrives before the connection breaks, and how it breaks."""
    received = b""
    with client.http.stream(
        "POST", "/v1/messages", headers=HEADERS | {"x-simulator": control}, json=body(stream=stream)
    ) as answer:
        assert answer.status_code == 200
        try:
            for piece in answer.iter_raw():
                received += piece
        except httpx.HTTPError as error:
            return received, error
    raise AssertionError("the connection did not break")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_status_has_its_error_type(client: Client, status: int, kind: str) -> None:
    answer = client.ask(control=f"status={status}")
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert "retry-after" not in answer.headers
    assert "x-should-retry" not in answer.headers


def test_error_tells_how_to_retry(client: Client) -> None:
    answer = client.ask(control="status=529; retry-after=7; should-retry=false")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("7", "false")
    dated = client.ask(control="status=429; retry-after=Wed, 21 Oct 2026 07:28:00 GMT; should-retry=true")
    assert dated.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert dated.headers["x-should-retry"] == "true"


def test_status_in_the_header_holds_for_any_path_and_needs_no_credential(client: Client) -> None:
    answer = client.http.put("/v1/anything", headers={"x-simulator": "status=503"})
    assert answer.status_code == 503


def test_unknown_key_is_refused_naming_the_known_ones(client: Client) -> None:
    for answer in (client.ask(control="satus=1"), client.ask(model="claude-opus-5-5:satus=1")):
        assert answer.status_code == 400
        assert "slow-start" in answer.json()["error"]["message"]


def test_control_may_be_spread_over_several_headers(client: Client) -> None:
    headers = [*HEADERS.items(), ("x-simulator", "status=529"), ("X-Simulator", "retry-after=7")]
    answer = client.http.post("/v1/messages", headers=headers, json=body())
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "7")


def test_times_limits_a_fault_to_the_first_requests_with_the_same_bytes(client: Client) -> None:
    control = "status=529; times=2"
    assert [client.ask(control=control).status_code for _ in range(4)] == [529, 529, 200, 200]
    assert client.ask("another", control=control).status_code == 529
    model = "claude-opus-5-5:status=500; times=1"
    assert [client.ask(model=model).status_code for _ in range(2)] == [500, 200]


def test_slow_start_delays_the_head(client: Client) -> None:
    start = time.monotonic()
    assert client.ask(control="slow-start=0.05").status_code == 200
    assert time.monotonic() - start >= 0.05


def test_pace_spreads_the_events(client: Client) -> None:
    start = time.monotonic()
    answer = client.ask(stream=True, control="events=3; pace=0.01; comments")
    assert time.monotonic() - start >= 0.01 * (len(events_of(answer.text)) - 1)


def test_stall_delays_the_end_of_a_stream(client: Client) -> None:
    start = time.monotonic()
    assert types_of(client.ask(stream=True, control="stall=0.05").text)[-1] == "message_stop"
    assert time.monotonic() - start >= 0.05


def test_stall_divides_a_json_body(client: Client, simulator: Server) -> None:
    start = time.monotonic()
    answer = client.ask(control="stall=0.05")
    assert time.monotonic() - start >= 0.05
    assert simulator.recorder.wait_ended()[0].response_body == answer.content


@pytest.mark.parametrize("count", [0, 1, 4])
def test_cut_ends_a_stream_after_so_many_events(client: Client, simulator: Server, count: int) -> None:
    received, error = read_until_broken(client, f"cut={count}", stream=True)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert len(events_of(received.decode())) == count
    (recorded,) = simulator.recorder.wait_ended()
    assert (recorded.events_sent, recorded.finished, recorded.client_disconnected) == (count, False, False)
    assert recorded.response_body == received


@pytest.mark.parametrize(("control", "size"), [("cut=0", 0), ("cut=100", 100), ("cut=300; stall=0.01", 300)])
def test_cut_ends_a_json_body_after_so_many_bytes(client: Client, control: str, size: int) -> None:
    received, _ = read_until_broken(client, control)
    assert len(received) == size


def test_cut_beyond_the_end_changes_nothing(client: Client) -> None:
    assert client.ask(control="cut=999999").json()["type"] == "message"
    assert types_of(client.ask(control="cut=999999", stream=True).text)[-1] == "message_stop"


def test_reset_breaks_the_connection_by_force(client: Client) -> None:
    _, error = read_until_broken(client, "cut=3; reset", stream=True)
    assert isinstance(error, httpx.ReadError)


def test_drop_closes_the_connection_without_an_answer(client: Client, simulator: Server) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        client.ask(control="drop")
    with pytest.raises(httpx.ReadError):
        client.ask(control="drop; reset; slow-start=0.01")
    assert [one.status for one in simulator.recorder.wait_ended(2)] == [None, None]


def test_error_event_ends_a_stream_cleanly(client: Client, simulator: Server) -> None:
    answer = client.ask(stream=True, control="error-event=3")
    assert types_of(answer.text)[3:] == ["error"]
    assert events_of(answer.text)[3]["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert events_of(answer.text)[3]["request_id"] == answer.headers["request-id"]
    assert simulator.recorder.wait_ended()[0].finished


def test_echo_returns_any_body_on_any_path(client: Client) -> None:
    answer = client.http.patch(
        "/v1/what/ever?x=1",
        headers={"x-simulator": "echo", "content-type": "text/csv"},
        content=b"\x00\xff,\r\n",
    )
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
        200,
        b"\x00\xff,\r\n",
        "text/csv",
    )
    bare = client.http.post("/", headers={"x-simulator": "echo"}, content=b"x")
    assert bare.headers["content-type"] == "application/octet-stream"


def test_settings_can_apply_a_control_to_every_request() -> None:
    with Server(SimulatorSettings(always="status=529; retry-after=1")) as simulator:
        answer = httpx.post(f"{simulator.url}/v1/messages", headers=HEADERS, json=body())
        assert (answer.status_code, answer.headers["retry-after"]) == (529, "1")
        other = httpx.post(
            f"{simulator.url}/v1/messages", headers=HEADERS | {"x-simulator": "status=500"}, json=body()
        )
        assert (other.status_code, other.headers["retry-after"]) == (500, "1")


def test_settings_with_a_bad_control_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"SimulatorSettings.always: .*satus"):
        create_app(SimulatorSettings(always="satus=1"))


def test_app_works_under_another_server_which_breaks_off_by_an_error() -> None:
    app = create_app(SimulatorSettings())

    async def converse() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=HEADERS) as client:
            assert (await client.post("/v1/messages?a=b", json=body())).status_code == 200
            with pytest.raises(ExceptionGroup, match="TaskGroup"):
                await client.post("/v1/messages", headers={"x-simulator": "drop"}, json=body())
            assert (await client.get("/v1/models")).status_code == 200

    asyncio.run(converse())
    first, *_ = app.state.recorder.requests
    assert (first.target, first.header("X-API-Key")) == (b"/v1/messages?a=b", "key")
