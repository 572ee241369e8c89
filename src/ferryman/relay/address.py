"""The address of the client, also where proxies stand between it and us."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from functools import lru_cache

from ferryman.hosts import TrustedProxies
from ferryman.http1.message import Fields
from ferryman.http1.peer import UNIX
from ferryman.wire.names import FORWARDED_FOR

MAX_HOPS = 32
"""Addresses that are read of one request; chains of proxies have two or three."""

MAX_HEADER_BYTES = 2_048
"""What is read of the header, from its right end: 32 members of at most 55 bytes (an IPv6 address with an
IPv4 tail, brackets, port, comma and space) need 1,760."""

CACHED_ADDRESSES = 1_024
"""Pairs of peer and header that are remembered, at most 2 MiB: a proxy sends many requests of few clients."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressOf = Callable[[str, Fields], str | None]


def address_reader(trusted: TrustedProxies | None) -> AddressOf:
    """What tells the client's address from a connection's peer and a request's headers.

    Args:
        trusted: peers whose `X-Forwarded-For` counts; with `None` the header is never looked at.
    """
    if trusted is None:
        return lambda peer, _: peer or None

    @lru_cache(CACHED_ADDRESSES)
    def remembered(peer: str, forwarded_for: bytes) -> str:
        return client_address(peer, forwarded_for, trusted)

    def read(peer: str, fields: Fields) -> str | None:
        values = fields.values(FORWARDED_FOR)
        return (remembered(peer, _right_end(b",".join(values))) if values else peer) or None

    return read


def client_address(peer: str, forwarded_for: bytes, trusted: TrustedProxies) -> str:
    """The address of the client on whose behalf `peer` calls.

    Each proxy appends whom it was called by, so the header is read from its right end, as far as the
    addresses are those of trusted proxies; the first one beyond them is the client's. nginx does the
    same under `real_ip_recursive on`. What stands further left may be made up.

    Args:
        peer: the address of the connection's other end, or `UNIX`.
        forwarded_for: the values of `X-Forwarded-For`, all lines in order, joined by commas.
        trusted: peers whose word counts.

    Returns:
        An address in its canonical form, or `peer` as it is. What is malformed ends the reading: the
        last good address counts.
    """
    found = address_in(peer)
    if not (trusted.unix if peer == UNIX else found is not None and is_trusted(found, trusted)):
        return peer
    result = peer
    for member in _members(_right_end(forwarded_for)):
        found = address_in(member)
        if found is None:
            break
        result = str(found)
        if not is_trusted(found, trusted):
            break
    return result


def is_proxy(peer: str, trusted: TrustedProxies | None) -> bool:
    """Whether many clients come through `peer`: a trusted proxy, or whoever uses our Unix socket."""
    found = address_in(peer)
    return peer == UNIX or (trusted is not None and found is not None and is_trusted(found, trusted))


def is_trusted(address: Address, trusted: TrustedProxies) -> bool:
    """Whether `address` is that of a trusted proxy."""
    return any(address in network for network in trusted.networks)


def address_in(text: str) -> Address | None:
    """The address that a member of `X-Forwarded-For` names, `None` if it is malformed.

    Known forms: an IPv4 or IPv6 address, `v4:port`, `[v6]` and `[v6]:port`. An IPv4 address that is
    mapped into IPv6 comes out as IPv4. Names of interfaces (`fe80::1%eth0`) are taken of nobody: they
    mean nothing on another machine, and may be of any length.
    """
    host, port = text, ""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or port[:1] not in {"", ":"} or ":" not in host:
            return None
        if port and not _is_port(port[1:]):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _is_port(port):
            return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id is not None else address.ipv4_mapped or address
    return address


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535


def _right_end(value: bytes) -> bytes:
    """The end of `value` that is read, without a member that is cut into."""
    return value if len(value) <= MAX_HEADER_BYTES else value[-MAX_HEADER_BYTES:].partition(b",")[2]


def _members(value: bytes) -> Iterator[str]:
    """The members of a list header from its right end; empty ones don't count (RFC 9110, section 5.6.1)."""
    members = (member.strip(" \t") for member in reversed(value.decode("latin-1").split(",")))
    for _, member in zip(range(MAX_HOPS), filter(None, members), strict=False):
        yield member
