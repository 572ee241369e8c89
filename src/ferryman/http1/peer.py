"""Who is at the other end of a client connection, as the kernel tells it."""

from __future__ import annotations

import asyncio

UNIX = "unix"
"""Stands for the peer of a Unix socket, which has no address."""


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address at the other end of `transport`.

    Returns:
        An IPv4 or IPv6 address as text, `UNIX`, or nothing if the client had gone before we could ask.
    """
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return str(peer[0])
    return UNIX if isinstance(transport.get_extra_info("sockname"), str | bytes) else ""
