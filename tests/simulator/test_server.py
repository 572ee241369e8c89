"""Starting and stopping."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import httpx
import pytest

from ferryman.simulator.server import Server, run
from ferryman.simulator.settings import SimulatorSettings

from .conftest import OLD, body

HEADERS = {"x-api-key": "key", "anthropic-version": OLD}
RUN = """
    from ferryman.simulator.server import run
    from ferryman.simulator.settings import SimulatorSettings

    run(SimulatorSettings(), "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
"""


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def test_server_stops_at_once_though_a_stream_stalls() -> None:
    failures = []

    def stream(url: str) -> None:
        headers = HEADERS | {"x-simulator": "stall=60"}
        try:
            httpx.post(f"{url}/v1/messages", headers=headers, json=body(stream=True), timeout=20)
        except httpx.HTTPError as error:
            failures.append(error)

    with Server() as simulator:
        client = threading.Thread(target=stream, args=(simulator.url,))
        client.start()
        simulator.recorder.wait(lambda requests: requests and requests[0].events_sent)
        left = time.monotonic()
    assert time.monotonic() - left < 10
    client.join()
    assert len(failures) == 1
    assert simulator.recorder.requests[0].client_disconnected


def test_server_can_be_started_again_on_its_port() -> None:
    simulator = Server()
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = simulator.recorder
    simulator.stop()
    simulator.start()
    url = simulator.url
    assert httpx.get(f"{url}/api/hello").status_code == 200
    assert repr(simulator) == f"Server({url!r}, running)"
    simulator.stop()
    simulator.stop()
    assert repr(simulator) == f"Server({url!r}, stopped)"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/api/hello")
    with simulator:
        assert simulator.url == url
        assert httpx.get(f"{url}/api/hello").status_code == 200
        assert len(simulator.recorder.wait_ended()) == 1


def test_address_that_is_taken_is_an_error() -> None:
    with Server() as simulator:
        with pytest.raises(OSError, match="in use"):
            Server(port=simulator.port).start()
        with pytest.raises(OSError, match="in use"):
            run(SimulatorSettings(), "127.0.0.1", simulator.port)


def test_server_listens_on_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        with Server(host="::1") as simulator:
            assert simulator.url.startswith("http://[::1]:")
            assert httpx.get(f"{simulator.url}/api/hello").status_code == 200
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_foreground_server_finishes_answers_under_way_when_stopped(number: signal.Signals, code: int) -> None:
    with python(RUN) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        headers = HEADERS | {"x-simulator": "pace=0.02; events=5"}
        with httpx.stream("POST", f"{url}/v1/messages", headers=headers, json=body(stream=True)) as answer:
            process.send_signal(number)
            assert b"message_stop" in answer.read()
        assert process.wait(5) == code
        assert process.stderr.read() == ""


def test_foreground_server_breaks_off_what_takes_too_long() -> None:
    with python(RUN) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        headers = HEADERS | {"x-simulator": "stall=60"}
        with httpx.stream("POST", f"{url}/v1/messages", headers=headers, json=body(stream=True)) as answer:
            process.send_signal(signal.SIGINT)
            with pytest.raises(httpx.HTTPError):
                answer.read()
        assert process.wait(5) == 0
        assert process.stderr.read() == ""
