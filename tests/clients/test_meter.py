"""Claude Code's own meter, through the gateway, against what was recorded of it for tests of prices."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ferryman.simulator.server import Server
from tests.support.claude_code_costs import FILE

from .gateway import Gateway
from .meter import MODELS, Cell, grid, measure, of_every_model, special
from .passage import SERVER_KEY

SPECIAL = tuple(special())
PARTS = {model: tuple(of_every_model(model)) for model in MODELS}
PARTS |= {f"{SPECIAL[start].name} {start}": SPECIAL[start : start + 9] for start in range(0, len(SPECIAL), 9)}


@pytest.mark.parametrize("name", PARTS)
def test_meter_shows_through_the_gateway_what_was_recorded(
    open_gateway: Gateway, simulator: Server, tmp_path: Path, name: str
) -> None:
    simulator.recorder.clear()
    part = PARTS[name]
    assert measure(open_gateway.url, part, tmp_path, "sk-client", simulator.recorder) == rows(part)


def test_meter_shows_the_same_without_a_gateway(simulator: Server, tmp_path: Path) -> None:
    simulator.recorder.clear()
    part = [cell for cell in grid() if cell.name in {"search-in-us-and-fast", "advisor", "refusal"}]
    assert measure(simulator.url, part, tmp_path, SERVER_KEY, simulator.recorder) == rows(part)


def test_record_has_every_cell_in_its_order() -> None:
    assert [(row["asked"], row["cell"]) for row in rows(grid())] == [
        (cell.model, cell.name) for cell in grid()
    ]


def rows(part: Sequence[Cell]) -> list[dict[str, object]]:
    """The recorded rows of some cells."""
    kept = {(row["asked"], row["cell"]): row for row in json.loads(FILE.read_text())["rows"]}
    return [kept[cell.model, cell.name] for cell in part]
