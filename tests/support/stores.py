"""Databases for tests, and entries to put into them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ferryman.model import Ended, Entry, Usage
from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.store.store import Store

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def opened(url: str) -> Store:
    """The store at `url`; its tables are not made yet. However slow the machine is, a page is looked for."""
    store = Store(database(Settings(database_url=url)))
    store.read.walk_seconds = 20.0
    return store


def sqlite_url(directory: Path, name: str = "test.db") -> str:
    return f"sqlite:///{directory / name}"


def entry(number: int, **changes: Any) -> Entry:
    """The `number`th entry, a minute after the one before; ids sort as their numbers do."""
    started_at = changes.get("started_at", NOON + timedelta(minutes=number))
    time, rest = f"{int(started_at.timestamp() * 1000):012x}", f"{number << 3:06x}"
    values: dict[str, Any] = {
        "id": f"{time[:8]}-{time[8:]}-7{rest[:3]}-8{rest[3:]}-{number:012x}",
        "started_at": started_at,
        "method": "POST",
        "path": "/v1/messages",
        "ended": Ended.DONE,
        "duration_seconds": 1.5,
        "request_bytes": 100,
        "response_bytes": 200,
        "usage_complete": True,
        "attempts": 1,
        "model": "claude-opus-4-5",
        "status": 200,
        "usage": Usage(input_tokens=10, output_tokens=number),
    }
    return Entry(**(values | changes))
