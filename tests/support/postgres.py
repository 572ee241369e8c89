"""A PostgreSQL of the tests' own: made, used and ended with them."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

DEADLINE_SECONDS = 30
FAST = ("-F", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
"""Nobody misses what a power cut takes from a test."""


class Server:
    """A server on a Unix socket, in a directory of its own. Needs Debian's package `postgresql`."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="ferryman-pg-", dir="/tmp"))
        self._data = self._directory / "data"
        self._made = 0

    def __enter__(self) -> Self:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self._directory, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "ferryman", "-A", "trust", "-E", "UTF8", "-N")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = " ".join([*FAST, "-k", str(self._directory), "-c", "listen_addresses=''"])
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """End it, by its own process id, with all connections."""
        pid = int((self._data / "postmaster.pid").read_text("utf-8").split()[0])
        os.kill(pid, signal.SIGINT)
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop", check=False)

    def url(self, name: str) -> str:
        """The URL of the database `name`."""
        return f"postgresql://ferryman@/{name}?host={self._directory}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

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


def _version(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.parent.name) or 0)
