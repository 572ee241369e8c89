"""Header lists and the rules of RFC 9110 about them."""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes, bytes]
"""A received header: the name in lower case, the name as sent, the value as sent."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that speak of one connection only and are not passed on (RFC 9110, section 7.6.1)."""

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say where a body ends; generated anew on each side."""


def values_of(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """All values of the header `name` (lower case), in order."""
    return [value for lower, _, value in headers if lower == name]


def list_tokens(values: Iterable[bytes]) -> set[bytes]:
    """The members of a comma-separated header, in lower case, over all its lines."""
    return {token for value in values for part in value.split(b",") if (token := part.strip().lower())}


def nominated(headers: Iterable[Header]) -> set[bytes]:
    """Names that `Connection` declares to be hop-by-hop (RFC 9110, section 7.6.1)."""
    return list_tokens(values_of(headers, b"connection")) - {b"close", b"keep-alive"}


def first_text(headers: Iterable[Header], name: bytes) -> str | None:
    """The first value of the header `name` (lower case) as text, `None` if there is none."""
    for lower, _, value in headers:
        if lower == name:
            return value.decode("latin-1")
    return None
