"""The processes of the demo, which run for it alone."""

from __future__ import annotations

import queue
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import msgspec

from ferryman.model import Entry

SOURCE = Path(__file__).resolve().parent.parent / "src"
WAIT_SECONDS = 20.0


class DemoError(Exception):
    """Why the demo cannot go on."""


class Server:
    """A `ferryman …` process, ended with its `with` block; it sees no settings but those given here."""

    def __init__(self, name: str, *words: str, directory: str, **environment: str) -> None:
        self.name = name
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last = "it printed nothing"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ferryman", *words],
            cwd=directory,
            env={"PYTHONPATH": str(SOURCE), "FERRYMAN_DATA_DIR": directory, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the demo, which then ends its servers one by one
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def line(self, pattern: str, seconds: float | None = WAIT_SECONDS) -> re.Match[str]:
        """Wait for a line of output with `pattern` in it; `None` waits for ever."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                raise DemoError(f"the {self.name} does not answer; its last line: {self._last}") from None
            if not line:
                raise DemoError(f"the {self.name} has ended; its last line: {self._last}")
            self._last = line.rstrip()
            if found := re.search(pattern, line):
                return found

    def entry(self, seconds: float | None = WAIT_SECONDS) -> Entry:
        """Wait for what the gateway logs about the next request."""
        return msgspec.json.decode(self.line(r'^\{"id":.*', seconds)[0], type=Entry)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


def is_free(port: int) -> bool:
    """Whether `port` can be listened on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
