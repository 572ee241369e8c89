"""The proof of `scripts/prove kill9`, in a short form: some processes are killed under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_soak import DEADLINE_SECONDS, prove

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(DEADLINE_SECONDS + 10),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]


def test_killed_processes_lose_and_double_nothing_with_sqlite() -> None:
    assert "nothing lost, nothing doubled" in prove("kill9", "--rounds", "4")


def test_killed_processes_lose_and_double_nothing_with_postgresql() -> None:
    output = prove("kill9", "--rounds", "6", "--database", "postgresql")
    assert "nothing lost, nothing doubled" in output
    assert "control behind a commit 1, database 1" in output
