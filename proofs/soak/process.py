"""The processes of a proof, each ended by its own handle; and what is seen of them from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

START_SECONDS = 20.0
STOP_SECONDS = 20.0
IDS_KEPT = 100_000
"""An id could only come twice within the millisecond that is in it."""

SESSIONS_KEPT_SECONDS = 60.0
"""How long a second line of a request would be noticed."""

ROOT = Path(__file__).parents[2]


class Failed(Exception):
    """Something is not as it has to be; the message says what."""


class _Line(msgspec.Struct):
    id: str
    ended: str
    session_id: str | None = None


class Log:
    """The gateway's log lines against the requests that were made, each named by its session id."""

    def __init__(self) -> None:
        self.lines = 0
        self.wrong: list[str] = []  # bounded by `_complain`
        self.ended: Counter[str] = Counter()
        self._counts: dict[str, int] = {}  # lines by session, while they are remembered
        self._missing: dict[str, float] = {}  # whole requests without a line, and since when
        self._old: deque[tuple[float, str]] = deque()
        self._ids: set[str] = set()
        self._order: deque[str] = deque()
        self._lock = threading.Lock()

    def read(self, stream: IO[bytes]) -> None:
        """Take every line until the gateway ends."""
        decode = msgspec.json.Decoder(_Line).decode
        for text in stream:
            with self._lock:
                try:
                    self._take(decode(text))
                except msgspec.DecodeError:
                    self._complain(f"not a log line: {text[:200]!r}")

    def made(self, session: str, *, whole: bool) -> None:
        """A request has been made; a `whole` one has to have its line, another one may."""
        with self._lock:
            if whole and session not in self._counts:
                self._missing[session] = time.monotonic()

    def missing(self, seconds: float = 0.0) -> list[str]:
        """Whole requests that have been without a line for more than `seconds`."""
        with self._lock:
            before = time.monotonic() - seconds
            return [session for session, since in self._missing.items() if since <= before]

    def _take(self, line: _Line) -> None:
        self.lines += 1
        self.ended[line.ended] += 1
        if line.id in self._ids:
            self._complain(f"id twice: {line.id}")
        self._ids.add(line.id)
        self._order.append(line.id)
        if len(self._order) > IDS_KEPT:
            self._ids.discard(self._order.popleft())
        session = line.session_id
        if session is None:
            return
        self._missing.pop(session, None)
        self._counts[session] = self._counts.get(session, 0) + 1
        if self._counts[session] > 1:
            self._complain(f"two lines for request {session}")
        now = time.monotonic()
        self._old.append((now, session))
        while self._old and self._old[0][0] < now - SESSIONS_KEPT_SECONDS:
            self._counts.pop(self._old.popleft()[1], None)

    def _complain(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


class Upstream:
    """The scripted upstream."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "proofs.soak.upstream"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=STOP_SECONDS)


class Gateway:
    """`ferryman serve` as people run it, with `settings` from the environment."""

    data_directory = Path()

    def __init__(self, upstream_url: str, **settings: object) -> None:
        self.log = Log()
        given = {f"FERRYMAN_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = (
            clean_environment()
            | given
            | {
                "FERRYMAN_PORT": "0",
                "FERRYMAN_UPSTREAM_URL": upstream_url,
                "FERRYMAN_ANTHROPIC_API_KEY": "sk-ant-proof",
                "FERRYMAN_LOG_FORMAT": "json",
            }
        )
        self.port = 0

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="ferryman-proof-")
        self._messages = Path(self._directory.name) / "messages"
        self.data_directory = Path(self._directory.name) / "data"
        with self._messages.open("wb") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ferryman", "serve"],
                cwd=self._directory.name,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=self._environment
                | {"HOME": self._directory.name, "FERRYMAN_DATA_DIR": str(self.data_directory)},
            )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self.log.read, args=[self._process.stdout], name="log", daemon=True
        )
        self._reader.start()
        try:
            self.port = self._wait_ready()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        self._directory.cleanup()

    def processes(self) -> dict[str, int]:
        """Its processes that run now, by name: `supervisor`, `control`, `worker 1`."""
        return {"supervisor": self._process.pid} | children_of(self._process.pid)

    def workers(self) -> list[int]:
        """Those that serve clients."""
        return [pid for name, pid in self.processes().items() if name.startswith("worker")]

    def stop(self) -> None:
        """Let it stop as on a deploy, and read its log to the end.

        Raises:
            Failed: it did not end well.
        """
        self._process.terminate()
        code = self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        if code != 0:
            raise Failed(f"the gateway ended with status {code}")

    def troubles(self) -> list[str]:
        """Messages that tell of a failure of ours."""
        found = []
        with self._messages.open() as messages:
            for line in messages:
                if "Traceback" in line or '"level":"error"' in line.replace(" ", "") or line[:1] != "{":
                    found.append(line[:2000])
                    if len(found) == 20:
                        break
        return found

    def _wait_ready(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self._messages.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    record: dict[str, Any] = json.loads(line)
                    if record.get("event") == "ready":
                        return int(record["url"].rpartition(":")[2])
            time.sleep(0.05)
        raise Failed(f"the gateway did not start: {self._messages.read_text()[-2000:]}")


def resident_bytes(pid: int) -> int:
    """The resident memory of a process now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))


def open_files(pid: int) -> int:
    """The file descriptors of a process now."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children_of(supervisor: int) -> dict[str, int]:
    """The workers and the control plane that a supervisor has started, by name: `control`, `worker 1`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _parent(entry) == supervisor:
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if len(words) > 2 and words[-2].startswith((b"control", b"worker")):
                    found[words[-2].decode()] = int(entry.name)
    return found


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text("ascii").rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return -1


def clean_environment() -> dict[str, str]:
    """Ours without settings, which would reach the gateway."""
    left_out = ("FERRYMAN_", "ANTHROPIC_", "LITELLM_", "CONFIG_PATH", "PORT", "XDG_CONFIG_HOME")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
