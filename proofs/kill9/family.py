"""`ferryman serve` and its processes, each of which can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ferryman.ledger.files import segment_numbers
from proofs.lost_answers import LostAnswers
from proofs.soak.process import START_SECONDS, Failed, children_of, clean_environment

WORKERS = 2
STOP_SECONDS = 40.0
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.02
OF_THE_KILLED = ("process ended", "whose settings did not come")
"""Messages about processes that were killed: of the supervisor, or of a child that it had just started."""


class Family:
    """The gateway, started again on the same data wherever it is killed as a whole."""

    def __init__(self, directory: Path, upstream_url: str, database_url: str | None, **more: object) -> None:
        self.port = 0
        self.starts = 0
        self.journals = directory / "data" / "journal"
        self._directory = directory
        self._messages: list[Path] = []
        self._seen: set[int] = set()
        settings = {
            "PORT": "0", "UPSTREAM_URL": upstream_url, "ANTHROPIC_API_KEY": "sk-ant-proof", "AUTH": "open",
            "LOG_FORMAT": "json", "WORKERS": str(WORKERS),
            "DATA_DIR": str(directory / "data"), "RUNTIME_DIRECTORY": str(directory / "run"),
        } | {name.upper(): str(value) for name, value in more.items()}  # fmt: skip
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
        found = children_of(self._process.pid)
        self._seen |= set(found.values())
        return found

    def kill(self, name: str) -> bool:
        """Kill the process `name`, if it runs; `supervisor` is the parent of the others, which end then.

        With `everything` they are not left the time to do so.
        """
        if name in {"supervisor", "everything"}:
            children = self.children()
            self._process.kill()
            for child in children.values() if name == "everything" else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
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
            one
            for one in records
            if one.get("level") == "error" and not str(one.get("event")).endswith(OF_THE_KILLED)
        ]
        return [json.dumps(one)[:1000] for one in found[:20]]

    def _end_all(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        for pid in self._seen:
            with contextlib.suppress(OSError):
                if b"ferryman" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


class Database(Protocol):
    """A server that can be killed and started."""

    def kill(self) -> None:
        """Kill all its processes at once."""

    def start(self) -> None:
        """Start it, and wait until it answers."""


class Killer:
    """Kills in rounds.

    Attributes:
        killed: how often, by the kind of process.
    """

    def __init__(
        self, family: Family, database: Database | None = None, line: LostAnswers | None = None
    ) -> None:
        """Kill in `family`, and `database` if it is ours to kill; `line` is the way from one to the other."""
        self.killed: Counter[str] = Counter()
        self._family = family
        self._database = database
        self._line = line

    def round(self, dice: random.Random) -> list[str]:
        """Each of what can be killed once, in any order; of the workers one."""
        names = ["control", "supervisor", "everything", f"worker {dice.randint(1, WORKERS)}"]
        if self._database is not None:
            names.append("database")
        if self._line is not None:
            names.append("control behind a commit")
        dice.shuffle(names)
        return names

    def strike(self, name: str) -> None:
        """Kill `name`; a worker or the control plane that is just dead is waited for.

        Raises:
            Failed: it does not come back.
        """
        self.killed["worker" if name.startswith("worker") else name] += 1
        if name == "control behind a commit" and self._line is not None:
            self._line.lose_one(START_SECONDS)  # it waits a second before it looks again
            name = "control"
        if name == "database" and self._database is not None:
            self._database.kill()
            self._database.start()
            return
        deadline = time.monotonic() + START_SECONDS
        while not self._family.kill(name):
            if time.monotonic() > deadline:
                raise Failed(f"{name} does not come back")
            time.sleep(POLL_SECONDS)
        if name in {"supervisor", "everything"}:
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
