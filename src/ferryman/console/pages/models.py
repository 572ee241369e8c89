"""Models and prices: what is in force, what has no price of its own, and pricing that anew."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.responses import Response

from ferryman.console.aliases import named
from ferryman.console.figures import dearest, latest
from ferryman.console.visit import Page, Visit
from ferryman.errors import InvalidRequest, PermissionDenied
from ferryman.model import Cost, Entry
from ferryman.pricing.anew import priced_anew
from ferryman.pricing.catalog import FALLBACK, OVERRIDE, Catalog, Found
from ferryman.pricing.explain import dollars, price_lines
from ferryman.pricing.names import MAX_NAME_CHARACTERS
from ferryman.pricing.shapes import CLASSES
from ferryman.store import schema_access
from ferryman.store.access import Actor, Change
from ferryman.store.access_look import KEYS
from ferryman.store.access_rows import Key
from ferryman.store.read import Filter

PATH = "/ui/models"
DAYS = 90
"""In which models are looked for that have no price, and whose entries are priced anew."""

MAX_USED = 500
"""Models of those days that are looked at, the dearest."""

MAX_ALIASES = 200
"""On the page; a list of Argo's makes about a hundred."""

REPRICE_SECONDS = 15.0
"""Of work for one click; what is left after it takes another one. A worker gives up after a minute."""


class PriceRow(NamedTuple):
    """A model and its price, or one that applies to longer prompts.

    Attributes:
        rates: dollars per million tokens, one for each of `CLASSES`.
    """

    model: str
    above_tokens: int
    rates: tuple[str, ...]
    price_source: str
    source: str
    checked_on: str
    aliases: tuple[str, ...]
    is_retired: bool


def pages() -> list[Page]:
    """The page, and its one deed."""
    return [Page(PATH, show, sees_all=True), Page(f"{PATH}/reprice", reprice, "POST", sees_all=True)]


async def show(visit: Visit) -> Response:
    """The page."""
    return await _shown(visit, None)


async def _shown(visit: Visit, done: dict[str, Any] | None) -> Response:
    visit.check("GET", "/global/spend/models")
    catalog, period = visit.backing.catalog(), latest(DAYS, visit.now)
    ranked = await visit.ask(lambda: visit.figures().ranked(period, "model"))
    used = {one.name: one for one in dearest(ranked, "model", MAX_USED) if one.name}
    at = datetime.fromtimestamp(visit.now, UTC)
    told = visit.backing.models()
    aliases = named(visit.backing.settings, told, await visit.ask(lambda: _with_aliases(visit)))
    guessed = [(one, catalog.find(name).model.id) for name, one in used.items() if _is_guessed(catalog, name)]
    names = {*(model.id for model in catalog.models), *_own(visit)}
    spent = {name: used[name].cost_nanousd if name in used else -1 for name in names}
    ordered = sorted(names, key=lambda name: (-spent[name], catalog.find(name).model.retired, name))
    return visit.render(
        "models.html",
        rows=[row for name in ordered for row in _rows(catalog.find(name), name, at)],
        aliases=aliases[:MAX_ALIASES],
        further_aliases=max(len(aliases) - MAX_ALIASES, 0),
        listed=len(told.models),
        classes=[name.replace("_", " ") for name in CLASSES],
        revision=catalog.revision,
        web_search=dollars(catalog.web_search_picousd),
        used=used,
        guessed=guessed,
        days=DAYS,
        multipliers=list((visit.backing.settings.price_multipliers or {}).items()),
        overrides=list((visit.backing.settings.prices or {}).items()),
        can_change=visit.caller.role == "admin",
        done=done,
    )


def _with_aliases(visit: Visit) -> list[Key]:
    """Keys with names of models of their own, newest first."""
    with visit.backing.store.access.look() as look:
        keys: list[Key] = look.page(
            KEYS, [schema_access.keys.c.data.like('%"aliases":{"%')], limit=MAX_ALIASES
        ).records
    return [key for key in keys if key.aliases]


def _is_guessed(catalog: Catalog, name: str) -> bool:
    return catalog.find(name).source == FALLBACK


def _own(visit: Visit) -> set[str]:
    """Models that only the settings have a price for; patterns are none."""
    return {name for name in visit.backing.settings.prices or {} if "*" not in name}


def _rows(found: Found, name: str, at: datetime) -> list[PriceRow]:
    lines = list(price_lines(found, at))
    rows = []
    for start in range(0, len(lines), len(CLASSES)):
        tier = lines[start : start + len(CLASSES)]
        rates = tuple(line.dollars_per_million for line in tier)
        first = tier[0]
        source = "settings" if first.price_source == OVERRIDE else first.price_source
        rows.append(
            PriceRow(
                name,
                first.above_tokens,
                rates,
                source,
                first.source,
                first.checked_on.isoformat(),
                found.model.aliases,
                found.model.retired,
            )
        )
    return rows


async def reprice(visit: Visit) -> Response:
    """Price the entries of a model anew, with the prices in force."""
    if visit.caller.role != "admin":
        raise PermissionDenied("Only administrators price entries anew.")
    visit.check("GET", "/global/spend/models")
    model = visit.form.get("model", "")
    if not model:
        raise InvalidRequest("`model` is missing.")
    done = await visit.ask(lambda: _repriced(visit, model))
    visit.past.forget()
    if done["changed"]:
        await visit.ask(lambda: _note(visit, done))
    return await _shown(visit, done)


def _note(visit: Visit, done: dict[str, Any]) -> None:
    """Put into the audit log what was priced anew."""
    told = {"entries": done["changed"], "cost_nanousd": done["after"]}
    before = {"entries": done["changed"], "cost_nanousd": done["before"]}

    def note(change: Change) -> None:
        change.note("model", done["model"][:MAX_NAME_CHARACTERS], "repriced", told, before=before)

    actor = Actor(visit.caller.name, visit.client)
    visit.backing.store.access.change(actor, round(visit.now * 1e6), note)


def _repriced(visit: Visit, model: str) -> dict[str, Any]:
    """What was done within `REPRICE_SECONDS`, the oldest entries first; doing it again goes on."""
    store, catalog = visit.backing.store, visit.backing.catalog()
    end = datetime.fromtimestamp(visit.now, UTC)
    start = end - timedelta(days=DAYS)
    low, high = store.span_of_time(start, end)

    def price(entry: Entry) -> Cost | None:
        return priced_anew(entry, catalog)

    wanted = Filter(start=start, end=end, model=model)
    told: dict[str, Any] = {"model": model, "is_whole": True}
    told |= dict.fromkeys(("entries", "changed", "before", "after"), 0)
    at: int | None = low if low <= high else None
    begun = time.monotonic()
    while at is not None:
        if time.monotonic() - begun > REPRICE_SECONDS:
            return told | {"is_whole": False}
        step = store.reprice_step(price, wanted, (at, high))
        told["entries"] += sum(step.priced.values())
        told["changed"] += len(step.changes)
        told["before"] += sum(change.before_nanousd for change in step.changes)
        told["after"] += sum(change.after_nanousd for change in step.changes)
        at = step.next_place
    return told
