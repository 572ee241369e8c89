"""A whole `ferryman serve` under test: its processes as its own `status` and the kernel tell them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.raw import NO_TLS
from tests.test_cli import DEADLINE_SECONDS, Process

T = TypeVar("T")

POLL_SECONDS = 0.02


def until(condition: Callable[[], T], what: str = "so") -> T:
    """Wait until `condition` is true; its value."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not {what}"
        time.sleep(POLL_SECONDS)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> dict[str, int]:
    """The processes that a supervisor has started, by name."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids}
    except OSError:  # one has just gone
        return {}
    return {line[-2].decode(): int(pid) for pid, line in words.items() if b"-m" in line}


class Family(Process):
    """`ferryman serve` on a free port, ready; what runs is ended with the test."""

    def __init__(self, directory: Path, *words: str, **more: Any) -> None:
        runtime = directory / "run"
        super().__init__(directory, "-p", "0", "--runtime-directory", str(runtime), *words, **more)
        self.messages: list[dict[str, Any]] = []
        self.seen: set[int] = {self.popen.pid}
        self.url = str(self.message("ready")["url"])
        self.port = int(self.url.rpartition(":")[2])
        self.runtime = runtime / str(self.port)

    def __exit__(self, *error: object) -> None:
        for pid in self.seen:
            if pid != self.popen.pid and alive(pid):
                os.kill(pid, signal.SIGKILL)
        super().__exit__(*error)

    def message(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next message `event` with these fields, past all others."""
        while True:
            record: dict[str, Any] = json.loads(self.line(2))
            self.messages.append(record)
            if record["event"] == event and all(record.get(name) == fields[name] for name in fields):
                return record

    def rows(self) -> list[dict[str, Any]]:
        """The processes, as the control plane tells them to whoever reaches its socket."""
        transport = httpx.HTTPTransport(uds=str(self.runtime / "control.sock"), verify=NO_TLS)
        with httpx.Client(transport=transport, base_url="http://control") as client:
            rows: list[dict[str, Any]] = client.get("/control/processes").json()["processes"]
        self.seen |= {row["pid"] for row in rows if row["pid"] is not None}
        return rows

    def listens(self) -> bool:
        """Whether the control plane can be asked."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.runtime / "control.sock")) == 0

    def row(self, name: str) -> dict[str, Any]:
        """One of them, by name: `worker 1`."""
        return next(row for row in self.rows() if f"{row['role']} {row['number'] or ''}".strip() == name)

    def pid(self, name: str) -> int:
        """Its process."""
        return int(self.row(name)["pid"])
