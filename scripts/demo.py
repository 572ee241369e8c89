"""`scripts/demo`: a simulated Anthropic API, the gateway in front of it, and three requests through both.

Everything printed about a request came back from these processes, which run for the demo alone.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import anthropic
import click
import msgspec

from ferryman import __version__
from ferryman.ledger.records import encode
from ferryman.model import Entry
from ferryman.telemetry.log import text_line

SOURCE = Path(__file__).resolve().parent.parent / "src"
SERVER_KEY, CLIENT_KEY = "the-key-of-the-server", "any-key-will-do"
MODEL = "claude-opus-5-5"
WAIT_SECONDS = 20.0
WIDTH = 96
QUESTIONS = ("What is the fare?", "And for two, with a dog?", "When does the last ferry leave?")
PICTURE = """
  client          sends the key `{key}`
    │
  gateway         {url}   puts its own key in the place, counts tokens, logs
    │
  simulated API   {upstream}   takes the gateway's key only"""
CLIENTS = """
  Claude Code   ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} claude
  an SDK        ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key} python your_program.py
  curl          the command above, with this URL

For answers of a real model, start the gateway with a real key; clients change nothing:

  ANTHROPIC_API_KEY=sk-ant-… .venv/bin/ferryman

Read on in README.md; docs/clients.md tells more about clients, docs/concepts.md about what happens
to a request."""


class DemoError(Exception):
    """Why the demo cannot go on."""


class Took(NamedTuple):
    """What a client was told about an answer, and when it had it; a whole one has no first token."""

    input_tokens: int
    output_tokens: int
    seconds: float
    first_token_seconds: float | None = None


class Server:
    """A `ferryman …` process, ended with its `with` block; it sees no settings but those given here."""

    def __init__(self, name: str, *words: str, directory: str, **environment: str) -> None:
        self.name = name
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last = "it printed nothing"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ferryman", *words],
            cwd=directory,
            env={"PYTHONPATH": str(SOURCE), "FERRYMAN_DATA_DIR": directory, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the demo, which then ends its servers one by one
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def line(self, pattern: str, seconds: float | None = WAIT_SECONDS) -> re.Match[str]:
        """Wait for a line of output with `pattern` in it; `None` waits for ever."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                raise DemoError(f"the {self.name} does not answer; its last line: {self._last}") from None
            if not line:
                raise DemoError(f"the {self.name} has ended; its last line: {self._last}")
            self._last = line.rstrip()
            if found := re.search(pattern, line):
                return found

    def entry(self, seconds: float | None = WAIT_SECONDS) -> Entry:
        """Wait for what the gateway logs about the next request."""
        return msgspec.json.decode(self.line(r'^\{"id":.*', seconds)[0], type=Entry)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


def show(label: str, pieces: Iterable[str], gap: str = " ") -> None:
    """Print a labelled text as it comes, and wrap it where there is a `gap`."""
    click.secho(f"  {label:<7}", dim=True, nl=False)
    column, rest = 9, ""
    for piece in itertools.chain(pieces, [gap]):
        *words, rest = (rest + piece).split(gap)
        for word in words:
            if column + len(gap) + len(word) > WIDTH:
                click.echo(f"\n{'':<9}", nl=False)
                column = 9
            lead = gap if column > 9 else " "
            click.echo(lead + word, nl=False)
            column += len(lead) + len(word)
    click.echo()


def ask_whole(client: anthropic.Anthropic, question: str) -> Took:
    """Ask with the SDK, and print the answer when all of it is there."""
    started = time.perf_counter()
    message = client.messages.create(
        model=MODEL, max_tokens=200, messages=[{"role": "user", "content": question}]
    )
    seconds = time.perf_counter() - started
    show("answer", (block.text for block in message.content if block.type == "text"))
    return Took(message.usage.input_tokens, message.usage.output_tokens, seconds)


def ask_streaming(client: anthropic.Anthropic, question: str) -> Took:
    """Ask with the SDK, and print the answer as it comes."""
    started = time.perf_counter()
    with client.messages.stream(
        model=MODEL, max_tokens=200, messages=[{"role": "user", "content": question}]
    ) as stream:
        first = next(stream.text_stream, "")
        first_token_seconds = time.perf_counter() - started
        show("answer", itertools.chain([first], stream.text_stream))
        usage = stream.get_final_message().usage
    return Took(usage.input_tokens, usage.output_tokens, time.perf_counter() - started, first_token_seconds)


def ask_with_curl(url: str, question: str) -> Took:
    """Print a command, run exactly that, and print its answer."""
    body = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": question}]}
    headers = (f"x-api-key: {CLIENT_KEY}", "anthropic-version: 2023-06-01", "content-type: application/json")
    lines = [f"curl -sS {url}/v1/messages", *(f"-H {shlex.quote(header)}" for header in headers)]
    command = " \\\n      ".join([*lines, f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"])
    click.echo(f"  $ {command}\n")
    if (program := shutil.which("curl")) is None:
        raise DemoError("curl is not here; as root: apt-get install curl")
    path = f"{Path(program).parent}:{os.defpath}"  # and no proxy, which could not reach this machine
    started = time.perf_counter()
    done = subprocess.run(["sh", "-c", command], env={"PATH": path}, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    try:
        answer = json.loads(done.stdout)
        text, usage = answer["content"][0]["text"], answer["usage"]
    except (ValueError, KeyError):
        raise DemoError(f"curl got no answer: {(done.stdout or done.stderr).decode()}") from None
    show("answer", [text])
    return Took(usage["input_tokens"], usage["output_tokens"], seconds)


def report(took: Took, entry: Entry) -> None:
    """Print what the client and the gateway have measured; they have to agree."""
    told = (took.input_tokens, took.output_tokens)
    if entry.usage is None or told != (entry.usage.input_tokens, entry.usage.output_tokens):
        raise DemoError(f"the client was told of {told} tokens, but the gateway logged {entry.usage}")
    show("tokens", [f"{took.input_tokens} in, {took.output_tokens} out, and the gateway counted the same"])
    first = took.first_token_seconds
    began = "" if first is None else f"first token after {first * 1000:.0f} ms, "
    show("time", [f"{began}whole answer after {took.seconds * 1000:.0f} ms"])
    show("logged", [text_line(encode(entry)).decode().strip()], gap="  ")


def is_free(port: int) -> bool:
    """Whether `port` can be listened on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def run(questions: Sequence[str], directory: str, *, keep: bool) -> None:
    """Start both servers, ask three times, and serve on if that is wanted."""
    ports = [str(port) if keep and is_free(port) else "0" for port in (4010, 4000)]
    options = ("--port", ports[0], "--api-key", SERVER_KEY, "--always", "pace=0.04")
    with Server("simulator", "simulator", *options, directory=directory) as simulator:
        upstream = simulator.line(r"http://[\d.:]+")[0]
        options = ("--port", ports[1], "--upstream-url", upstream, "--shutdown-grace-seconds", "2")
        words = ("serve", *options, "--log-format", "json")
        with Server("gateway", *words, directory=directory, ANTHROPIC_API_KEY=SERVER_KEY) as gateway:
            url = gateway.line(r'ANTHROPIC_BASE_URL=([^"]+)')[1]
            click.secho(f"Ferryman {__version__}: three requests, no key, no cost", bold=True)
            click.echo(PICTURE.format(url=url, upstream=upstream, key=CLIENT_KEY))
            ask(url, questions, gateway)
            click.secho("\nNext", bold=True)
            if not keep:
                click.echo(
                    "Both servers end here. `./scripts/demo --keep` leaves them running for clients of yours:"
                )
                click.echo(CLIENTS.format(url="http://127.0.0.1:4000", key=CLIENT_KEY))
                return
            click.echo("Both servers stay until Ctrl-C, for clients of yours:")
            click.echo(CLIENTS.format(url=url, key=CLIENT_KEY))
            serve_on(gateway)


def ask(url: str, questions: Sequence[str], gateway: Server) -> None:
    """Send the three requests."""
    http = anthropic.DefaultHttpxClient(trust_env=False)  # a proxy could not reach this machine
    with anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0, http_client=http) as client:
        click.secho("\n1. Anthropic's Python SDK", bold=True)
        report(ask_whole(client, questions[0]), gateway.entry())
        click.secho("\n2. The same, streaming", bold=True)
        report(ask_streaming(client, questions[1]), gateway.entry())
    click.secho("\n3. curl", bold=True)
    report(ask_with_curl(url, questions[2]), gateway.entry())


def serve_on(gateway: Server) -> None:
    """Print what the gateway logs, until Ctrl-C."""
    click.secho("\nThe gateway's log", bold=True)
    try:
        while True:
            click.echo(text_line(encode(gateway.entry(None))), nl=False)
    except KeyboardInterrupt:
        click.echo("\nstopped")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Serve on until Ctrl-C, on ports 4000 and 4010 if they are free.")
@click.option("--ask", "question", metavar="TEXT", help="What to ask in all three.")
def main(question: str | None, *, keep: bool) -> None:
    """Show Ferryman at work: a simulated API, the gateway in front of it, and three requests."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have had SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="ferryman-demo-") as directory:
            run([question] * 3 if question else QUESTIONS, directory, keep=keep)
    except KeyboardInterrupt:
        sys.exit(130)
    except (DemoError, anthropic.AnthropicError) as error:
        click.echo(f"\nThe demo failed: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="scripts/demo")
