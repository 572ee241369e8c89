"""Builds a wheel in which the modules of the hot path are compiled, where `FERRYMAN_COMPILE=1` asks for it.

Without it the wheel is pure Python, and no compiler is needed. Which modules, and why no others, is told in
pyproject.toml, where they are listed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SETUP = """
import json, sys
from mypyc.build import mypycify
from setuptools import setup

modules = json.loads(sys.argv.pop())
setup(name="ferryman", packages=[], ext_modules=mypycify(modules, group_name="ferryman", target_dir="c"))
"""


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to the wheel, beside their sources."""

    @property
    def wanted(self) -> bool:
        """Whether the wheel is to be compiled."""
        return os.environ.get("FERRYMAN_COMPILE") == "1"  # noqa: TID251  # no setting of the gateway

    def dependencies(self) -> list[str]:
        """What compiling takes, beside a C compiler and the headers of Python."""
        if not self.wanted:
            return []
        return [
            *self.config["requires"],
            *self.build_config.builder.metadata.core.dependencies,
        ]  # for their types

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the build is an editable one."""
        if not self.wanted or version == "editable":
            return
        self._place = Path(tempfile.mkdtemp(prefix="ferryman-"))
        compiled = compile_modules(Path(self.root), self._place, self.config["modules"])
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {
            str(path): str(path.relative_to(self._place / "out")) for path in compiled
        }

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the compiler has left."""
        if place := getattr(self, "_place", None):
            shutil.rmtree(place)


def compile_modules(root: Path, place: Path, modules: list[str]) -> list[Path]:
    """Compile `modules` (paths below `src/ferryman`) within `place`; the libraries, as they are installed."""
    shutil.copytree(
        root / "src" / "ferryman", place / "ferryman", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    paths = [f"ferryman/{module}" for module in modules]
    command = [sys.executable, "-c", SETUP, "build_ext", "--build-lib", "out", json.dumps(paths)]
    subprocess.run(command, cwd=place, check=True, stdout=sys.stderr)  # noqa: S603  # our own list
    return sorted((place / "out").rglob("*.so"))
