"""`scripts/demo`: a simulated Anthropic API, the gateway in front of it, and a day's work through both.

Three requests are shown one by one, and everything printed about them came back from these processes, which
run for the demo alone. Many more follow, so that the console has something to show.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anthropic
import click
import httpx

from demo.past import days_before
from demo.servers import DemoError, Server, is_free
from demo.traffic import ALIASES, CI_SHARE, Traffic
from ferryman import __version__
from ferryman.errors import StoreError
from ferryman.ledger.records import encode
from ferryman.model import Entry
from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.store.read import Filter
from ferryman.store.store import Store
from ferryman.telemetry.log import text_line

SERVER_KEY = "the-key-of-the-server"
MODEL = "claude-opus-5-5"
WIDTH = 96
PAST_DAYS = 59  # twice what the overview shows at first, with today
SESSIONS, REQUESTS = 7, 90
STORE_SECONDS, POLL_SECONDS = 20.0, 0.05
QUESTIONS = ("What is the fare?", "And for two, with a dog?", "When does the last ferry leave?")
PICTURE = """
  client          sends a virtual key
    │
  gateway         {url}   checks it, puts its own key in the place, counts, logs
    │
  simulated API   {upstream}   takes the gateway's key only"""
CONSOLE = """
  open          {url}/ui
  sign in with  {key}

  Overview has a month of spend, Keys one whose budget is nearly used, Sessions Claude Code's agents
  as trees, Requests each line of what something has cost."""
CLIENTS = """
  Claude Code   ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} claude
  an SDK        ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key} python your_program.py
  curl          the command above

For answers of a real model, start the gateway with a real key; clients change nothing:

  ANTHROPIC_API_KEY=sk-ant-… .venv/bin/ferryman

Read on in README.md; docs/clients.md tells more about clients, docs/console.md about the console."""


class Took(NamedTuple):
    """What a client was told about an answer, and when it had it; a whole one has no first token."""

    input_tokens: int
    output_tokens: int
    seconds: float
    first_token_seconds: float | None = None


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


def ask_with_curl(url: str, key: str, question: str) -> Took:
    """Print a command, run exactly that, and print its answer."""
    body = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": question}]}
    headers = (f"x-api-key: {key}", "anthropic-version: 2023-06-01", "content-type: application/json")
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


class Options(NamedTuple):
    """What the command line says.

    Attributes:
        keep: serve on until Ctrl-C.
        is_brief: leave out all but the three requests.
    """

    questions: Sequence[str]
    keep: bool
    is_brief: bool


def run(options: Options, directory: str) -> None:
    """Start both servers, ask three times, do a day's work, and serve on if that is wanted."""
    ports = [str(port) if options.keep and is_free(port) else "0" for port in (4010, 4000)]
    master_key = f"sk-demo-{secrets.token_hex(8)}"
    words = ("--port", ports[0], "--api-key", SERVER_KEY, "--always", "pace=0.04")
    with Server("simulator", "simulator", *words, directory=directory) as simulator:
        upstream = simulator.line(r"http://[\d.:]+")[0]
        # JSON is YAML.
        Path(directory, "ferryman.yaml").write_text(json.dumps({"aliases": ALIASES}), "utf-8")
        more = ("--port", ports[1], "--upstream-url", upstream, "--log-format", "json")
        settings = {
            "ANTHROPIC_API_KEY": SERVER_KEY,
            "FERRYMAN_MASTER_KEY": master_key,
            "FERRYMAN_MAX_BUDGET": "150",
            "FERRYMAN_BUDGET_DURATION": "30d",
            "FERRYMAN_SHUTDOWN_GRACE_SECONDS": "2",
        }
        with Server("gateway", "serve", *more, directory=directory, **settings) as gateway:
            url = gateway.line(r'ANTHROPIC_BASE_URL=([^"]+)')[1]
            click.secho(f"Ferryman {__version__}: a gateway at work, no account, no cost", bold=True)
            click.echo(PICTURE.format(url=url, upstream=upstream))
            traffic = Traffic(url, master_key, is_paced=True)
            try:
                key = str(traffic.manage("/key/generate", key_alias="newcomer", max_budget=5)["key"])
                ask(url, key, options.questions, gateway)
                if not options.is_brief:
                    work(traffic, gateway, directory)
            finally:
                traffic.close()
            tell(url, master_key, key, keep=options.keep)
            if options.keep:
                serve_on(gateway)


def ask(url: str, key: str, questions: Sequence[str], gateway: Server) -> None:
    """Send the three requests."""
    http = anthropic.DefaultHttpxClient(trust_env=False)  # a proxy could not reach this machine
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, http_client=http) as client:
        click.secho("\n1. Anthropic's Python SDK", bold=True)
        report(ask_whole(client, questions[0]), gateway.entry())
        click.secho("\n2. The same, streaming", bold=True)
        report(ask_streaming(client, questions[1]), gateway.entry())
    click.secho("\n3. curl", bold=True)
    report(ask_with_curl(url, key, questions[2]), gateway.entry())


def work(traffic: Traffic, gateway: Server, directory: str) -> None:
    """Have a day's work done through the gateway, and give it a past, for the console to show."""
    click.secho("\nA day's work, which takes half a minute", bold=True)
    show("people", ["four with a laptop each, a pipeline, a bot, an intern: two teams, eight keys"])
    shown = 0

    def progress(done: int, whole: int) -> None:
        nonlocal shown
        if (quarter := 4 * done // whole) > shown:
            shown = quarter
            show("traffic", [f"{25 * quarter} %, {traffic.sent} requests so far"])

    made = traffic.everything(sessions=SESSIONS, requests=REQUESTS, on_progress=progress)
    entries = [gateway.entry() for _ in range(traffic.sent)]  # each has its line
    spent = sum(entry.cost.nanousd for entry in entries if entry.cost is not None) / 1e9
    told = f"{len(entries)} requests, {len(made.sessions)} sessions of Claude Code, ${spent:,.2f}"
    show("ledger", [f"{told}; the pipeline has used {CI_SHARE:.0%} of its budget"])
    copied = add_past(entries, directory)
    show("past", [f"{copied:,} copies of them, dated back over {PAST_DAYS} days, since charts want some"])


def add_past(entries: Sequence[Entry], directory: str) -> int:
    """Put the days before today into the ledger, when today is in it; how many entries that are."""
    store = Store(database(Settings(data_dir=directory)))
    try:
        deadline = time.monotonic() + STORE_SECONDS
        while store.read.count(Filter()).number < len(entries):
            if time.monotonic() > deadline:
                raise DemoError("what was logged is not in the ledger")
            time.sleep(POLL_SECONDS)
        days = days_before(entries, days=PAST_DAYS, now=datetime.now(UTC))
        return sum(store.write.insert_entries(day) for day in days)
    finally:
        store.close()


def tell(url: str, master_key: str, key: str, *, keep: bool) -> None:
    """Print what to do next."""
    click.secho("\nThe console", bold=True)
    click.echo(CONSOLE.format(url=url, key=master_key))
    click.secho("\nNext", bold=True)
    if keep:
        click.echo("Both servers stay until Ctrl-C, for clients of yours:")
    else:
        click.echo("Both servers end here. `./scripts/demo --keep` leaves them running for clients of yours:")
    click.echo(CLIENTS.format(url=url, key=key))


def serve_on(gateway: Server) -> None:
    """Print what the gateway logs, until Ctrl-C."""
    click.secho("\nThe gateway's log", bold=True)
    try:
        while True:
            click.echo(text_line(encode(gateway.entry(None))), nl=False)
    except KeyboardInterrupt:
        click.echo("\nstopped")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--keep/--once",
    default=None,
    help="Serve on until Ctrl-C, on ports 4000 and 4010 if they are free, or end at once. "
    "Without either it serves on if its output is a terminal.",
)
@click.option("--ask", "question", metavar="TEXT", help="What to ask in the three requests.")
@click.option("--brief", "is_brief", is_flag=True, help="Leave the console empty but for these three.")
def main(question: str | None, *, keep: bool | None, is_brief: bool) -> None:
    """Show Ferryman at work: a simulated API, the gateway in front of it, and a console with a day's work."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have had SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    options = Options(
        [question] * 3 if question else QUESTIONS, sys.stdout.isatty() if keep is None else keep, is_brief
    )
    try:
        with tempfile.TemporaryDirectory(prefix="ferryman-demo-") as directory:
            run(options, directory)
    except KeyboardInterrupt:
        sys.exit(130)
    except (DemoError, StoreError, anthropic.AnthropicError, httpx.HTTPError) as error:
        click.echo(f"\nThe demo failed: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="scripts/demo")
