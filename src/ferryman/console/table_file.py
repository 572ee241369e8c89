"""Entries as CSV for spreadsheets. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from ferryman.console.words import NANO
from ferryman.control.spend_row import row_of
from ferryman.model import Entry

COLUMNS = (
    *("id", "started_at", "duration_seconds", "method", "path", "principal", "user_id", "team_id"),
    *("end_user", "session_id", "agent_id", "model", "stream", "http_status", "ended", "error"),
    *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    *("cost_usd", "price_source", "estimated", "tags"),
)

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""With which a spreadsheet takes a text for a formula: clients choose models, tags and users."""


def csv_head() -> bytes:
    """The first line."""
    return _written([COLUMNS])


def csv_rows(entries: Iterable[Entry]) -> bytes:
    """A line for each entry."""
    return _written(_cells(entry) for entry in entries)


def _cells(entry: Entry) -> list[str]:
    row = row_of(entry)
    row["tags"] = " ".join(entry.tags or [])
    row["started_at"] = entry.started_at.isoformat()
    nanousd = row["cost_nanousd"]
    row["cost_usd"] = None if nanousd is None else f"{nanousd // NANO}.{nanousd % NANO:09}"
    return [_cell(row[name]) for name in COLUMNS]


def _cell(value: Any) -> str:  # noqa: ANN401  # of a row
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULAS) else text


def _written(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
