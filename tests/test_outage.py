"""The proofs of `scripts/prove outage` and `full`, in a short form: no database, and no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_soak import DEADLINE_SECONDS, prove

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(DEADLINE_SECONDS + 10),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]


def test_stopped_and_killed_postgresql_fails_no_request_and_loses_nothing() -> None:
    output = prove("outage", "--seconds", "1", "--way", "stop", "--way", "kill")
    assert "nothing failed, nothing lost, nothing doubled" in output


def test_commits_whose_answers_are_lost_double_nothing() -> None:
    output = prove("outage", "--seconds", "1", "--way", "lose-answers")
    assert "nothing failed, nothing lost, nothing doubled" in output


def test_hanging_postgresql_fails_no_request_and_is_told_within_a_bound() -> None:
    output = prove("outage", "--seconds", "12.5", "--way", "hang")
    assert "nothing failed, nothing lost, nothing doubled" in output


@pytest.mark.parametrize("setting", ["refuse", "allow"])
def test_journal_without_room_refuses_or_lets_pass_and_loses_nothing(setting: str) -> None:
    output = prove("full", "--seconds", "1", "--on-ledger-failure", setting)
    assert "nothing lost, nothing doubled" in output
