"""Runs the fuzzer on each target in turn, and tells what it found.

New inputs are kept for the run only; `--keep` adds those to the corpus that reach code or states which
no input in it reached, in libFuzzer's smallest form. A crash is kept in proofs/crashes/.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
TARGETS = ("requests", "answers", "meters")

MAX_FILES, MAX_BYTES = 330, 1_000_000
"""Bounds of the whole corpus, of which each target has its share: it is replayed with every run of the
suite."""

MAX_INPUT_BYTES = 4096
HANG_SECONDS = 10
MEMORY_MB = 2048
GRACE_SECONDS = 60
"""Beyond the time for fuzzing: for the imports, the corpus, and a last input that hangs."""
MAX_SECONDS_OF_RUNS = 600
"""For a number of runs, where no time is given; on a slow machine CI's take minutes."""

SAME_AGAIN = ("-reload=0", "-entropic=0")
"""Without these two runs with one seed part: by the clock libFuzzer looks what others have added to the
directory, and with its weights by entropy two runs of `meters` parted after some 2,400 inputs."""

_STATUS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_RUNS = re.compile(r"number_of_executed_units: (\d+)")


class Extent(NamedTuple):
    """How far to go with each target."""

    seconds: int
    runs: int | None = None
    """So many inputs, whatever time they take; `None` to go by the time."""
    seed: int | None = None
    """Of what the fuzzer draws, so that it draws the same again; `None` for another one each time."""


class Outcome(NamedTuple):
    """What became of one target."""

    target: str
    executions: int
    edges: int
    features: int
    inputs: int
    crash: Path | None


def fuzz(targets: list[str], extent: Extent, *, keep: bool) -> int:
    """Fuzz each of `targets` to its `extent`; the exit code."""
    CRASHES.mkdir(exist_ok=True)
    outcomes = []
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="ferryman-fuzz-") as directory:
            outcomes.append(_run(target, extent, Path(directory)))
            if keep and outcomes[-1].crash is None:
                _keep(target, Path(directory))
    print(f"\n{'target':<10} {'executions':>10} {'edges':>6} {'features':>8} {'inputs':>6}  crash")
    for o in outcomes:
        crash = "none" if o.crash is None else o.crash.name
        print(f"{o.target:<10} {o.executions:>10,} {o.edges:>6} {o.features:>8} {o.inputs:>6}  {crash}")
    crashes = [o for o in outcomes if o.crash is not None]
    for o in crashes:
        print(f"\nTo see it again: scripts/prove replay {o.target} {o.crash}")
    return 1 if crashes else 0


def replay(target: str, paths: list[Path]) -> int:
    """Run the target's check on files, or on its corpus; the exit code is 0 or this raises."""
    check = importlib.import_module(f"proofs.targets.{target}").check
    paths = paths or sorted((CORPUS / target).iterdir())
    for path in paths:
        print(path)
        check(path.read_bytes())
    print(f"{len(paths)} inputs, nothing wrong")
    return 0


def _run(target: str, extent: Extent, work: Path) -> Outcome:
    limit = f"{extent.seconds} s" if extent.runs is None else f"{extent.runs:,} inputs"
    print(f"{target}: {limit} …", flush=True)
    before = set(CRASHES.iterdir())
    output = _child(
        target,
        (extent.seconds if extent.runs is None else MAX_SECONDS_OF_RUNS) + GRACE_SECONDS,
        f"-max_total_time={extent.seconds}" if extent.runs is None else f"-runs={extent.runs}",
        *([] if extent.seed is None else [f"-seed={extent.seed}", *SAME_AGAIN]),
        f"-artifact_prefix={CRASHES}/{target}-",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-print_final_stats=1",
        str(work),
        str(CORPUS / target),
    )
    statuses, runs = _STATUS.findall(output), _RUNS.search(output)
    crash = next(iter(sorted(set(CRASHES.iterdir()) - before)), None)
    if crash is not None or not statuses or runs is None:
        print(output[-6000:])
        if crash is None:
            raise SystemExit(f"fuzz: {target} did not run; the end of its output is above")
    edges, features, inputs = map(int, statuses[-1]) if statuses else (0, 0, 0)
    return Outcome(target, int(runs[1]) if runs else 0, edges, features, inputs, crash)


def _child(target: str, seconds: int, *arguments: str) -> str:
    """Run the fuzzer; what it printed."""
    command = [sys.executable, "-m", "proofs.fuzz_child", target, *arguments]
    # Fixed, since the order of a set would change which code an input reaches, and so what is drawn next.
    env = os.environ | {"PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command, cwd=HERE.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            output += b"\nit did not end in time, and was killed"
        except BaseException:
            process.kill()
            raise
    return output.decode(errors="replace")


def _keep(target: str, work: Path) -> None:
    """Add the inputs of `work` to the corpus that reach something new, as far as there is room."""
    with tempfile.TemporaryDirectory(prefix="ferryman-merge-") as directory:
        merged = Path(directory)
        for path in (CORPUS / target).iterdir():
            (merged / path.name).write_bytes(path.read_bytes())
        known = {path.name for path in merged.iterdir()}
        _child(target, 600, "-merge=1", f"-max_len={MAX_INPUT_BYTES}", str(merged), str(work))
        new = sorted((p for p in merged.iterdir() if p.name not in known), key=lambda p: p.stat().st_size)
        kept = [path for path in new if _add(target, path)]
    print(f"{target}: kept {len(kept)} of {len(new)} new inputs")


def _add(target: str, path: Path) -> bool:
    files = list((CORPUS / target).iterdir())
    size = sum(file.stat().st_size for file in files) + path.stat().st_size
    if len(files) >= MAX_FILES // len(TARGETS) or size > MAX_BYTES // len(TARGETS):
        return False
    (CORPUS / target / path.name).write_bytes(path.read_bytes())
    return True
