"""What to put into a client."""

from __future__ import annotations

from starlette.responses import Response

from ferryman.console.visit import Page, Visit


def pages() -> list[Page]:
    """The one there is."""
    return [Page("/ui/setup", show)]


async def show(visit: Visit) -> Response:
    """The page; a key's text stands in it only when it is made, since nobody else knows it."""
    return visit.render("setup.html", can_make=visit.caller.role == "admin")
