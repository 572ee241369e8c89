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
from typing import NamedTuple

import httpx
import pytest

from ferryman.simulator.server import Server as Simulator

ROOT = Path(__file__).parent.parent
DEMO = [sys.executable, "-m", "demo"]
DEADLINE_SECONDS = 40.0
MOST_SECONDS = 60.0
"""Somebody may look at its progress; it takes 25 on two cores that have nothing else to do."""

UUID_TAIL_BITS = 80  # behind the milliseconds of a UUIDv7
QUESTION = f"Is there a ferry at {time.strftime('%H:%M')}?"
MESSAGE = {
    "model": "claude-opus-5-5",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Ahoy"}],
}
VERSION = {"anthropic-version": "2023-06-01"}


def demo(*words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """The demo, run to its end."""
    return subprocess.run(
        [*DEMO, *words],
        cwd=ROOT,
        env=dict(os.environ) if path is None else {**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


class Kept(NamedTuple):
    """A demo that goes on, and what it has printed so far."""

    process: subprocess.Popen[str]
    output: str

    @property
    def url(self) -> str:
        """Of the gateway."""
        return self.text(r"ANTHROPIC_BASE_URL=(\S+)")

    @property
    def key(self) -> str:
        """Of a client."""
        return self.text(r"ANTHROPIC_AUTH_TOKEN=(\S+)")

    def text(self, pattern: str) -> str:
        """What the first group of a pattern finds in what is printed."""
        found = re.search(pattern, self.output)
        assert found is not None, self.output
        return found[1]

    def number(self, pattern: str) -> int:
        """A whole number in what is printed."""
        return numbers(pattern, self.output)[0]


@contextlib.contextmanager
def kept_demo(*words: str) -> Iterator[Kept]:
    """The demo when it has nothing more to show, ended with the block."""
    with subprocess.Popen(
        [*DEMO, "--keep", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            output = ""
            while "The gateway's log\n" not in output:
                line = process.stdout.readline()
                assert line, output
                output += line
            yield Kept(process, output)
        finally:
            process.terminate()  # not a kill, which would leave its servers behind


def milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


def sections(output: str) -> list[str]:
    """What is printed for each of the three requests, line breaks taken out."""
    found = re.findall(r"^\d\. .*?(?=^\d\. |^The console)", output, re.MULTILINE | re.DOTALL)
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
    done = demo("--brief", "--ask", QUESTION)  # its output is no terminal, so it ends
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
            f"{simulator.url}/v1/messages", json=body, headers=VERSION | {"x-api-key": "k"}, trust_env=False
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
    with kept_demo("--brief") as kept:
        headers = VERSION | {"x-api-key": kept.key}
        answer = httpx.post(f"{kept.url}/v1/messages", json=MESSAGE, headers=headers, trust_env=False)
        assert kept.process.stdout is not None
        logged = kept.process.stdout.readline()
        kept.process.send_signal(number)
        rest, _ = kept.process.communicate(timeout=DEADLINE_SECONDS)
    assert answer.status_code == 200
    assert logged.endswith(f"{answer.headers['x-ferryman-request-id']}\n")
    assert (rest, kept.process.returncode) == ("\nstopped\n", 0)
    for address in {kept.url, *re.findall(r"http://127\.0\.0\.1:\d+", kept.output)}:
        with pytest.raises(httpx.ConnectError):
            httpx.get(address, trust_env=False)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_console_that_is_told_of_shows_the_work_that_is_told_of() -> None:
    began = time.monotonic()
    with kept_demo() as kept, httpx.Client(base_url=kept.url, trust_env=False, timeout=20) as client:
        took_seconds = time.monotonic() - began
        address, master_key = re.findall(r"  open +(\S+)\n  sign in with +(\S+)", kept.output)[0]
        assert address == f"{kept.url}/ui"
        headers = {"authorization": f"Bearer {master_key}"}
        log = client.get("/spend/logs/v2", params={"page_size": 1}, headers=headers).json()
        today, past = kept.number(r"ledger +([\d,]+) requests"), kept.number(r"past +([\d,]+) copies")
        assert log["total_is_exact"]
        assert log["total"] == 3 + today + past

        token = re.search(r'name="form_token" value="(\w+)"', client.get("/ui/sign-in").text)
        assert token is not None
        form = {"form_token": token[1], "key": master_key}
        page = client.post("/ui/sign-in", data=form, follow_redirects=True)
        assert page.url.path == "/ui"
        for name in ("claude-opus-5-5", "ann-laptop", "ci-pipeline", "customer-1"):
            assert name in page.text
        sessions = client.get("/ui/sessions").text
        session = re.findall(r'"/ui/sessions/([0-9a-f-]{36})"', sessions)[0]
        tree = client.get(f"/ui/sessions/{session}").text
        assert "agent-explore" in tree
        assert "compaction" in tree
        for outcome in ("400", "529"):
            assert client.get("/ui/requests", params={"status": outcome}).text.count("<tr") > 1
        budgets = client.get("/key/list", params={"return_full_object": True}, headers=headers).json()["keys"]
        (pipeline,) = (one for one in budgets if one["key_alias"] == "ci-pipeline")
        assert 0.85 < pipeline["spend"] / pipeline["max_budget"] <= 1
    assert took_seconds < MOST_SECONDS


@pytest.mark.slow
def test_demo_without_curl_says_what_is_missing(tmp_path: Path) -> None:
    done = demo("--brief", path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "\nThe demo failed: curl is not here; as root: apt-get install curl\n"
