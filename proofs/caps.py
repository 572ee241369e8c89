"""Caps hold: calls at once against a dollar, and thousands of calls that fail or are given up."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from proofs.kill9.family import Family
from proofs.kill9.upstream import Listening
from proofs.soak.process import Failed

MASTER_KEY = "sk-master-of-the-proof"
WORKERS = 4
AT_ONCE = 200
SLOTS = 48
WAIT_SECONDS = 30.0
NANOUSD = 10**9

MODEL = "claude-opus-4-8"
COST_NANOUSD = 500 * 5_000 + 800 * 25_000
"""Of an answer: 500 tokens of input at $5 a million, and 800 of output at $25."""

_USAGE = {"input_tokens": 500, "output_tokens": 800}
_ANSWER = json.dumps(
    {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": [], "usage": _USAGE}
).encode()
_START = (
    b"event: message_start\ndata: %b\n\n"
    % json.dumps(
        {
            "type": "message_start",
            "message": {"id": "m", "model": MODEL, "usage": {"input_tokens": 500, "output_tokens": 1}},
        }
    ).encode()
)

KINDS = ("answered", "error", "overloaded", "reset", "left", "left-early", "refused")
"""What becomes of a call: the upstream answers, refuses or resets; its client leaves a stream, or leaves
before there is an answer; or it is refused for what it asks."""


class Upstream(Listening):
    """Answers as the body of each request says."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection."""
        await _serve(reader, writer)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length))
            if b'"reset"' in body:
                writer.transport.abort()
                return
            if b'"left' in body:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
                writer.write(b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(_START), _START))
                await reader.read()  # until the gateway gives it up
                return
            status = b"529 X" if b'"overloaded"' in body else b"500 X" if b'"error"' in body else b"200 OK"
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (status, len(_ANSWER)) + _ANSWER)


class Gateway(NamedTuple):
    """The gateway, as its operator and its callers see it."""

    port: int

    def own(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """What the management API answers.

        Raises:
            Failed: it refuses.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"authorization": f"Bearer {MASTER_KEY}"})
            response = connection.getresponse()
            answer = response.read()
        if response.status != 200:
            raise Failed(f"{method} {path}: {answer[:300].decode()}")
        answered: dict[str, Any] = json.loads(answer)
        return answered

    async def call(self, key: str, kind: str) -> int:
        """Ask once, as `kind` says; the status, 0 if none came or was waited for."""
        told = {"model": MODEL, "max_tokens": 1_000, "metadata": {"user_id": kind}, "pad": "x" * 900}
        if kind.startswith("left"):
            told["stream"] = True
        if kind == "refused":
            told["litellm_metadata"] = 5
        body = json.dumps(told).encode()
        head = "POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head.format(key, len(body)).encode() + body)
            if kind == "left-early":
                await asyncio.sleep(random.random() / 100)  # somewhere on its way
                return 0
            line = await reader.readuntil(b"\r\n\r\n")
            status = int(line.split(b" ", 2)[1])
            if kind == "left" and status == 200:
                await reader.readuntil(b"\n\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            return 0
        else:
            return status
        finally:
            writer.transport.abort()

    def spent_nanousd(self, key: str) -> int:
        """What the key is told to have spent."""
        return int(self.own("GET", f"/key/info?key={key}")["info"]["spend_nanousd"])

    def in_ledger_nanousd(self, key: str) -> tuple[int, int]:
        """The sum of its entries, and how many there are."""
        total = count = 0
        path = f"/spend/logs/v2?page_size=1000&api_key={key}"
        more = ""
        while True:
            page = self.own("GET", path + more)
            total += sum(row["cost_nanousd"] or 0 for row in page["data"])
            count += len(page["data"])
            if page["next_cursor"] is None:
                return total, count
            more = f"&cursor={page['next_cursor']}"


def prove(calls: int) -> int:
    """Prove it with so many calls that fail or are given up; the exit code."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferryman-caps-")))
        upstream = stack.enter_context(Upstream())
        options = {"master_key": MASTER_KEY, "auth": "keys", "workers": WORKERS, "on_disconnect": "cancel"}
        family = stack.enter_context(Family(directory, upstream.url, None, **options))
        gateway = Gateway(family.port)
        problems: list[str] = []
        try:
            problems += _at_once(gateway, "ceiling")
            problems += _at_once(gateway, "expected")
            problems += _given_up(gateway, calls)
        except Failed as error:
            problems.append(str(error))
        problems += family.troubles()
    for problem in problems:
        print(f"WRONG: {problem}")
    print("every cap has held" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _at_once(gateway: Gateway, hold: str) -> list[str]:
    """`AT_ONCE` calls against a dollar, and then one by one until nothing fits any more."""
    key = gateway.own("POST", "/key/generate", {"max_budget": 1, "budget_hold": hold})["key"]

    async def ask() -> int:
        statuses = await asyncio.gather(*(gateway.call(key, "answered") for _ in range(AT_ONCE)))
        done = statuses.count(200)
        while await gateway.call(key, "answered") == 200:
            done += 1
        return done

    settled = asyncio.run(ask()) * COST_NANOUSD
    over = max(0, settled - NANOUSD)
    print(f"{AT_ONCE} calls at once on {WORKERS} workers, $1, hold: {hold}: ", end="")
    print(f"${settled / NANOUSD:.4f} spent, ${over / NANOUSD:.4f} above the cap")
    problems = _agrees(gateway, key, settled)
    bound = 0 if hold == "ceiling" else AT_ONCE * COST_NANOUSD
    if over > bound:
        problems.append(f"{hold}: ${over / NANOUSD} above the cap, at most ${bound / NANOUSD}")
    return problems


def _given_up(gateway: Gateway, calls: int) -> list[str]:
    """So many calls that end in every way; then no slot is taken, and the counter is the ledger's sum."""
    asked = {"max_budget": 10**6, "max_parallel_requests": SLOTS, "tpm_limit": 10**12}
    key = gateway.own("POST", "/key/generate", asked)["key"]
    statuses: Counter[int] = Counter()
    begun = time.monotonic()

    async def ask() -> int:
        left = iter(range(calls))

        async def work() -> None:
            for number in left:
                statuses[await gateway.call(key, KINDS[number % len(KINDS)])] += 1

        await asyncio.gather(*(work() for _ in range(SLOTS)))
        return await _free_slots(gateway, key)

    free = asyncio.run(ask())
    seconds = time.monotonic() - begun
    told = ", ".join(f"{status or 'left'}: {count}" for status, count in sorted(statuses.items()))
    print(f"{calls} calls that fail or are given up, in {seconds:.0f} s: {told}")
    print(f"  {free} of {SLOTS} slots are free")
    problems = _agrees(gateway, key, None)
    if free != SLOTS:
        problems.append(f"{SLOTS - free} slots are taken by nobody")
    return problems


async def _free_slots(gateway: Gateway, key: str) -> int:
    """How many calls at once are let through, once nothing is on its way any more."""
    deadline = time.monotonic() + WAIT_SECONDS
    most = 0
    while most < SLOTS and time.monotonic() < deadline:
        connections = [_held(gateway, key) for _ in range(SLOTS)]
        held = await asyncio.gather(*connections)
        most = sum(status == 200 for status, _ in held)
        for _, writer in held:
            writer.transport.abort()
        await asyncio.sleep(0.2)
    return most


async def _held(gateway: Gateway, key: str) -> tuple[int, asyncio.StreamWriter]:
    told = {"model": MODEL, "max_tokens": 9, "stream": True, "metadata": {"user_id": "left"}}
    body = json.dumps(told).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode() + body)
    line = await reader.readuntil(b"\r\n")
    return int(line.split(b" ", 2)[1]), writer


def _agrees(gateway: Gateway, key: str, settled_nanousd: int | None) -> list[str]:
    """What is wrong with what a key is told, beside what the ledger has and what was answered."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        (ledger, entries), counter = gateway.in_ledger_nanousd(key), gateway.spent_nanousd(key)
        wanted = ledger if settled_nanousd is None else settled_nanousd
        if ledger == counter == wanted:
            print(f"  counter = sum of the ledger = ${counter / NANOUSD:.6f} ({entries} entries)")
            return []
        if time.monotonic() > deadline:
            return [f"the counter has {counter}, the ledger {ledger}, wanted {wanted} nano-dollars"]
        time.sleep(0.2)
