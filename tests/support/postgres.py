"""A PostgreSQL of the tests' own: made, used and ended with them."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

DEADLINE_SECONDS = 30
POLL_SECONDS = 0.02
FAST = ("-F", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
"""Nobody misses what a power cut takes from a test. Without `synchronous_commit` even the death of the
server takes some of what was committed: whoever needs it has to ask for it."""


class Server:
    """A server on a Unix socket, in a directory of its own. Needs Debian's package `postgresql`.

    Attributes:
        directory: of the socket too.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ferryman-pg-", dir="/tmp"))
        self._data = self.directory / "data"
        self._made = 0

    def __enter__(self) -> Self:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.directory, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "ferryman", "-A", "trust", "-E", "UTF8", "-N")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(FileNotFoundError):  # it is stopped
            self.stop()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = " ".join([*FAST, "-k", str(self.directory), "-c", "listen_addresses=''"])
        log = str(self.directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """End it with all connections; `immediate` is without writing down what it has in memory."""
        os.kill(self._pid, signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop", check=False)

    def kill(self) -> None:
        """Kill all its processes at once; it can be started again."""
        self.hang()  # so that it starts no other meanwhile
        processes = self._processes
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(_lives(pid) for pid in processes):
            assert time.monotonic() < deadline, "PostgreSQL does not die"
            time.sleep(POLL_SECONDS)
        # The next one takes these for those of a server as long as nobody has reaped the dead process.
        (self._data / "postmaster.pid").unlink()
        for lock in self.directory.glob(".s.PGSQL.*.lock"):
            lock.unlink()

    def hang(self) -> None:
        """Let it keep its sockets and connections, and answer nothing more."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again after `hang`."""
        self._send(signal.SIGCONT)

    @property
    def _pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text("utf-8").split()[0])

    @property
    def _processes(self) -> list[int]:
        """Its first process, which starts all others, and those."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text("ascii").split()
        return [self._pid, *map(int, children)]

    def _send(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)  # first, so that it starts no other meanwhile
        for pid in self._processes[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def url(self, name: str) -> str:
        """The URL of the database `name`."""
        return f"postgresql://ferryman@/{name}?host={self.directory}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"test{self._made}"
        self._tell(f"CREATE DATABASE {name}")
        return self.url(name)

    def fill(self, url: str, template: str) -> None:
        """Make the database of `url`, to which nobody is connected, a copy of that named `template`."""
        self._tell(f"DROP DATABASE {self.name(url)}", f"CREATE DATABASE {self.name(url)} TEMPLATE {template}")

    def name(self, url: str) -> str:
        """The name of the database of `url`."""
        return url.partition("?")[0].rpartition("/")[2]

    def _tell(self, *statements: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        user = pwd.getpwnam("postgres").pw_name if os.getuid() == 0 else None
        done = subprocess.run(
            [_found(program), *arguments],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # pg_ctl's child would keep a pipe open
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{program} ended with {done.returncode}"


def _found(program: str) -> str:
    """The program's path; Debian keeps the server's own out of PATH, by version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    path = shutil.which(program, path=":".join([*map(str, reversed(folders)), os.environ["PATH"]]))
    assert path is not None, f"{program} is missing: apt-get install postgresql"
    return path


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _version(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.parent.name) or 0)
