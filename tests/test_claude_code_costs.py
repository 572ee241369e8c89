"""What Claude Code's own meter was recorded to say, and what we say: equal but for a written list.

Where we differ, the list says why, and what it says is tried: with what Claude Code does in place of what
we do, both agree again. A difference that is gone fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.claude_code_costs import RULES, Row, answer_to, recorded

FILE = Path(__file__).parent.parent / "scripts" / "prices.yaml"
DIFFERENCES = yaml.load(FILE.read_text("utf-8"), yaml.BaseLoader)["claude_code"]


@pytest.mark.parametrize("row", recorded(), ids=lambda row: f"{row.asked}-{row.cell}")
def test_we_agree_with_claude_code_but_for_the_written_differences(row: Row) -> None:
    answer = answer_to(row)
    agreed = row.requests * answer.nanousd() == row.nanousd
    assert agreed is not bool(row.differences), (answer.nanousd(), row.nanousd)
    for difference in row.differences:
        answer = difference.as_theirs(answer, row)
    assert row.requests * answer.nanousd() == row.nanousd, "it is not as the list says"


def test_no_written_difference_is_out_of_date() -> None:
    met = {name for name, rule in RULES.items() if any(rule.is_about(row) for row in recorded())}
    assert met == RULES.keys() == DIFFERENCES.keys()
    for row in DIFFERENCES.values():
        assert all(row[name] for name in ("models", "where", "reason"))


def test_aliases_and_retired_opus_are_asked_for_by_another_name() -> None:
    assert {row.asked: row.model for row in recorded() if row.asked != row.model} == {
        "opus": "claude-opus-5-5",
        "sonnet": "claude-sonnet-5-5",
        "haiku": "claude-haiku-5-5",
        "claude-opus-5-5[1m]": "claude-opus-5-5",
        "claude-opus-4-0": "claude-opus-5-5",
        "claude-opus-4-1": "claude-opus-5-5",
    }
