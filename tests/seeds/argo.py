"""What the document "Native Anthropic Endpoint Passthrough" of Argo Proxy tells its readers to type.

Its snippets are run as they stand there. Changed are, everywhere: the command `argo-proxy`, which is
`ferryman` here, and the port, since several tests run at once. Added are variables: the port, the
directories that a test has for itself, and where Argo is, since only its own network has that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ferryman.simulator.recorder import Recorded
from ferryman.simulator.server import Server
from tests.test_cli import DEADLINE_SECONDS, Process, environment

SNIPPETS = Path(__file__).parents[1] / "clients" / "snippets"
PLACE = "localhost:44497"
"""Where the document has its readers find the proxy."""

USER = "your-anl-username"
ALIAS, MODEL = "argo:claude-4.5-sonnet", "claude-sonnet-4-5"
"""A name that the document uses, and the model that Argo's list, as the simulator has it, calls so."""

MODELS = (MODEL, "claude-opus-4", "claude-haiku-4-5")
HOME = Path(sys.executable).parent


def text_of(name: str) -> str:
    """A snippet as it stands in the document, but for the name of the command."""
    return (SNIPPETS / name).read_text("utf-8").replace("argo-proxy", "ferryman")


class Typed(Process):
    """Commands that start a gateway, typed into a shell; ready, and ended with the test.

    Attributes:
        url: where it listens.
    """

    def __init__(self, directory: Path, text: str, **variables: str) -> None:
        env = {
            "PATH": f"{HOME}{os.pathsep}{os.environ['PATH']}",
            "PORT": "0",
            "FERRYMAN_RUNTIME_DIRECTORY": str(directory / "run"),
            **variables,
        }
        program = ("bash", "-c", text)
        super().__init__(directory, program=program, env=env, start_new_session=True)
        try:
            while (record := json.loads(self.line(2)))["event"] != "ready":
                pass
        except BaseException:
            self.__exit__()
            raise
        self.ready: dict[str, Any] = record
        self.url = str(record["url"])
        self.place = f"localhost:{self.url.rpartition(':')[2]}"

    def __exit__(self, *error: object) -> None:
        os.killpg(self.popen.pid, signal.SIGTERM)
        try:
            self.popen.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            raise

    def snippet(self, name: str) -> str:
        """A snippet that calls this gateway."""
        text = text_of(name)
        assert PLACE in text
        return text.replace(PLACE, self.place)


def run(directory: Path, *command: str) -> str:
    """What a program prints, which has to succeed."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(directory: Path, text: str) -> str:
    """What a script prints."""
    return run(directory, sys.executable, "-c", text)


def received(argo: Server) -> Recorded:
    """The one request for an answer that Argo got."""
    (request,) = [one for one in argo.recorder.wait_ended() if one.method == "POST"]
    return request
