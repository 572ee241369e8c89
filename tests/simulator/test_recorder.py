"""What the recorder keeps, in process and over HTTP."""

import base64
import socket
import time

import httpx
import pytest

from ferryman.simulator.recorder import MAX_REPEATS, Recorder
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .conftest import OLD, Client, body

MESSAGE = b'{"model":"claude-opus-5-5", "max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
HEADERS = {"x-api-key": "key", "anthropic-version": OLD}


def exchange(simulator: Server, request: bytes, until: bytes, times: int = 1) -> bytes:
    """Send bytes over a connection of their own and read until some bytes have come so many times."""
    with socket.create_connection((simulator.host, simulator.port), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while received.count(until) < times:
            received += connection.recv(65_536)
    return received


def test_request_is_recorded_byte_for_byte(simulator: Server) -> None:
    request = (
        b"POST /v1/messages?beta=true&a[]=%%2F%%20x HTTP/1.1\r\nHost: x\r\nX-Api-Key: k\r\n"
        b"anthropic-VERSION: 2023-06-01\r\nX-Twice: 1\r\nx-twice: 2\r\nX-Latin: \xe9\r\n"
        b"Content-Length: %d\r\n\r\n" % len(MESSAGE)
    )
    exchange(simulator, request + MESSAGE, b'"usage"')
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.method == "POST"
    assert recorded.target == b"/v1/messages?beta=true&a[]=%2F%20x"
    assert recorded.headers == (
        (b"Host", b"x"),
        (b"X-Api-Key", b"k"),
        (b"anthropic-VERSION", b"2023-06-01"),
        (b"X-Twice", b"1"),
        (b"x-twice", b"2"),
        (b"X-Latin", b"\xe9"),
        (b"Content-Length", str(len(MESSAGE)).encode()),
    )
    assert recorded.body == MESSAGE
    assert recorded.json()["max_tokens"] == 9
    assert recorded.header_values("X-TWICE") == ["1", "2"]
    assert recorded.header("x-latin") == "é"
    assert recorded.header("absent") is None
    assert recorded.finished
    assert not recorded.client_disconnected


def test_pipelined_requests_are_kept_apart(simulator: Server) -> None:
    def request(number: int) -> bytes:
        return b"GET /api/hello?%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\n\r\n" % (number, number)

    exchange(simulator, request(1) + request(2) + request(3), b'"hello"}', times=3)
    assert len(simulator.recorder.wait_ended(3)) == 3
    for number, recorded in enumerate(simulator.recorder.requests, 1):
        assert recorded.target == b"/api/hello?%d" % number
        assert recorded.header_values("x-number") == [str(number)]


@pytest.mark.parametrize("stream", [True, False])
def test_response_bytes_are_recorded_as_they_were_sent(
    client: Client, simulator: Server, *, stream: bool
) -> None:
    with client.http.stream(
        "POST", "/v1/messages", headers=HEADERS | {"x-simulator": "gzip; thinking"}, json=body(stream=stream)
    ) as answer:
        received = b"".join(answer.iter_raw())
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.response_body == received
    assert recorded.response_bytes == len(received)
    assert recorded.status == 200
    assert (b"content-encoding", b"gzip") in recorded.response_headers
    assert recorded.finished
    assert recorded.first_byte_seconds is not None
    assert recorded.ended_seconds is not None
    assert recorded.received_seconds <= recorded.first_byte_seconds <= recorded.ended_seconds
    assert (recorded.events_sent > 0) is stream


def test_client_that_leaves_a_stream_is_noticed_at_once(client: Client, simulator: Server) -> None:
    with client.http.stream(
        "POST", "/v1/messages", headers=HEADERS | {"x-simulator": "stall=30"}, json=body(stream=True)
    ) as answer:
        next(answer.iter_raw())
        simulator.recorder.wait(lambda requests: requests[0].events_sent == 4)
        left = time.monotonic()
    (recorded,) = simulator.recorder.wait_ended()
    assert recorded.client_disconnected
    assert not recorded.finished
    assert recorded.ended_seconds is not None
    assert recorded.ended_seconds - left < 10
    assert recorded.events_sent == 4


def test_client_that_leaves_before_the_head_is_noticed(client: Client, simulator: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(
            "/v1/messages", headers=HEADERS | {"x-simulator": "slow-start=30"}, json=body(), timeout=0.05
        )
    (recorded,) = simulator.recorder.wait_ended()
    assert (recorded.client_disconnected, recorded.status) == (True, None)


def test_client_that_leaves_within_its_own_body_is_noticed(simulator: Server) -> None:
    with socket.create_connection((simulator.host, simulator.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        simulator.recorder.wait(lambda requests: requests)
    (recorded,) = simulator.recorder.wait_ended()
    assert (recorded.client_disconnected, recorded.body) == (True, b"half")


def test_connections_are_counted() -> None:
    with Server() as simulator:
        with httpx.Client(base_url=simulator.url) as one, httpx.Client(base_url=simulator.url) as two:
            for client in (one, two, one, two):
                client.get("/api/hello")
            assert simulator.recorder.connections_open == 2
        simulator.recorder.wait(lambda _: simulator.recorder.connections_open == 0)
        assert simulator.recorder.connections_total == 2
        assert repr(simulator.recorder) == "Recorder(4 of 4 requests, 0 of 2 connections open)"


def test_records_can_be_read_and_cleared_over_http(client: Client) -> None:
    client.request("POST", "/v1/messages?x=1", content=MESSAGE)
    found = client.http.get("/simulator/requests").json()
    assert found["connections"]["open"] >= 1
    assert found["connections"]["total"] >= 1
    (recorded,) = found["requests"]
    assert base64.b64decode(recorded["body_base64"]) == MESSAGE
    assert base64.b64decode(recorded["response_body_base64"]).startswith(b'{"model"')
    assert (recorded["method"], recorded["target"], recorded["status"]) == ("POST", "/v1/messages?x=1", 200)
    assert ["x-api-key", "key"] in recorded["headers"]
    assert recorded["finished"]
    assert client.http.delete("/simulator/requests").status_code == 204
    assert client.http.get("/simulator/requests").json()["requests"] == []


def test_clearing_also_forgets_repetitions(client: Client) -> None:
    for _ in range(2):
        assert client.ask(control="status=500; times=1").status_code == 500
        client.http.delete("/simulator/requests")


def test_number_of_records_is_bounded() -> None:
    with Server(SimulatorSettings(recorded_requests=2)) as simulator:
        for path in ("a", "b", "c"):
            httpx.get(f"{simulator.url}/{path}")
        assert [one.target for one in simulator.recorder.wait_ended(2)] == [b"/b", b"/c"]
        assert simulator.recorder.last.number == 3


def test_bytes_of_records_are_bounded_but_the_newest_is_kept() -> None:
    with Server(SimulatorSettings(recorded_bytes=1_000, recorded_response_bytes=10)) as simulator:
        for size in (400, 400, 300, 5_000):
            httpx.post(f"{simulator.url}/x", content=b"x" * size, headers={"x-simulator": "echo"})
            sizes = [len(one.body) for one in simulator.recorder.wait_ended()]
            assert sum(sizes) <= 1_000 or sizes == [5_000]
        assert len(simulator.recorder.last.response_body) == 10
        assert simulator.recorder.last.response_bytes == 5_000


def test_answer_under_way_goes_on_after_clearing(client: Client, simulator: Server) -> None:
    with client.http.stream(
        "POST", "/v1/messages", headers=HEADERS | {"x-simulator": "stall=0.05"}, json=body(stream=True)
    ) as answer:
        simulator.recorder.clear()
        assert b"message_stop" in answer.read()
    assert simulator.recorder.requests == []


def test_waiting_gives_up_and_says_what_was_recorded(simulator: Server) -> None:
    with pytest.raises(TimeoutError, match=r"Recorder\(0 of"):
        simulator.recorder.wait_ended(1, timeout_seconds=0.01)


def test_repetitions_of_old_requests_are_forgotten() -> None:
    recorder = Recorder(1, 1, 1)
    assert [recorder.repeated(b"old"), recorder.repeated(b"old")] == [1, 2]
    for number in range(MAX_REPEATS):
        recorder.repeated(str(number).encode())
    assert recorder.repeated(b"old") == 1


def test_recording_shows_its_facts() -> None:
    recording = Recorder(1, 1, 1).begin("GET", b"/", (), None)
    recording.end(finished=True)
    recording.end(client_disconnected=True)
    assert "finished=True, client_disconnected=False" in repr(recording)
