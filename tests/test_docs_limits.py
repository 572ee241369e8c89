"""What the page about limits and budgets says is what the code does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ferryman.control.access.compile import COUNT_TOKENS_AT_LEAST, COUNT_TOKENS_FACTOR
from ferryman.limits.habits import FLOOR_SHARE, OUTPUT_TOKENS, START_SHARE, TOKENS_PER_BYTE
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.ceiling import ADDED_TOKENS, MAX_OUTPUT_TOKENS, Ceilings, Extras
from ferryman.relay import caps

PAGE = (Path(__file__).parent.parent / "docs" / "limits.md").read_text("utf-8")


@pytest.mark.parametrize(
    "said",
    [
        f"be done {COUNT_TOKENS_FACTOR} times as often, and {COUNT_TOKENS_AT_LEAST} times a minute",
        f"a token for every {'four' if TOKENS_PER_BYTE == 0.25 else TOKENS_PER_BYTE} bytes",
        f"and {OUTPUT_TOKENS:,} of output",
        f"holds {START_SHARE * 100:g} % of its ceiling, none less than {FLOOR_SHARE * 100:g} %",
        f"{ADDED_TOKENS:,} tokens that Anthropic may add",
        f"without `max_tokens` {MAX_OUTPUT_TOKENS:,} are taken",
        f"from {min(caps.WARNING_SHARES)} % on `allowed_warning`",
    ],
)
def test_numbers_are_those_of_the_code(said: str) -> None:
    assert said in PAGE


def test_ceiling_of_the_example_is_what_it_says() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    cached = Extras(fast=False, us=False)
    nanousd = Ceilings(load_catalog()).nanousd(["claude-opus-5-5"], 100_000, 32_000, at, cached)
    assert f"that is {caps.usd(nanousd + 5_000_000)} for 100 KB" in PAGE  # rounded


def test_every_header_at_the_cap_stands() -> None:
    source = Path(caps.__file__).read_text("utf-8")
    told = set(re.findall(r'\(b"([a-z-]+)",', source))
    assert told == set(re.findall(r"`([a-z-]+)`", " ".join(row_heads())))


def row_heads() -> list[str]:
    """The first cells of the table of headers."""
    _, _, below = PAGE.partition("| header | below the cap |")
    table = below.partition("\n\n")[0]
    return [line.split("|")[1] for line in table.splitlines()[2:]]
