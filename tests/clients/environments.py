"""The clients, each generation in an environment of its own: `python tests/clients/environments.py`.

They are made below `.venv-clients/`, and again only when their versions change.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".venv-clients"
REQUIREMENTS = HERE / "requirements"
PYTHON_NAMES = ("python-1", "python-2", "agent")
NODE_NAME = "node"
NODE_PACKAGE = "@anthropic-ai/sdk@1.12.0"
INSTALL_SECONDS = 1_200
"""A slow line brings 400 MB in this time."""


class NotInstalled(Exception):
    """An environment has not been made."""


def python_of(name: str) -> Path:
    """The interpreter of a Python environment."""
    return _made(name) / "bin" / "python"


def claude_code() -> Path:
    """The binary of Claude Code that `claude-agent-sdk` brings."""
    folder = _made("agent") / "lib"
    return next(folder.glob("python*/site-packages/claude_agent_sdk/_bundled/claude"))


def node_folder() -> Path:
    """Where a program of Node finds `@anthropic-ai/sdk`."""
    return _made(NODE_NAME)


def client_environment(home: Path, **more: str) -> dict[str, str]:
    """All that a client is given: nothing of ours but where programs are."""
    folders = [str(Path(tool).parent) for name in ("node", "curl") if (tool := shutil.which(name))]
    path = os.pathsep.join(dict.fromkeys([*folders, *os.defpath.split(os.pathsep)]))
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **more}


def main() -> None:
    """Make what is missing, side by side: most of the time is waiting for the network."""
    with ThreadPoolExecutor() as pool:
        made = [pool.submit(_make_python, name) for name in PYTHON_NAMES]
        made.append(pool.submit(_make_node))
    for future in made:
        future.result()


def _make_python(name: str) -> None:
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = FOLDER / name
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    _make(
        name,
        f"{sys.version}\n{requirements.read_text()}",
        [(sys.executable, "-m", "venv", str(folder)), (*pip, "-r", str(requirements))],
    )


def _make_node() -> None:
    options = ("--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(FOLDER / NODE_NAME))
    _make(NODE_NAME, NODE_PACKAGE, [("npm", "install", *options, NODE_PACKAGE)])


def _make(name: str, stamp: str, commands: list[tuple[str, ...]]) -> None:
    folder = FOLDER / name
    stamp_file = folder / "stamp"
    if stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    sys.stderr.write(f"setting up {name} …\n")  # at once, which print doesn't do: others write too
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in commands:
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL)
    stamp_file.write_text(stamp)
    sys.stderr.write(f"{name} is there after {time.monotonic() - started:.0f} s\n")


def _made(name: str) -> Path:
    folder = FOLDER / name
    if not (folder / "stamp").exists():
        raise NotInstalled(f"`{folder}` is not there: run scripts/clients")
    return folder


if __name__ == "__main__":
    main()
