"""`scripts/demo` shows what has happened: its figures agree with each other, and follow what is asked."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ferryman.simulator.server import Server as Simulator

SCRIPT = Path(__file__).parent.parent / "scripts" / "demo.py"
DEADLINE_SECONDS = 40.0
UUID_TAIL_BITS = 80  # behind the milliseconds of a UUIDv7
QUESTION = f"Is there a ferry at {time.strftime('%H:%M')}?"
MESSAGE = {
    "model": "claude-opus-5-5",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Ahoy"}],
}
HEADERS = {"x-api-key": "mine", "anthropic-version": "2023-06-01"}


def demo(*words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """The demo, run to its end."""
    return subprocess.run(
        [sys.executable, SCRIPT, *words],
        env=dict(os.environ) if path is None else {**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def kept_demo() -> Iterator[subprocess.Popen[str]]:
    """The demo that goes on, ended with the block."""
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--keep"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # not a kill, which would leave its servers behind


def milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


def sections(output: str) -> list[str]:
    """What is printed for each of the three requests, line breaks taken out."""
    found = re.findall(r"^\d\. .*?(?=^\d\. |^Next)", output, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\n {10}", " ", section) for section in found]


def field(section: str, label: str) -> str:
    """The text behind a label."""
    found = re.search(rf"^  {label} +(.*)$", section, re.MULTILINE)
    assert found is not None, section
    return found[1]


def numbers(pattern: str, text: str) -> list[int]:
    """The whole numbers that the groups of `pattern` find in `text`."""
    found = re.search(pattern, text)
    assert found is not None, text
    return [int(group.replace(",", "")) for group in found.groups()]


@pytest.fixture(scope="module")
def parts() -> list[str]:
    """What the demo prints for each of its requests when it is given a question."""
    began = milliseconds_now()
    done = demo("--ask", QUESTION)
    assert done.returncode == 0, done.stderr
    parts = sections(done.stdout)
    assert len(parts) == 3
    made = [int(field(part, "logged").split()[-1].replace("-", ""), 16) >> UUID_TAIL_BITS for part in parts]
    assert [began, *made, milliseconds_now()] == sorted([began, *made, milliseconds_now()])
    return parts


@pytest.mark.slow
def test_answers_and_tokens_are_those_of_the_question(parts: list[str]) -> None:
    told = [numbers(r"^(\d+) in, (\d+) out", field(part, "tokens")) for part in parts]
    with Simulator() as simulator:
        body = {**MESSAGE, "messages": [{"role": "user", "content": QUESTION}]}
        expected = httpx.post(
            f"{simulator.url}/v1/messages", json=body, headers=HEADERS, trust_env=False
        ).json()
    usage = expected["usage"]
    assert told == [[usage["input_tokens"], usage["output_tokens"]]] * 3
    for part in parts:
        assert field(part, "answer") == expected["content"][0]["text"]
        logged = numbers(r"in ([\d,]+), out ([\d,]+) tokens", field(part, "logged"))
        assert logged == told[0]


@pytest.mark.slow
def test_first_token_comes_between_the_gateways_first_byte_and_the_end(parts: list[str]) -> None:
    whole, streamed, curl = parts
    first, last = numbers(r"first token after (\d+) ms, whole answer after (\d+) ms", field(streamed, "time"))
    byte, end = numbers(r"stream .* first byte (\d+) ms  (\d+) ms", field(streamed, "logged"))
    assert 0 <= byte <= first < last
    assert end <= last
    for part in (whole, curl):
        assert "first token" not in part
        (took,) = numbers(r"whole answer after (\d+) ms", field(part, "time"))
        assert numbers(r"first byte \d+ ms  (\d+) ms", field(part, "logged"))[0] <= took


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_kept_demo_serves_and_logs_until_it_is_interrupted(number: signal.Signals) -> None:
    with kept_demo() as process:
        assert process.stdout is not None
        output = ""
        while "The gateway's log\n" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        url = re.findall(r"ANTHROPIC_BASE_URL=(\S+)", output)[0]
        answer = httpx.post(f"{url}/v1/messages", json=MESSAGE, headers=HEADERS, trust_env=False)
        logged = process.stdout.readline()
        process.send_signal(number)
        rest, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert answer.status_code == 200
    assert logged.endswith(f"{answer.headers['x-ferryman-request-id']}\n")
    assert (rest, process.returncode) == ("\nstopped\n", 0)
    for address in {url, *re.findall(r"http://127\.0\.0\.1:\d+", output)}:
        with pytest.raises(httpx.ConnectError):
            httpx.get(address, trust_env=False)


@pytest.mark.slow
def test_demo_without_curl_says_what_is_missing(tmp_path: Path) -> None:
    done = demo(path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "\nThe demo failed: curl is not here; as root: apt-get install curl\n"
