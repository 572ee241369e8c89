"""`scripts/limits.py` notices files and functions that are too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "limits.py"


def limits(directory: Path, text: str) -> tuple[int, str]:
    """The exit code and output for a tree with one file of `text`."""
    (directory / "src").mkdir()
    (directory / "src" / "a.py").write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


def test_tree_within_its_limits_passes(tmp_path: Path) -> None:
    assert limits(tmp_path, function(60) + "#\n" * 340) == (0, "1 files within their limits\n")


def test_long_file_and_long_function_are_named(tmp_path: Path) -> None:
    code, output = limits(tmp_path, "\n" + function(61) + "#\n" * 339)
    assert code == 1
    assert output == ("src/a.py: 401 lines; at most 400\nsrc/a.py:2: `f` has 61 lines; at most 60\n")
