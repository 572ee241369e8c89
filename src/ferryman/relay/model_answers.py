"""Answers about models: Anthropic's list and OpenAI's, of the same models. Decides only.

Who sends no `anthropic-version` is taken for a client of OpenAI's, and gets Anthropic's fields beside: Claude
Code, too, sends none where it looks for models.
Source: anthropic 2.12.0, types/model_info.py and resources/models.py; openai 2, types/model.py;
argo-proxy 2.8.9, models.py, `OpenAIModel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from ferryman.aliases import Model
from ferryman.errors import InvalidRequest, NotFound
from ferryman.relay.admit import shown
from ferryman.relay.values import Route

USUAL_LIMIT = 20
MOST = 1_000
"""Anthropic's numbers of models on a page."""

MAX_PARAMETERS = 100
"""Of a query; Anthropic knows three."""

UNKNOWN_DAY = "1970-01-01T00:00:00Z"
"""What the API itself gives where it does not know the day."""

OWNERS = {"claude": "anthropic", "gpt": "openai", "ada": "openai", "v3": "openai", "gemini": "google"}
"""By the beginning of an id; argo-proxy tells them apart so."""

_PATH = re.compile(rb"/v1/models(?:/(.+?))?/?")
_encode = msgspec.json.Encoder().encode


class ModelsAsked(NamedTuple):
    """What somebody wants to know of models.

    Attributes:
        model: one of them; empty for the list.
        query: the parameters, the last of each.
    """

    model: str
    query: Mapping[str, str]


def asked_of(route: Route) -> ModelsAsked | None:
    """What a request on `route` wants to know of models; `None` if it is about something else, or relayed.

    Raises:
        InvalidRequest: it has more parameters than are read.
    """
    if not route.path.startswith("/v1/models"):
        return None
    path, _, query = route.target.partition(b"?")
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    if query.count(b"&") >= MAX_PARAMETERS:
        raise InvalidRequest(f"The query has more than {MAX_PARAMETERS} parameters.")
    parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    return ModelsAsked(
        unquote((found[1] or b"").decode("latin-1")),
        {name: values[-1] for name, values in parameters.items()},
    )


def listed(
    asked: ModelsAsked,
    models: Sequence[Model],
    aliases: Mapping[str, str],
    target: str,
    *,
    is_anthropics: bool,
) -> bytes:
    """The JSON of the answer.

    Args:
        asked: what is wanted.
        models: that the caller may ask for.
        aliases: of them, and of models that no list has.
        target: the model that is wanted, resolved.
        is_anthropics: the shape is wanted that Anthropic's clients know.

    Raises:
        InvalidRequest: a parameter cannot be used.
        NotFound: there is no such model for this caller.
    """
    by_id = {model.id: model for model in models}
    for alias, model in aliases.items():
        by_id.setdefault(alias, by_id.get(model, Model(model)))
    if asked.model:
        found = by_id.get(target) or by_id.get(asked.model)
        if found is None:
            raise NotFound(f"model: `{shown(asked.model)}`; `GET /v1/models` lists those that there are.")
        return _encode(_row(found.id, found, is_anthropics=is_anthropics))
    names = list(by_id)
    first, last = _span(asked.query, names, all_of_them=not is_anthropics)
    rows = [_row(name, by_id[name], is_anthropics=is_anthropics) for name in names[first:last]]
    more = first > 0 if "before_id" in asked.query else last < len(names)
    page = {
        "data": rows,
        "first_id": rows[0]["id"] if rows else None,
        "has_more": more,
        "last_id": rows[-1]["id"] if rows else None,
    }
    return _encode(page if is_anthropics else {"object": "list", **page})


def _span(query: Mapping[str, str], names: Sequence[str], *, all_of_them: bool) -> tuple[int, int]:
    """Which of `names` are on the page: from the one on, and before the other."""
    told = query.get("limit", str(len(names) or 1) if all_of_them else str(USUAL_LIMIT))
    if not (told.isascii() and told.isdigit() and len(told) < 6 and int(told) >= 1) or (
        "limit" in query and int(told) > MOST
    ):
        raise InvalidRequest(f"limit: `{shown(told)}` is not a whole number from 1 to {MOST}.")
    limit = int(told)
    if "after_id" in query and "before_id" in query:
        raise InvalidRequest("after_id, before_id: only one of the two can be used.")
    for name in ("after_id", "before_id"):
        if name in query:
            try:
                at = names.index(query[name])
            except ValueError:
                raise InvalidRequest(f"{name}: `{shown(query[name])}` is not in the list.") from None
            if name == "before_id":
                return max(0, at - limit), at
            return at + 1, min(len(names), at + 1 + limit)
    return 0, min(len(names), limit)


def _row(name: str, model: Model, *, is_anthropics: bool) -> dict[str, Any]:
    row: dict[str, Any]
    if memoryview(model.data).nbytes:
        row = msgspec.json.decode(model.data)
        row["id"] = name
    else:
        row = {
            "type": "model",
            "id": name,
            "display_name": model.display_name or name,
            "created_at": model.created_at or UNKNOWN_DAY,
            "lifecycle": "active",
            "max_input_tokens": None,
            "max_tokens": None,
            "capabilities": None,
        }
    if is_anthropics:
        return row
    owner = next((owner for start, owner in OWNERS.items() if model.id.startswith(start)), None)
    row |= {
        "object": "model",
        "created": _unix_time(model.created_at),
        "owned_by": owner or model.upstream or "ferryman",
        "internal_name": model.id,
    }
    return row


def _unix_time(text: str) -> int:
    try:
        return max(0, int(datetime.fromisoformat(text).timestamp()))
    except ValueError:
        return 0
