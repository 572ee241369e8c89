"""No room for the journal under load: `on_ledger_failure` holds, and the ledger misses nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ferryman.settings import Settings
from ferryman.settings_store import database
from proofs.kill9.check import Verdict, conclude
from proofs.kill9.client import Answer, Clients
from proofs.kill9.family import Family
from proofs.kill9.upstream import Upstream

THREADS = 8
QUIET_SECONDS = 1.0
NOTICED_SECONDS = 2.0
"""Until every worker has tried to write, and until it has tried again: it does once a second."""

NOTES = "{}"
"""Short ones: what ends without room waits in memory, and what is refused is as much of it as all else."""

LEFT_BYTES = 1_000
"""Of room for a worker's journal, so that a record is torn where it ends."""

DISK_BYTES = 16_000_000
ASK_SECONDS = 0.05


class Readiness(NamedTuple):
    """What one worker has said of itself."""

    at: float
    status: int
    state: str


class Watcher:
    """Asks for `/health/readiness`, on a new connection each time: of any of the workers."""

    def __init__(self, port: int) -> None:
        self.seen: list[Readiness] = []
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(ASK_SECONDS):
            at, connection = time.monotonic(), http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                connection.request("GET", "/health/readiness")
                response = connection.getresponse()
                self.seen.append(Readiness(at, response.status, json.loads(response.read())["status"]))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.seen.append(Readiness(at, 0, repr(error)))
            finally:
                connection.close()


class Full(NamedTuple):
    """When there was no room."""

    began: float
    ended: float

    def of(self, at: float) -> str:
        """`before`, `without room`, `after`, or `between` while it is being noticed."""
        if at < self.began - ASK_SECONDS:
            return "before"
        if self.began + NOTICED_SECONDS < at < self.ended - NOTICED_SECONDS:
            return "without room"
        return "after" if at > self.ended + NOTICED_SECONDS else "between"


@contextlib.contextmanager
def limited(family: Family) -> Iterator[None]:
    """The workers' journals may not grow any more."""
    before = {}
    for name, pid in family.children().items():
        if name.startswith("worker"):
            before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            limit = max(_journal_bytes(pid) + LEFT_BYTES, LEFT_BYTES)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, before[pid][1]))
    yield
    for pid, limits in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def filled(directory: Path) -> Iterator[None]:
    """The file system of `directory` has no room any more, for the database neither."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    path.unlink()


@contextlib.contextmanager
def disk(directory: Path) -> Iterator[None]:
    """A small file system of its own at `directory`; takes root."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def _journal_bytes(pid: int) -> int:
    """The size of the segment that process `pid` writes."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if entry.readlink().suffix == ".jnl":
                return entry.stat().st_size
    return 0


def prove(seconds: float, on_ledger_failure: str, *, on_a_disk: bool) -> int:
    """Take the room away for `seconds`, give it back and tell what came of it; the exit code.

    Args:
        seconds: without room; some of them are taken for it to be noticed.
        on_ledger_failure: the setting.
        on_a_disk: fill a file system, in place of a limit on the workers' files.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferryman-full-")))
        if on_a_disk:
            stack.enter_context(disk(directory / "data"))
        upstream = stack.enter_context(Upstream())
        family = stack.enter_context(
            Family(directory, upstream.url, None, on_ledger_failure=on_ledger_failure)
        )
        clients, watcher = Clients(lambda: family.port, THREADS, notes=NOTES), Watcher(family.port)
        clients.start()
        watcher.start()
        try:
            time.sleep(QUIET_SECONDS)
            began = time.monotonic()
            with filled(directory / "data") if on_a_disk else limited(family):
                time.sleep(NOTICED_SECONDS + seconds + NOTICED_SECONDS)
            full = Full(began, time.monotonic())
            time.sleep(NOTICED_SECONDS + QUIET_SECONDS)
        finally:
            clients.stop()
            watcher.stop()
        verdict = conclude(family, clients, upstream, database(Settings(data_dir=str(directory / "data"))))
        refuses = on_ledger_failure == "refuse"
        problems = [
            *verdict.problems,
            *_wrong_answers(clients, upstream, full, refuses=refuses),
            *_wrong_readiness(watcher.seen, full, refuses=refuses),
            *[one for one in family.troubles() if '"journal not written"' not in one],
        ]
        _print_tables(clients, watcher, full, verdict)
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing lost, nothing doubled" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _wrong_answers(clients: Clients, upstream: Upstream, full: Full, *, refuses: bool) -> list[str]:
    def is_right(answer: Answer) -> bool:
        when = full.of(answer.began)
        if (
            refuses
            and when in {"without room", "between"}
            and answer.status == 529
            and not answer.upstream_id
        ):
            return answer.session not in upstream.reached
        return answer.status == answer.asked and not (refuses and when == "without room")

    problems = [f"an answer, {full.of(one.began)}: {one}" for one in clients.answers if not is_right(one)][:5]
    if clients.cut:
        problems.append(f"requests without a whole answer: {dict(clients.cut)}")
    times = Counter(full.of(one.began) for one in clients.answers)
    return problems + [f"no answers {when}" for when in ("without room", "after") if not times[when]]


def _wrong_readiness(seen: list[Readiness], full: Full, *, refuses: bool) -> list[str]:
    problems = []
    for one in seen:
        when = full.of(one.at)
        wanted = (503, "ledger not writable") if refuses and when == "without room" else (200, "ready")
        if when != "between" and (one.status, one.state) != wanted:
            problems.append(f"readiness, {when}: {one}")
    times = Counter(full.of(one.at) for one in seen)
    problems += [
        f"nobody asked for readiness {when}" for when in ("without room", "after") if not times[when]
    ]
    return problems[:5]


def _print_tables(clients: Clients, watcher: Watcher, full: Full, verdict: Verdict) -> None:
    print()
    for when in ("before", "without room", "after"):
        statuses = Counter(one.status for one in clients.answers if full.of(one.began) == when)
        ready = Counter(f"{one.status} {one.state}" for one in watcher.seen if full.of(one.at) == when)
        print(f"{when:<18} answers {dict(statuses)}; readiness {dict(ready)}")
    print(f"{'requests':<18} {clients.sent.total()}: {dict(clients.sent)}")
    print(f"{'entries':<18} {len(verdict.ledger.rows)}: {dict(verdict.ledger.ended)}")
    verdict.check.print_table()
