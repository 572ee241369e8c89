"""Claude Code's sessions: the latest, and one as a tree of agents with all its requests."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.responses import Response

from ferryman.console.own import names_of, principals_of, shown_name
from ferryman.console.tree import together, tree_of
from ferryman.console.visit import Page, Visit
from ferryman.errors import InvalidRequest, NotFound
from ferryman.model import Entry
from ferryman.store.place import LAST_PLACE
from ferryman.store.read import Cursor, Filter
from ferryman.store.read import Page as EntryPage

PATH = "/ui/sessions"
PAGE_SIZE = 25

MAX_REQUESTS = 500
"""Of one session on its page, the latest, and those before them on the next: they lie all over the table, and
each costs some 100 µs to read and to show, or many times that where nothing of it is in memory."""

MAX_STEPS = 20
"""For a page, 0.1 s each: of a session that many share, whoever sees own requests alone may see few."""

MAX_ROWS = 100
"""Of them in the list below the tree; the rest is in the list of requests."""


def pages() -> list[Page]:
    """The list, and one."""
    return [Page(PATH, show_list), Page(f"{PATH}/{{session_id}}", show_one)]


async def show_list(visit: Visit) -> Response:
    """The latest sessions, by their last request."""
    principals = await principals_of(visit)
    before = _place(visit.query.get("before"))
    sessions = visit.backing.store.sessions
    found, after = await visit.ask(
        lambda: sessions.page(limit=PAGE_SIZE, before=before, principals=principals)
    )
    names = await visit.ask(lambda: names_of(visit, [one.principal for one in found]))
    return visit.render(
        "sessions.html",
        sessions=[(one, shown_name(one.principal, names)) for one in found],
        dearest=max((one.cost_nanousd for one in found), default=0),
        after=after,
        is_first=before is None,
    )


async def show_one(visit: Visit) -> Response:
    """The latest requests of one session, or those before a place."""
    session_id = visit.request.path_params["session_id"]
    before = _place(visit.query.get("before"))
    principals = await principals_of(visit)
    page = await visit.ask(partial(_page, visit, session_id, principals, before))
    if page is None or (not page.entries and page.after is None and before is None):
        raise NotFound("There is no request of this session in the ledger.")
    if not page.entries:
        return visit.render("session_none.html", session_id=session_id, after=page.after)
    names = await visit.ask(lambda: names_of(visit, [entry.principal for entry in page.entries]))
    return visit.render(
        "session.html",
        session_id=session_id,
        after=page.after,
        is_first=before is None,
        **_told(page.entries, names),
    )


def _told(entries: list[Entry], names: Any) -> dict[str, Any]:  # noqa: ANN401  # of keys
    tops = tree_of(entries)
    latest = sorted(entries, key=lambda entry: entry.started_at, reverse=True)
    return {
        "tops": tops,
        "whole": together(entries),
        "entries": latest[:MAX_ROWS],
        "names": {entry.principal: shown_name(entry.principal, names) for entry in entries},
        "number": len(entries),
        "chart": _growth(latest[::-1]),
    }


def _growth(entries: list[Entry]) -> list[tuple[int, int, int, bool]]:
    """Of each request its input: read from the cache, written to it, uncached; whether it is a compaction."""
    found = []
    for entry in entries[-120:]:
        usage = entry.usage
        counts = (0, 0, 0)
        if usage is not None:
            counts = (
                usage.cache_read_input_tokens or 0,
                usage.cache_creation_input_tokens or 0,
                usage.input_tokens or 0,
            )
        found.append((*counts, entry.request_class == "compaction"))
    return found


def _page(
    visit: Visit, session_id: str, principals: list[str] | None, before: int | None
) -> EntryPage | None:
    """A page of a session's entries that the caller sees, latest first; `None` if there are none at all.

    Of a page without entries the next one may have some, if there is a next one.
    """
    span = visit.backing.store.sessions.span(session_id, principals)
    if span is None:
        return None
    own = None if principals is None else tuple(principals)
    wanted = Filter(session_id=session_id, principals=own, start=span[0], end=span[1])
    page = EntryPage([], None if before is None else Cursor(before))
    for _ in range(MAX_STEPS):
        page = visit.backing.store.read.page(wanted, limit=MAX_REQUESTS, after=page.after)
        if page.entries or page.after is None:
            break
    return page


def _place(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 19 or int(text) > LAST_PLACE:
        raise InvalidRequest("`before` is no place of a list; begin with the newest.")
    return int(text)
