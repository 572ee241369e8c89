"""What runs, and how it fares."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import Response

from ferryman import __version__
from ferryman.console.visit import Page, Visit
from ferryman.errors import Overloaded, Unavailable
from ferryman.store.read import Filter
from ferryman.store.schema import REVISION


def pages() -> list[Page]:
    """The one there is."""
    return [Page("/ui/health", show, sees_all=True)]


async def show(visit: Visit) -> Response:
    """The page; it asks for itself every few seconds. A database that is away is told on it."""
    visit.check("GET", "/control/processes")
    settings = visit.backing.settings
    stored = await _stored(visit)
    machines = []
    if stored["problem"] is None:
        machines = await visit.ask(visit.backing.spends.machines)
    return visit.render(
        "health.html",
        processes=visit.backing.processes.rows(),
        stored=stored,
        machines=machines,
        kind="PostgreSQL" if visit.backing.store.spends.are_shared else "SQLite",
        revision=REVISION,
        version=__version__,
        settings=settings,
        prices=visit.backing.catalog().revision,
    )


async def _stored(visit: Visit) -> dict[str, Any]:
    """How the database answers: in what time, and what it has stored last."""
    begun = time.monotonic()
    try:
        page = await visit.ask(lambda: visit.backing.store.read.page(Filter(), limit=1))
    except (Unavailable, Overloaded) as error:
        return {"problem": error.message, "seconds": None, "latest": None}
    latest = page.entries[0].started_at if page.entries else None
    return {"problem": None, "seconds": time.monotonic() - begun, "latest": latest}
