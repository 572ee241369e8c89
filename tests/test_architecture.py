"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import ferryman
from ferryman.cli.main import main

DEADLINE_SECONDS = 60
SOURCE = Path(ferryman.__file__).parent

# Runs before anything of the package: notes all that reaches beyond the process.
WATCH = """
import os, sys

noted = []
writing = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC

def note(event, arguments):
    if event == "open":
        if isinstance(arguments[2], int) and arguments[2] & writing:
            noted.append(f"{event} {arguments[0]}")
    elif event.startswith(("socket.", "_thread.start", "subprocess.", "os.exec", "os.fork", "os.posix")):
        noted.append(f"{event} {arguments}")

import importlib, json
names = json.loads(sys.argv[1])
sys.addaudithook(note)
for name in names:
    before = len(noted)
    importlib.import_module(name)
    noted[before:] = [f"{name}: {what}" for what in noted[before:]]
import threading
noted += [f"thread {thread.name}" for thread in threading.enumerate()[1:]]
print(json.dumps(noted), file=sys.stderr)
"""


def module_names() -> list[str]:
    """Every module of the package."""
    paths = (path.relative_to(SOURCE.parent).with_suffix("") for path in SOURCE.rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in an interpreter of its own, which loads nothing to measure coverage."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-B", "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_importing_a_module_starts_and_opens_and_prints_nothing() -> None:
    names = module_names()
    assert "ferryman.relay.exchange" in names
    done = run(WATCH, json.dumps(names))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == []
    assert done.stdout == ""


def test_the_watch_would_notice() -> None:
    """The test above is worth nothing if its hook sees nothing."""
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    deeds = f"import socket, threading; {thread}; socket.socket().close(); open(os.devnull, 'w').close()"
    noted = json.loads(run(WATCH.replace("importlib.import_module(name)", deeds), '["deeds"]').stderr)
    kinds = {what.removeprefix("deeds: ").split()[0] for what in noted}
    assert kinds >= {"thread", "socket.__new__", "open"}


def test_gateway_needs_no_optional_package() -> None:
    """What is installed without extras is enough for every command."""
    others = ["uvloop", "rich", "better_exceptions", "anthropic", "httpx", "opentelemetry"]
    program = f"""if True:
        import sys
        sys.modules.update(dict.fromkeys({others}))
        from ferryman.cli.main import main
        main(["config", "check", "--port", "1"])
    """
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: ")


def test_worker_loads_no_framework_and_no_database() -> None:
    program = "import sys, ferryman.relay.process; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(run(program).stdout.split())
    assert {"ferryman", "httptools"} <= loaded
    assert not loaded & {"starlette", "uvicorn", "anyio", "sqlalchemy", "sqlite3", "click", "multiprocessing"}


def test_command_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="ferryman")
    assert command.load() is main


def test_version_is_that_of_the_distribution() -> None:
    assert metadata.version("ferryman") == ferryman.__version__


def test_package_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()


def test_no_interpreted_class_is_derived_from_a_compiled_one() -> None:
    """Mypyc refuses to make an instance of such a class, and only the compiled wheel would show it."""
    project = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())
    listed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    compiled = {f"ferryman.{path.removesuffix('.py').replace('/', '.')}" for path in listed}
    derived = []
    for name in set(module_names()) - compiled:
        path = SOURCE.parent.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        taken = {
            alias.asname or alias.name for node in imports if node.module in compiled for alias in node.names
        }
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        derived += [
            f"{name}.{node.name}"
            for node in classes
            if taken & {base.id for base in node.bases if isinstance(base, ast.Name)}
        ]
    assert derived == []
    assert {"ferryman.control.shared_table", "ferryman.relay.exchange"} <= compiled
