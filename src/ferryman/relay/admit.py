"""What a virtual key may do: which routes, and which models. Limits and budgets are the gate's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ferryman.errors import InvalidRequest, NotFound, PermissionDenied
from ferryman.http1.client import Body
from ferryman.limits.patterns import compiled
from ferryman.model import Call
from ferryman.relay.keyring import Key
from ferryman.relay.values import Route
from ferryman.wire.names import CODING

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

if TYPE_CHECKING:
    from ferryman.relay.models import Models

MAX_SHOWN = 100
"""Characters of a client's own words in a message."""

CACHED_LISTS = 1024
"""Lists of routes that are kept as patterns: most keys share one."""


def admit_route(key: Key, route: Route, *, capped: bool) -> None:
    """Let a request on `route` go on.

    Organization and admin endpoints, and what is not below `/v1/`, are for keys that name them in
    `allowed_routes` only: with a credential that administers the organization they make keys and read
    everybody's usage, and nothing is known of the others. What costs money that no
    answer tells is not for keys with a budget or with a list of models.

    Args:
        key: whose it is.
        route: where it goes.
        capped: it has to keep to a budget.

    Raises:
        PermissionDenied: it is not for this key.
    """
    routes = key.spec.routes
    if routes is not None:
        path = unquote(route.path)
        pattern = _routes(tuple(routes))
        if not (pattern.fullmatch(path) or pattern.fullmatch(path.removeprefix("/anthropic"))):
            raise PermissionDenied(
                f"This key may not call `{route.path}`; `allowed_routes` has what it may call."
            )
    elif route.kind == "closed":
        raise PermissionDenied(
            f"`{route.path}` administers the organization, or is not part of the API, and is not for virtual "
            "keys; whoever runs the gateway can name it in the `allowed_routes` of a key."
        )
    if route.kind == "unmetered" and (capped or key.allowed):
        has = "a budget" if capped else "a list of models"
        raise PermissionDenied(
            f"What `{route.path}` costs, and which model it asks, cannot be told; it is not for a key with "
            f"{has}."
        )


def admit_models(
    key: Key, route: Route, call: Call, batch: frozenset[str] | None, models: Models | None = None
) -> None:
    """Let a call go on to the models that it asks for.

    Args:
        key: whose it is.
        route: where it goes.
        call: what its body says.
        batch: the models that a batch asks for, empty if they cannot be read; `None` for no batch.
        models: tell what the names in its allow-lists mean, `None` where each means itself.

    Raises:
        NotFound: a model is not for this key; Anthropic answers so where there is none of that name.
        PermissionDenied: which models it asks for cannot be read.
    """
    if not key.allowed:
        return
    if route.reads_call:
        names: Iterable[str] = () if call.model is None else (call.model,)
    elif batch is not None:
        names = sorted(batch)
    else:
        return
    if not names:
        raise PermissionDenied("This key is for some models only, and the request's model cannot be read.")
    for name in names:
        if not (key.may_ask(name) if models is None else models.may_ask(key, name)):
            raise NotFound(f"model: `{shown(name)}` is not for this key; `models` has what it may ask for.")


def check_readable(exchange: Exchange, text: Body) -> None:
    """Let a call go on that is held to a budget: what it may cost can be told.

    Args:
        exchange: what is asked for.
        text: its body, without its content coding if that is one that can be decoded.

    Raises:
        InvalidRequest: it cannot.
    """
    if exchange.batch is not None and exchange.batch.asked is None:
        raise InvalidRequest("What this batch may cost cannot be told: it cannot be read; correct its body.")
    coding, route = exchange.request.fields.found.get(CODING, b"identity"), exchange.route
    # A chat has been translated: its text has no coding any more.
    is_packed = coding.lower() != b"identity" and not route.chat
    if is_packed and route.reads_call and text is exchange.body:
        raise InvalidRequest(
            f"What this call may cost cannot be told: `Content-Encoding: {shown(coding.decode('latin-1'))}` "
            "cannot be decoded here; send it without."
        )


def shown(text: str) -> str:
    """What a client wrote, short and in one line."""
    return text[:MAX_SHOWN].encode("unicode_escape").decode()


@lru_cache(CACHED_LISTS)
def _routes(names: tuple[str, ...]) -> re.Pattern[str]:
    return compiled(names)
