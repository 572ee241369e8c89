"""The page about OpenAI's clients tells what the code does."""

from __future__ import annotations

import pytest

from ferryman.model import Usage
from ferryman.translate.chat_answer import REASONS, chat_usage
from ferryman.translate.chat_messages import TAKEN
from ferryman.translate.chat_parts import MAKERS
from ferryman.translate.chat_request import DEFAULT_MAX_TOKENS, IGNORED, KEPT, NO_OPS, SERVED
from tests.test_docs import ROOT, first_cells, rows_of

PAGE = ROOT / "docs" / "openai.md"


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("## Parameters", SERVED),
        ("### Anthropic's own, and Ferryman's", KEPT),
        ("### Without effect", IGNORED),
        ("### Refused", NO_OPS.keys()),
        ("## Messages", TAKEN.keys() | MAKERS.keys() | {"developer"}),
    ],
)
def test_every_name_stands(heading: str, names: set[str]) -> None:
    assert first_cells(PAGE, heading) == names


def test_every_reason_stands_with_openais() -> None:
    assert {row[0]: row[1].partition("`")[0] for row in rows_of(PAGE, "## Answers")} == REASONS


def test_every_count_of_the_usage_stands() -> None:
    told = chat_usage(Usage())
    details = {f"{name}.{one}" for name, value in told.items() if isinstance(value, dict) for one in value}
    text = PAGE.read_text("utf-8")
    assert all(f"`{name}`" in text for name in details | {"prompt_tokens", "completion_tokens"})


def test_the_default_is_that_of_the_code() -> None:
    assert f"without it {DEFAULT_MAX_TOKENS:,} |" in PAGE.read_text("utf-8")
