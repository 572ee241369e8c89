"""What Claude Code's own meter has made of scripted usages, as `tests/clients/meter.py` has recorded it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "data" / "claude_code_costs.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One reading.

    Attributes:
        cell: Names it.
        asked: The model that Claude Code was told to use.
        model: The one that it named to the API, which for retired models is another.
        usage: What the API reported, for each request.
        requests: How many there were.
        cost_usd: What Claude Code says that all of them have cost, in the digits that it printed. It
            reckons in binary floating point, so that the last of seventeen digits may be off.
    """

    cell: str
    asked: str
    model: str
    usage: dict[str, Any]
    requests: int
    cost_usd: Decimal


def recorded() -> tuple[Row, ...]:
    """All readings."""
    rows = json.loads(FILE.read_text())["rows"]
    return tuple(Row(**{**row, "cost_usd": Decimal(row["cost_usd"])}) for row in rows)
