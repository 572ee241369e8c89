"""`ferryman serve` and its processes, each of which can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ferryman.ledger.files import segment_numbers
from proofs.soak.process import START_SECONDS, Failed, clean_environment

WORKERS = 2
STOP_SECONDS = 40.0
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.02


class Family:
    """The gateway, started again on the same data wherever it is killed as a whole."""

    def __init__(self, directory: Path, upstream_url: str, database_url: str | None) -> None:
        self.port = 0
        self.starts = 0
        self.journals = directory / "data" / "journal"
        self._directory = directory
        self._messages: list[Path] = []
        self._seen: set[int] = set()
        settings = {
            "PORT": "0", "UPSTREAM_URL": upstream_url, "ANTHROPIC_API_KEY": "sk-ant-proof",
            "LOG_FORMAT": "json", "WORKERS": str(WORKERS),
            "DATA_DIR": str(directory / "data"), "RUNTIME_DIRECTORY": str(directory / "run"),
        }  # fmt: skip
        if database_url is not None:
            settings["DATABASE_URL"] = database_url
        own = {f"FERRYMAN_{name}": value for name, value in settings.items()}
        self._environment = clean_environment() | own | {"HOME": str(directory)}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_all()

    def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            Failed: it does not become ready.
        """
        self.starts += 1
        path = self._directory / f"messages-{self.starts}"
        self._messages.append(path)
        with path.open("wb") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ferryman", "serve"],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=self._environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for record in records_of(path):
                if record.get("event") == "ready":
                    self.port = int(str(record["url"]).rpartition(":")[2])
                    self.children()
                    return
            time.sleep(POLL_SECONDS)
        raise Failed(f"the gateway did not start: {path.read_text()[-2000:]}")

    def children(self) -> dict[str, int]:
        """The processes that run now, by name: `control`, `worker 1`."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _parent(entry) == self._process.pid:
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if len(words) > 2 and words[-2].startswith((b"control", b"worker")):
                        found[words[-2].decode()] = int(entry.name)
        self._seen |= set(found.values())
        return found

    def kill(self, name: str) -> bool:
        """Kill the process `name`, if it runs; `supervisor` is the parent of the others."""
        if name == "supervisor":
            self.children()
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            return True
        pid = self.children().get(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def stop(self) -> None:
        """Wait until no journal but those of the workers is left, then stop as on a deploy.

        A control plane that is just starting dies of the signal, and leaves the journals to the next one;
        so it is waited for.

        Raises:
            Failed: journals stay, or it did not end well.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while len(left := self.open_journals()) > WORKERS or not self._control_answers():
            if time.monotonic() > deadline:
                raise Failed(f"journals that nobody reads: {left}")
            time.sleep(0.1)
        self._process.terminate()
        code = self._process.wait(STOP_SECONDS)
        if code != 0:
            raise Failed(f"the gateway ended with status {code}")

    def _control_answers(self) -> bool:
        path = self._directory / "run" / str(self.port) / "control.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(path)) == 0 and len(self.children()) > WORKERS

    def open_journals(self) -> list[str]:
        """Journals in which something is written."""
        found = []
        for path in sorted(self.journals.iterdir()):
            with contextlib.suppress(OSError):  # it is being removed
                if path.is_dir() and segment_numbers(path):
                    found.append(path.name)
        return found

    def troubles(self) -> list[str]:
        """Messages that tell of a failure, other than that a process was killed."""
        records = [record for path in self._messages for record in records_of(path)]
        found = [
            one for one in records if one.get("level") == "error" and one.get("event") != "process ended"
        ]
        return [json.dumps(one)[:1000] for one in found[:20]]

    def _end_all(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        for pid in self._seen:
            with contextlib.suppress(OSError):
                if b"ferryman" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


class Killer:
    """Kills in rounds."""

    def __init__(self, family: Family) -> None:
        self.killed: dict[str, int] = {}
        self._family = family

    def strike(self, name: str) -> None:
        """Kill `name`; a worker or the control plane that is just dead is waited for.

        Raises:
            Failed: it does not come back.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._family.kill(name):
            if time.monotonic() > deadline:
                raise Failed(f"{name} does not come back")
            time.sleep(POLL_SECONDS)
        kind = name.partition(" ")[0]
        self.killed[kind] = self.killed.get(kind, 0) + 1
        if name == "supervisor":
            self._family.start()


def records_of(path: Path) -> list[dict[str, object]]:
    """The messages in a file so far; a line that is none is one of level `error`."""
    found = []
    for line in path.read_text("utf-8", "replace").splitlines(keepends=True):
        if line.endswith("\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"level": "error", "event": line.rstrip()})
    return found


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text("ascii").rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return -1
