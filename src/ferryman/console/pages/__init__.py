"""The pages, a module each."""

from __future__ import annotations

from ferryman.console.pages import (
    audit,
    health,
    keys,
    models,
    overview,
    records,
    requests,
    sessions,
    setup,
)
from ferryman.console.visit import Page

_MODULES = (overview, sessions, requests, keys, records, audit, models, setup, health)


def every_page() -> list[Page]:
    """All of them; a path that could be meant by two belongs to the first."""
    return [page for module in _MODULES for page in module.pages()]
