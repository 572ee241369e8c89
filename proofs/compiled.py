"""The compiled wheel does what the sources do: the suite's tests of what is compiled pass with it as well."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

TESTS = (
    "attribution", "bodies", "connections", "control", "corpus", "edit", "exchange_line", "exchange_orders",
    "fields", "framing", "ledger_writer", "meter", "model", "money", "own_paths", "pipelining",
    "pricing_cost", "pricing_grid", "pricing_iterations", "pricing_properties", "streams", "untouched",
    "upstream", "wire_scan", "wire_sse", "wire_usage",
)  # fmt: skip
"""Those that run what is compiled, alone or in a gateway."""

_ASK = "import importlib, sys; print(*(importlib.import_module(m).__file__ for m in sys.argv[1:]), sep='\\n')"


def prove() -> int:
    """Build and install the wheel, and run `TESTS` with it; the exit code."""
    with tempfile.TemporaryDirectory(prefix="ferryman-") as place:
        python = _installed(_built(Path(place)), Path(place) / "venv")
        modules = [f"ferryman.{path[:-3].replace('/', '.')}" for path in _listed()]
        files = subprocess.run(
            [python, "-c", _ASK, *modules], check=True, capture_output=True, text=True
        ).stdout
        if plain := [file for file in files.splitlines() if not file.endswith(".so")]:
            print(f"not compiled: {', '.join(plain)}")
            return 1
        print(f"{len(modules)} modules are compiled", flush=True)
        tests = [f"tests/test_{name}.py" for name in TESTS]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "auto", *tests]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def _listed() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    return modules


def _built(place: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-build-isolation", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(command, check=True, env={**os.environ, "FERRYMAN_COMPILE": "1"})
    (wheel,) = place.glob("*.whl")
    return wheel


def _installed(wheel: Path, venv: Path) -> str:
    """Install `wheel` in a new environment, in front of the packages of ours; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(venv / "bin" / "python")
