"""Claude Code's own meter, through the gateway, against what was recorded of it for tests of prices.

By default a part of the grid is read, which takes a minute; with `METER_GRID=whole` all of it.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from ferryman.simulator.server import Server
from tests.support.claude_code_costs import Row, answer_to, recorded

from .gateway import Entry, Gateway
from .meter import Cell, grid, measure, usual
from .passage import SERVER_KEY

CELLS = grid() if os.environ.get("METER_GRID") == "whole" else usual()
AT_ONCE = 10
PARTS = [CELLS[start : start + AT_ONCE] for start in range(0, len(CELLS), AT_ONCE)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part[0].model}-{part[0].name}")
def test_meter_shows_through_the_gateway_what_was_recorded_and_the_gateway_has_it_in_its_log(
    open_gateway: Gateway, simulator: Server, tmp_path: Path, part: Sequence[Cell]
) -> None:
    simulator.recorder.clear()
    begun = open_gateway.mark()
    expected = rows(part)
    assert read(open_gateway.url, part, tmp_path, "sk-client", simulator) == expected
    asked = sum(row.requests for row in expected)
    logged = open_gateway.entries_until(begun, lambda entries: len(messages(entries)) >= asked)
    costs = Counter[str]()
    for entry in messages(logged):
        costs[entry["tags"][0]] += entry["cost"]["nanousd"]
    for number, row in enumerate(expected):
        cost_nanousd = costs[f"cell-{number}"]
        assert cost_nanousd == row.requests * answer_to(row).nanousd(), row
        assert (cost_nanousd == row.nanousd) is not bool(row.differences), row


def test_meter_shows_the_same_without_a_gateway(simulator: Server, tmp_path: Path) -> None:
    simulator.recorder.clear()
    part = [cell for cell in grid() if cell.name in {"search-in-us-and-fast", "advisor", "refusal"}]
    assert read(simulator.url, part, tmp_path, SERVER_KEY, simulator) == rows(part)


def test_record_has_every_cell_in_its_order() -> None:
    assert [(row.asked, row.cell) for row in recorded()] == [(cell.model, cell.name) for cell in grid()]


def read(url: str, part: Sequence[Cell], folder: Path, key: str, simulator: Server) -> list[Row]:
    return [Row.of(row) for row in measure(url, part, folder, key, simulator.recorder)]


def rows(part: Sequence[Cell]) -> list[Row]:
    """The recorded rows of some cells."""
    kept = {(row.asked, row.cell): row for row in recorded()}
    return [kept[cell.model, cell.name] for cell in part]


def messages(entries: Sequence[Entry]) -> list[Entry]:
    """Those that were metered."""
    return [entry for entry in entries if entry["path"] == "/v1/messages"]
