"""Hold every Python file to 400 lines and every function to 60."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def problems_of(path: Path) -> list[str]:
    """What is too long in the file at `path`."""
    text = path.read_text("utf-8")
    found = []
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        found.append(f"{path}: {lines} lines; at most {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                place = f"{path}:{node.lineno}: `{node.name}`"
                found.append(f"{place} has {length} lines; at most {MAX_FUNCTION_LINES}")
    return found


def main() -> None:
    """Print what is too long; exit code 1 if anything is."""
    folders = ("src", "tests", "bench", "demo", "proofs", "scripts")
    found = (path for folder in folders for path in Path(folder).rglob("*.py"))
    paths = sorted(path for path in found if "build" not in path.parts)  # bench/build is no source
    problems = [problem for path in paths for problem in problems_of(path)]
    print("\n".join(problems) or f"{len(paths)} files within their limits")
    sys.exit(bool(problems))


main()
