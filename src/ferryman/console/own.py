"""What a caller may see: everybody's, or what came with keys of its own; and how keys are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ferryman.console.visit import Visit
from ferryman.control.key_names import KeyNames, Named

MAX_OWN_KEYS = 100
"""Of a user, the newest: a page of `/key/list`."""


async def own_keys(visit: Visit) -> list[dict[str, Any]]:
    """The keys that the caller sees as its own, as `/key/list` tells them; none for who sees all."""
    if visit.caller.sees_all:
        return []
    told = await visit.perform("GET /key/list", return_full_object=True, size=MAX_OWN_KEYS)
    keys: list[dict[str, Any]] = told["keys"]
    return keys


async def principals_of(visit: Visit) -> list[str] | None:
    """Whose entries the caller sees, `None` for everybody's."""
    if visit.caller.sees_all:
        visit.check("GET", "/spend/logs/v2")
        return None
    return [key["token"] for key in await own_keys(visit)]


def names_of(visit: Visit, principals: Iterable[str | None]) -> dict[str, Named]:
    """How the keys among `principals` are called. Waits for the database."""
    return KeyNames(visit.backing.store.access).of(principals)


def shown_name(principal: str | None, names: Mapping[str, Named]) -> str:
    """What a principal is called on a page."""
    if not principal:
        return "nobody"
    named = names.get(principal)
    if named is None:
        return principal if len(principal) < 40 else f"{principal[:10]}…"
    return named.alias or named.name
