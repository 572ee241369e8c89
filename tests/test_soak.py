"""The proofs of scripts/prove, in a short form: mixed load with faults, and large bodies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 150


def prove(*words: str) -> str:
    """Run a proof, which has to hold; what it printed."""
    command = [sys.executable, "-m", "proofs", *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(DEADLINE_SECONDS + 10),
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc"),
]


def test_mixed_load_with_faults_leaves_nothing_behind_and_every_request_one_line() -> None:
    output = prove("soak", "--minutes", "0.2")
    assert "nothing wrong" in output
    assert ", 0 missing" in output


def test_large_bodies_and_stalled_clients_take_no_memory() -> None:
    output = prove("bodies", "--megabytes", "60")
    assert "60 MB up, in chunks" in output
    assert "WRONG" not in output
