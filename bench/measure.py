"""Measures one case on one target: starts the target, runs the load, reads CPU time and memory meanwhile."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench import targets
from bench.cases import SETTLE_SECONDS, Case
from bench.payloads import CLIENT_KEY
from bench.processes import LOAD_CORE, BenchError, Memory, Server, free_port

START_SECONDS = 20.0
WARM_UP_SECONDS = 0.5
IDLE_STEP_SECONDS = 0.5
"""Beside the line nothing is left to do when such a step takes less than a fiftieth of it in CPU time."""

IDLE_LIMIT_SECONDS = 60
"""How long it may take until then."""

OPENING_LIMIT_SECONDS = 30.0
# A proxy may open some connections besides one for each client's: races at the start, a pool that shrinks.
SPARE_CONNECTIONS = 64


@dataclass(frozen=True)
class LoadReport:
    """What `load` prints at its end."""

    requests: int
    events: int
    body_bytes: int
    errors: int
    first_error: str
    reconnects: int
    seconds: float
    p50_us: int
    p90_us: int
    p99_us: int


@dataclass(frozen=True)
class UpstreamStats:
    """What `upstream` has seen so far."""

    connections: int
    requests: int
    body_bytes: int
    paced_events: int


@dataclass(frozen=True)
class Measurement:
    """One run of one case on one target."""

    case: str
    target: str
    cpu_us: float
    """CPU time of the proxy's processes on the line for each request or event."""
    beside_us: float
    """CPU time of those beside it for each request, from the first to the last entry stored."""
    per_second: float
    """Requests or events a second."""
    busy: float
    """Share of its core that the proxy used."""
    p50_us: int
    p99_us: int
    idle: Memory
    loaded: Memory
    troubles: tuple[str, ...]
    """Why the figures are not to be trusted; empty when all is well."""


@dataclass(frozen=True)
class _Window:
    """The time in which the proxy was watched, and what happened in it."""

    load: LoadReport
    cpu_ns: int
    beside_us: float
    seconds: float
    units: int
    loaded: Memory


class Bench:
    """The compiled programs, the payloads and the upstream, which all targets share.

    Args:
        build: where `load` and `upstream` are.
        directory: for logs and the targets' files.
        cases: all that may be measured; the first one's answer tells that a target has started.
        python: of an environment with the compiled wheel.
    """

    def __init__(self, build: Path, directory: Path, cases: list[Case], python: str) -> None:
        self._python = python
        self._load = build / "load"
        self._directory = directory
        self._probe = cases[0].exchange
        self._upstream_port = free_port()
        arguments = {case.exchange.upstream_argument for case in cases}
        command = [str(build / "upstream"), str(self._upstream_port), *sorted(arguments)]
        self.upstream = Server(command, LOAD_CORE, directory / "upstream.log")

    def measure(self, case: Case, target: str) -> Measurement:
        """Start `target` afresh, warm it up, and run `case` against it.

        Raises:
            BenchError: the target does not start, or the load cannot be run at all.
        """
        if target == targets.DIRECT:
            return self._measure(case, target, self.upstream, self._upstream_port)
        port = free_port()
        home = self._directory / "target"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        streams = case.unit == "event"
        with targets.start(target, port, self._upstream_port, home, self._python, streams=streams) as server:
            if target != targets.NGINX:
                targets.make_key(port, CLIENT_KEY)
            return self._measure(case, target, server, port)

    def _measure(self, case: Case, target: str, server: Server, port: int) -> Measurement:
        self._wait_until_it_answers(server, port)
        before = self._stats()
        idle = server.memory()
        window = self._hold(case, server, port) if case.mode == "hold" else self._drive(case, server, port)
        server.check_alive()
        if window.units == 0 or window.cpu_ns == 0:
            raise BenchError(f"{case.name} on {target} measured nothing: {window}\n{server.log_tail()}")
        return Measurement(
            case=case.name,
            target=target,
            cpu_us=window.cpu_ns / window.units / 1000,
            beside_us=window.beside_us,
            per_second=window.units / window.seconds,
            busy=window.cpu_ns / window.seconds / 1e9,
            p50_us=window.load.p50_us,
            p99_us=window.load.p99_us,
            idle=idle,
            loaded=window.loaded,
            troubles=tuple(_troubles(case, window.load, before, self._stats())),
        )

    def _drive(self, case: Case, server: Server, port: int) -> _Window:
        """Warm up, then load the target for as long as the case says."""
        beside_ns = server.beside_ns()
        warm = self._run_load(case, port, WARM_UP_SECONDS)
        cpu_ns = server.cpu_ns()
        load = self._run_load(case, port, case.seconds)
        cpu_ns = server.cpu_ns() - cpu_ns
        memory = server.memory()
        units = load.events if case.unit == "event" else load.requests
        beside_ns = _when_idle(server) - beside_ns
        beside_us = beside_ns / max(warm.requests + load.requests, 1) / 1000
        return _Window(load, cpu_ns, beside_us, load.seconds, units, memory)

    def _hold(self, case: Case, server: Server, port: int) -> _Window:
        """Open all streams, then watch for a while; they end by themselves, checked to the last byte."""
        exchange = case.exchange
        stream_seconds = (exchange.events - 1) * exchange.interval_ms / 1000
        started = time.monotonic()
        command = self._load_command(case, port, stream_seconds + OPENING_LIMIT_SECONDS)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                self._wait_until_open(process, server)
                time.sleep(SETTLE_SECONDS)
                before, cpu_ns, began = self._stats(), server.cpu_ns(), time.monotonic()
                time.sleep(case.seconds)
                after, cpu_ns, ended = self._stats(), server.cpu_ns() - cpu_ns, time.monotonic()
                memory = server.memory()
                output, _ = process.communicate(timeout=stream_seconds + OPENING_LIMIT_SECONDS)
            finally:
                process.kill()
        if ended - started > stream_seconds:
            raise BenchError("the first streams ended before the measurement did: the machine is too busy")
        load = LoadReport(**json.loads(output))
        return _Window(load, cpu_ns, 0, ended - began, after.paced_events - before.paced_events, memory)

    def _wait_until_open(self, process: subprocess.Popen[str], server: Server) -> None:
        """Wait until `load` says that every stream has begun."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], OPENING_LIMIT_SECONDS)
        line = process.stdout.readline() if ready else "no word from the load"
        if line != "open\n":
            raise BenchError(f"not all streams began: {line.strip()}\n{server.log_tail()}")

    def _load_command(self, case: Case, port: int, seconds: float) -> list[str]:
        size = [str(case.connections), str(seconds)]
        files = [str(case.exchange.request), str(case.exchange.expected)]
        load = [str(self._load), case.mode, str(port), *size, *files, str(case.rate)]
        return ["taskset", "-c", str(LOAD_CORE), *load]

    def _run_load(self, case: Case, port: int, seconds: float) -> LoadReport:
        command = self._load_command(case, port, seconds)
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
        if result.returncode != 0:
            raise BenchError(f"the load could not be run: {result.stderr.strip()}")
        return LoadReport(**json.loads(result.stdout))

    def _wait_until_it_answers(self, server: Server, port: int) -> None:
        """Ask for the small answer until it comes, byte for byte."""
        files = [str(self._probe.request), str(self._probe.expected)]
        probe = [str(self._load), "closed", str(port), "1", "0", *files]
        deadline = time.monotonic() + START_SECONDS
        trouble = ""
        while time.monotonic() < deadline:
            server.check_alive()
            result = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
            if result.returncode == 0 and LoadReport(**json.loads(result.stdout)).errors == 0:
                return
            trouble = result.stderr or result.stdout
            time.sleep(0.05)
        raise BenchError(f"{server.name} gave no good answer in time: {trouble}\n{server.log_tail()}")

    def _stats(self) -> UpstreamStats:
        url = f"http://127.0.0.1:{self._upstream_port}/stats"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return UpstreamStats(**json.load(answer))


def _troubles(case: Case, load: LoadReport, before: UpstreamStats, after: UpstreamStats) -> list[str]:
    """What makes a run worthless: wrong answers, bodies that did not arrive, a pool that does not reuse."""
    troubles = []
    if load.errors:
        troubles.append(f"{load.errors} answers of {load.requests + load.errors} wrong: {load.first_error}")
    sent = load.requests * case.exchange.request_body_bytes
    if after.body_bytes - before.body_bytes < sent:
        troubles.append(f"the upstream got {after.body_bytes - before.body_bytes} of {sent} body bytes")
    opened = after.connections - before.connections
    if opened > case.connections + SPARE_CONNECTIONS:
        troubles.append(f"{opened} upstream connections for {case.connections} clients: no reuse")
    return troubles


def _when_idle(server: Server) -> int:
    """The CPU time beside the line once nothing is left to be done there, in nanoseconds.

    Raises:
        BenchError: that takes too long.
    """
    deadline = time.monotonic() + IDLE_LIMIT_SECONDS
    before = server.beside_ns()
    while time.monotonic() < deadline:
        time.sleep(IDLE_STEP_SECONDS)
        now = server.beside_ns()
        if now - before < IDLE_STEP_SECONDS * 1e9 / 50:
            return now
        before = now
    raise BenchError("what stands beside the line does not come to rest")
