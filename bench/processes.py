"""Server processes of the bench: start, CPU time and memory from /proc, and an end that always comes.

Each server gets a session of its own, so that its whole tree, workers included, is found by the session's id
and nothing else on the machine is touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")
STOP_SECONDS = 10.0
PROXY_CORE = 0
LOAD_CORE = 1


class BenchError(Exception):
    """Something could not be measured; the message says what and, where known, how to mend it."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process tree, in bytes."""

    line: int
    """Of the largest process on the line: a worker."""
    total: int
    """The sum: a page that two processes share counts twice. Proportional set size would count it once, but
    shares pages with strangers too, such as the bench's own Python: it depends on what else is running."""


class Server:
    """One server process and its children, pinned to a core; a context manager that ends them.

    Args:
        command: program and arguments.
        core: the core that the whole tree runs on.
        log: file that takes its standard output and error.
        environment: the complete environment; None passes on the bench's own.
    """

    def __init__(
        self, command: list[str], core: int, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=environment,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<Server {self.name} pid={self._process.pid} returncode={self._process.returncode}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # What is left of the session has ignored the request to end, or outlived its parent.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def check_alive(self) -> None:
        """Raise BenchError, with the end of the log, when the process has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self._process.returncode}: {self.log_tail()}")

    def log_tail(self) -> str:
        """The last five lines of what the server wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def cpu_ns(self) -> int:
        """CPU time of all threads of all processes on the line so far, in nanoseconds."""
        return sum(map(_cpu_ns, (pid for pid in self._pids() if not _is_beside(pid))))

    def beside_ns(self) -> int:
        """The same of those beside the line: the control plane."""
        return sum(map(_cpu_ns, filter(_is_beside, self._pids())))

    def memory(self) -> Memory:
        """Memory of the tree now."""
        resident = {pid: _resident_bytes(pid) for pid in self._pids()}
        if not any(resident.values()):
            raise BenchError(f"/proc/{self._process.pid}/smaps_rollup cannot be read: run as the same user")
        line = max(size for pid, size in resident.items() if not _is_beside(pid))
        return Memory(line=line, total=sum(resident.values()))

    def _pids(self) -> list[int]:
        """The processes of the session; one that ends meanwhile is left out."""
        pids = []
        for entry in PROC.iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                # Fields after the command, which stands in brackets and may hold anything: proc_pid_stat(5).
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self._process.pid:
                    pids.append(int(entry.name))
        return pids


def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _list(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _is_beside(pid: int) -> bool:
    try:
        return b"ferryman.control" in (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def _cpu_ns(pid: int) -> int:
    return sum(_thread_cpu_ns(task) for task in _list(PROC / str(pid) / "task"))


def _thread_cpu_ns(task: Path) -> int:
    """Nanoseconds from `schedstat`, since `stat` counts in ticks of 10 ms; 0 for a thread that has ended."""
    try:
        return int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it has ended. `status` would be some hundred kilobytes off."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))
