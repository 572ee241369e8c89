"""Builds the compiled wheel from these sources, and installs it in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

_ASK = "import importlib, sys; print(*(importlib.import_module(m).__file__ for m in sys.argv[1:]), sep='\\n')"


class NotCompiled(Exception):
    """A module that is listed in `pyproject.toml` is not compiled in the wheel; the message names all."""


def compiled(place: Path, *, alone: bool) -> str:
    """The Python of a new environment in the directory `place` that has the wheel.

    Args:
        place: is made anew.
        alone: with what an operator's installation has, uvloop included, and nothing else; otherwise in front
            of the packages of ours.

    Raises:
        NotCompiled: the wheel is not what it should be.
        subprocess.CalledProcessError: it could not be built or installed; pip has said why.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    install = _installed if alone else _installed_beside
    python = install(_built(place), place / "venv")
    modules = [f"ferryman.{path[:-3].replace('/', '.')}" for path in listed()]
    files = subprocess.run([python, "-c", _ASK, *modules], check=True, capture_output=True, text=True).stdout
    if plain := [file for file in files.splitlines() if not file.endswith(".so")]:
        raise NotCompiled(f"not compiled: {', '.join(plain)}")
    return python


def listed() -> list[str]:
    """The modules that are to be compiled, as paths below `src/ferryman`."""
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
    """Install `wheel` in a new environment as an operator would; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[fast]"], check=True)
    return python


def _installed_beside(wheel: Path, venv: Path) -> str:
    """Install `wheel` in a new environment, in front of the packages of ours; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(venv / "bin" / "python")
