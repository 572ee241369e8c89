"""The head of the answer, and answers of our own."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import Final

import msgspec

from ferryman import __version__
from ferryman.errors import RelayError, error_body, error_headers
from ferryman.http1.fields import NOT_PASSED_ON
from ferryman.model import Cost
from ferryman.translate.chat_error import chat_error

MAX_VALUE: Final = 200
"""Characters of a client's own words in a header of ours."""

CACHED_VALUES = 256
"""Models are few; of `MAX_VALUE` characters each they take 0.1 MB at most."""

_COSTS = frozenset({b"x-ferryman-cost-usd", b"x-litellm-response-cost"})
_OWN = frozenset({b"x-ferryman-request-id", b"x-ferryman-model", b"x-ferryman-mutations"}) | _COSTS
DROPPED = NOT_PASSED_ON | _OWN
"""Names (lower case) of the response headers that don't go to the client."""


def relayed_fields(
    kept: bytes, request_id: str, model: str | None, mutations: str, cost: Cost | None
) -> bytes:
    """The header lines of a relayed answer, each behind a CRLF: the upstream's in their order, then ours.

    Args:
        kept: the upstream's, as they are passed on.
        request_id: ours, a UUID.
        model: as resolved, `None` where the request names none that we read.
        mutations: what was changed on the way, or `none`.
        cost: `None` if it is not known yet, or nothing.
    """
    named = b"" if model is None else b"\r\nx-ferryman-model: " + header_value(model[:MAX_VALUE])
    if cost is not None:
        digits = str(cost.nanousd).rjust(10, "0")
        usd = f"{digits[:-9]}.{digits[-9:]}".encode()
        named += b"\r\nx-ferryman-cost-usd: %b\r\nx-litellm-response-cost: %b" % (usd, usd)
    return b"%b\r\nx-ferryman-request-id: %b%b\r\nx-ferryman-mutations: %b" % (
        kept, request_id.encode(), named, mutations.encode(),
    )  # fmt: skip


@lru_cache(CACHED_VALUES)
def header_value(text: str) -> bytes:
    """`text` as a header value: what a client chose must not end the line."""
    if not (text.isascii() and text.isprintable()):
        text = ascii(text)[1:-1]
    return text[:MAX_VALUE].encode()


def own_fields(headers: list[tuple[bytes, bytes]], request_id: str) -> bytes:
    """The header lines of an answer of our own. `request-id` is what SDKs show in their errors."""
    ours = request_id.encode()
    date = (b"date", formatdate(usegmt=True).encode())
    ids = [(b"request-id", ours), (b"x-ferryman-request-id", ours)]
    return b"".join(b"\r\n%b: %b" % header for header in [*headers, date, *ids])


def error_answer(error: RelayError, request_id: str, *, chat: bool = False) -> tuple[bytes, bytes]:
    """Header lines and body that tell a client of `error`, in Anthropic's shape, or OpenAI's for a `chat`."""
    headers = error_headers(error)
    if not chat:
        return own_fields(headers, request_id), error_body(error, request_id)
    headers.append((b"x-request-id", request_id.encode()))
    return own_fields(headers, request_id), chat_error(error)


def error_event(error: RelayError, request_id: str) -> bytes:
    """`error` as an event of a stream that has begun."""
    return b"event: error\ndata: %b\n\n" % error_body(error, request_id)


def own_answer(path: str, request_id: str, state: str) -> tuple[int, bytes, bytes]:
    """Status, header lines and body for one of our own paths.

    Args:
        path: which.
        request_id: ours.
        state: of the line; see `Line.state`.
    """
    status = 200
    if path == "/health/readiness":
        status = 200 if state == "ready" else 503
        body = {"status": state, "version": __version__}
    elif path.startswith("/health"):
        body = {"status": "healthy"}
    elif path == "/api/hello":
        body = {"message": "hello"}
    elif path == "/version":
        body = {"version": __version__}
    else:
        body = {
            "name": "ferryman",
            "version": __version__,
            "relays": "/anthropic/* and /v1/*",
            "health": "/health",
        }
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return status, own_fields(headers, request_id), msgspec.json.encode(body)
