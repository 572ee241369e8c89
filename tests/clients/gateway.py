"""The gateway as people run it: `ferryman serve`, a process with nothing in its environment but settings."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

FERRYMAN = Path(sys.executable).with_name("ferryman")
START_SECONDS = 20.0
STOP_SECONDS = 20.0
LINE_SECONDS = 5.0
"""Lines of the log are written after a tenth of a second; a busy machine takes longer."""

Entry = dict[str, Any]


EXPECTED = frozenset({"price not known"})
"""Warnings that tests call forth: they ask for models that nobody has."""


class Gateway:
    """A running gateway, and the lines that it logs.

    Args:
        upstream_url: where it relays to.
        folder: where it runs, so that it finds no config file.
        settings: more of them, by their environment names.
    """

    def __init__(self, upstream_url: str, folder: Path, **settings: str) -> None:
        self.url = ""
        self.log: list[str] = []
        self.complaints: list[str] = []
        self._entries: list[Entry] = []
        self._is_over = False
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [str(FERRYMAN), "serve", "--port", "0", "--log-format", "json"],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder),
                "FERRYMAN_UPSTREAM_URL": upstream_url,
                **settings,
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, errors = self._process.stdout, self._process.stderr
        assert out is not None
        assert errors is not None
        self._pipes = (out, errors)
        self._threads = [
            threading.Thread(target=self._read_entries, args=(out,)),
            threading.Thread(target=self._read_events, args=(errors,)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        with self._more:
            self._more.wait_for(lambda: self.url or self._is_over, START_SECONDS)
        if not self.url:
            self.__exit__(None, None, None)
            raise RuntimeError(f"the gateway did not start:\n{''.join(self.log)}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join()
            for pipe in self._pipes:
                pipe.close()

    @property
    def exit_code(self) -> int | None:
        """`None` while it runs."""
        return self._process.returncode

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def mark(self) -> int:
        """How many exchanges have been logged."""
        with self._more:
            return len(self._entries)

    def entries(self, since: int, count: int) -> list[Entry]:
        """The lines of the exchanges since a mark, as soon as there are `count`.

        Raises:
            TimeoutError: there are fewer after some seconds.
        """
        return self.entries_until(since, lambda entries: len(entries) >= count)

    def entries_until(self, since: int, enough: Callable[[list[Entry]], bool]) -> list[Entry]:
        """The same, as soon as they are `enough`."""
        with self._more:
            if not self._more.wait_for(lambda: enough(self._entries[since:]), LINE_SECONDS):
                raise TimeoutError(f"only {len(self._entries) - since} exchanges were logged")
            return self._entries[since:]

    def _read_entries(self, pipe: IO[str]) -> None:
        for line in pipe:
            with self._more:
                self.log.append(line)
                self._entries.append(json.loads(line))
                self._more.notify_all()

    def _read_events(self, pipe: IO[str]) -> None:
        for line in pipe:
            with self._more:
                self.log.append(line)
                event = json.loads(line) if line.startswith("{") else {"level": "error"}
                known = event.get("event") in EXPECTED
                if event["level"] not in {"debug", "info"} and not known:
                    self.complaints.append(line)
                self.url = event.get("url", self.url)
                self._more.notify_all()
        with self._more:
            self._is_over = True
            self._more.notify_all()
