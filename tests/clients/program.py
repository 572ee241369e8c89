"""Client programs as processes, with nothing in their environment that they were not given."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from .environments import HERE, client_environment, node_folder, python_of

PROGRAMS = HERE / "programs"
ANSWER_SECONDS = 40.0
"""Importing the SDK takes three seconds on a busy machine of two cores."""


class Sdk(NamedTuple):
    """One kind of SDK, and what sets it apart.

    Attributes:
        name: for the test's name.
        environment: one of `environments`.
        program: below `programs/`.
        version: the `anthropic-version` that it sends.
        credential: where it puts the API key.
    """

    name: str
    environment: str
    program: str
    version: str
    credential: str

    def command(self) -> list[str]:
        """How its program is started."""
        program = PROGRAMS / self.program
        if self.environment == "node":
            # From a file, imports would be looked for beside the file.
            return ["node", "--input-type=module", "--eval", program.read_text()]
        return [str(python_of(self.environment)), str(program)]

    def folder(self, home: Path) -> Path:
        """Where its program is started."""
        return node_folder() if self.environment == "node" else home


OLD, NEW = "2023-06-01", "2026-10-21"
SDKS = (
    Sdk("python-1-sync", "python-1", "python_sync.py", OLD, "x-api-key"),
    Sdk("python-1-async", "python-1", "python_async.py", OLD, "x-api-key"),
    Sdk("python-2-sync", "python-2", "python_sync.py", NEW, "bearer"),
    Sdk("python-2-async", "python-2", "python_async.py", NEW, "bearer"),
    Sdk("node", "node", "node.mjs", NEW, "bearer"),
)


class Program:
    """A running program that answers a line of JSON by a line of JSON, since importing an SDK takes long."""

    def __init__(self, sdk: Sdk, home: Path) -> None:
        self.sdk = sdk
        self._process = subprocess.Popen(
            sdk.command(),
            env=client_environment(home, PYTHONDONTWRITEBYTECODE="1"),
            cwd=sdk.folder(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, action: str, body: Mapping[str, Any], **client: Any) -> dict[str, Any]:
        """What came of calling `action` with `body`; `client` are arguments of the SDK's client."""
        watchdog = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self._questions.write(json.dumps({"action": action, "client": client, "body": body}) + "\n")
            self._questions.flush()
            line = self._answers.readline()
        finally:
            watchdog.cancel()
        assert line, f"{self.sdk.name} did not answer `{action}`; its standard error says why"
        answer: dict[str, Any] = json.loads(line)
        return answer


def run(command: Sequence[str], home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was ended with whatever it had started.
    """
    with subprocess.Popen(
        command,
        env=client_environment(home, **environment),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)
