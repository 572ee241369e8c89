"""The entries of the ledger: filtered, page by page, live, as CSV, and one in full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from ferryman.console.own import names_of, own_keys, shown_name
from ferryman.console.table_file import csv_head, csv_rows
from ferryman.console.visit import Page, Visit
from ferryman.control.spend_query import PageQuery, checked, page_query
from ferryman.errors import InvalidRequest, NotFound, PermissionDenied
from ferryman.model import Entry
from ferryman.pricing.explain import explain
from ferryman.store.bodies import Body, Kind
from ferryman.store.read import MAX_PAGE, Cursor, Filter
from ferryman.store.read import Page as EntryPage

PATH = "/ui/requests"
PAGE_SIZE = 50

MAX_CSV_ROWS = 100_000
"""Of one file; who needs more narrows the dates, or takes `/spend/logs/v2` page by page."""

MAX_EMPTY_PAGES = 20
"""In which a filter that few entries meet is looked for, 0.1 s each, before an empty page is shown."""

FILTERS = (
    "start_date", "end_date", "principal", "model", "end_user", "session_id", "tag", "outcome", "min_spend",
    "request_id",
)  # fmt: skip
OWN = ("principal", "outcome", "tag")
"""Those of them that `/spend/logs/v2` does not have, or has otherwise."""

OUTCOMES = (("", "all"), ("success", "good"), ("failure", "failed"))


class Wanted(NamedTuple):
    """What is looked for.

    Attributes:
        given: the fields of the form that have a value.
        filter: of entries.
        after: where the page before ended, `None` for the newest.
    """

    given: dict[str, str]
    filter: Filter
    after: Cursor | None


def pages() -> list[Page]:
    """The list, its CSV, and one entry."""
    return [
        Page(PATH, show_list),
        Page(f"{PATH}.csv", show_csv),
        Page(f"{PATH}/{{entry_id}}", show_one),
    ]


async def show_list(visit: Visit) -> Response:
    """A page of entries, newest first; with `live` it asks for itself every few seconds."""
    keys = await own_keys(visit)
    problem = None
    try:
        wanted = _wanted(visit, keys)
    except InvalidRequest as error:
        problem = error.message
        given = {name: value for name, value in _given(visit.query).items() if "\x00" not in value}
        wanted = Wanted(given, Filter(id="none", principal=_default_key(visit, keys)), None)
    page = await visit.ask(partial(_page, visit, wanted)) if problem is None else EntryPage([], None)
    names = await visit.ask(lambda: names_of(visit, [entry.principal for entry in page.entries]))
    if wanted.given.get("principal") and not keys:
        names |= await visit.ask(lambda: names_of(visit, [wanted.given["principal"]]))
    return visit.render(
        "requests.html",
        entries=page.entries,
        names={entry.principal: shown_name(entry.principal, names) for entry in page.entries},
        chosen=shown_name(wanted.given.get("principal"), names),
        keys=keys,
        given=wanted.given,
        outcomes=OUTCOMES,
        older=None if page.after is None else urlencode({**wanted.given, "cursor": str(page.after)}),
        query=urlencode(wanted.given),
        is_first=wanted.after is None,
        is_live="live" in visit.query and wanted.after is None,
        problem=problem,
        status=200 if problem is None else 400,
    )


async def show_csv(visit: Visit) -> Response:
    """All that the filter lets through, as a file."""
    wanted = _wanted(visit, await own_keys(visit))
    first = await visit.ask(partial(_page, visit, wanted, MAX_PAGE))
    headers = {"content-disposition": 'attachment; filename="requests.csv"'}
    return StreamingResponse(_lines(visit, wanted, first), media_type="text/csv", headers=headers)


async def _lines(visit: Visit, wanted: Wanted, page: EntryPage) -> AsyncIterator[bytes]:
    """The file, a page at a time: as fast as it is taken, and no more of it in memory."""
    yield csv_head()
    written = 0
    while True:
        yield csv_rows(page.entries)
        written += len(page.entries)
        if page.after is None or written >= MAX_CSV_ROWS:
            return
        following = wanted._replace(after=page.after)
        page = await visit.ask(partial(_page, visit, following, MAX_PAGE))


async def show_one(visit: Visit) -> Response:
    """One entry, with each line of its cost."""
    entry_id = visit.request.path_params["entry_id"]
    entry = await visit.ask(lambda: visit.backing.store.read.entry(entry_id))
    keys = await own_keys(visit)
    is_hidden = entry is not None and keys and entry.principal not in {key["token"] for key in keys}
    if entry is None or is_hidden or not (visit.caller.sees_all or keys):
        raise NotFound("There is no such request. It is stored some moments after its end.")
    if visit.caller.sees_all:
        visit.check("GET", "/spend/logs/v2")
    names = await visit.ask(lambda: names_of(visit, [entry.principal]))
    bodies = await visit.ask(lambda: _bodies(visit, entry.id)) if _sees_bodies(visit) else []
    return visit.render(
        "request.html",
        entry=entry,
        name=shown_name(entry.principal, names),
        is_key=entry.principal in names,
        lines=[] if entry.cost is None else explain(entry.cost),
        parts=_parts(entry),
        notes=_notes(entry),
        bodies=bodies,
    )


def _page(visit: Visit, wanted: Wanted, limit: int = PAGE_SIZE) -> EntryPage:
    """A page that has something on it if there is something."""
    page = EntryPage([], wanted.after)
    for _ in range(MAX_EMPTY_PAGES):
        page = visit.backing.store.read.page(wanted.filter, limit=limit, after=page.after)
        if page.entries or page.after is None:
            break
    return page


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name] for name in FILTERS if name in query}


def _wanted(visit: Visit, keys: list[dict[str, Any]]) -> Wanted:
    """What the query asks for, as `/spend/logs/v2` reads it.

    Raises:
        InvalidRequest: a value cannot be used.
    """
    if visit.caller.sees_all:
        visit.check("GET", "/spend/logs/v2")
    given = _given(visit.query)
    checked(QueryParams({name: given[name] for name in OWN if name in given}), OWN)
    if not visit.caller.sees_all:
        own = {key["token"] for key in keys}
        if given.get("principal") not in own:
            given["principal"] = _default_key(visit, keys)
    asked = {name: value for name, value in given.items() if name not in OWN}
    if "cursor" in visit.query:
        asked["cursor"] = visit.query["cursor"]
    query: PageQuery = page_query(QueryParams(asked))
    outcome = given.get("outcome")
    found = msgspec.structs.replace(
        query.wanted,
        principal=given.get("principal"),
        tag=given.get("tag"),
        outcome=outcome if outcome in {"success", "failure"} else None,
    )
    return Wanted(given, found, query.cursor)


def _default_key(visit: Visit, keys: list[dict[str, Any]]) -> str:
    """Whose entries are shown first to a caller that sees its own keys only."""
    return visit.caller.key_id or (keys[0]["token"] if keys else "")


def _parts(entry: Entry) -> dict[str, float]:
    """Where the time went, in shares of 100: until the first byte, then the answer."""
    whole = max(entry.duration_seconds, 1e-9)
    first = min(entry.time_to_first_byte_seconds or whole, whole)
    own = min(entry.overhead_seconds or 0.0, first)
    return {
        "own": 100 * own / whole,
        "wait": 100 * (first - own) / whole,
        "flow": 100 * (whole - first) / whole,
    }


class ShownBody(NamedTuple):
    """A body as it is shown.

    Attributes:
        title: of its panel.
        told: what `ferryman.store.bodies` has of it.
        text: with a line for each member.
    """

    title: str
    told: Body
    text: str


def _sees_bodies(visit: Visit) -> bool:
    """Whether the API would tell them."""
    if visit.caller.role != "admin":
        return False
    try:
        visit.check("GET", f"/spend/logs/ui/{visit.request.path_params['entry_id']}")
    except PermissionDenied:
        return False
    return True


def _bodies(visit: Visit, entry_id: str) -> list[ShownBody]:
    """What is kept of the bodies of an entry."""
    kept = visit.backing.store.bodies.of(entry_id)
    titles: tuple[tuple[Kind, str], ...] = (("request", "What was asked"), ("response", "What was answered"))
    return [
        ShownBody(title, kept[kind], msgspec.json.format(kept[kind].text, indent=2))
        for kind, title in titles
        if kind in kept
    ]


def _notes(entry: Entry) -> str | None:
    if entry.spend_logs_metadata is None:
        return None
    return msgspec.json.format(msgspec.json.encode(entry.spend_logs_metadata), indent=2).decode()
