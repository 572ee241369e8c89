"""What entries are told apart by in metrics: few values, whatever clients send. Decides only."""

from __future__ import annotations

import re

from ferryman.model import SETTLEMENT

OTHER = "(other)"

MESSAGES = "messages"

_ENDPOINT = re.compile(
    r"(?:/anthropic)?/v1/(?:messages/(?P<below>count_tokens|batches)(?:/.*)?"
    r"|(?P<first>messages|chat/completions|models|files|skills|sessions)(?:/.*)?)"
)

_CLASSES = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    413: "request_too_large",
    429: "rate_limit",
    500: "api_error",
    504: "timeout",
    529: "overloaded",
}
"""By status; the words of Anthropic's `error.type` without their ends."""

_SIDES = {
    "client_gone": "client",
    "upstream_error": "upstream",
    "timeout": "upstream",
    "shutdown": "ferryman",
    "internal_error": "ferryman",
    "interrupted": "ferryman",
}

_UPSTREAMS_OWN = frozenset({401, 403, 429})
"""Relayed, these are about the server's key, or about the upstream's limits; other 4xx about the request."""


def endpoint_of(path: str) -> str:
    """The API that a path belongs to, such as `messages` or `batches`; `SETTLEMENT` stands for none."""
    if path == SETTLEMENT:
        return "settlement"
    found = _ENDPOINT.fullmatch(path)
    return OTHER if found is None else found["below"] or found["first"]


def error_of(status: int, ended: str) -> tuple[str, str] | None:
    """What went wrong, and whose side it was on: `client`, `ferryman` or `upstream`; `None` if nothing did.

    Args:
        status: what the client was answered with, 0 for no answer.
        ended: see `ferryman.model.Ended`.
    """
    if ended in _SIDES:
        return ended, _SIDES[ended]
    if ended == "done" and 0 < status < 400:
        return None
    kind = _CLASSES.get(status) or f"{status // 100}xx"
    if ended == "refused":
        return kind, "client" if status < 500 else "ferryman"
    return kind, "upstream" if status >= 500 or status in _UPSTREAMS_OWN else "client"
