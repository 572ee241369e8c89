"""The other end of a client connection: who it is, as the kernel tells it, and how it is left."""

from __future__ import annotations

import asyncio
import socket
import struct

UNIX = "unix"
"""Stands for the peer of a Unix socket, which has no address."""

_RESET = struct.pack("ii", 1, 0)  # linger for 0 seconds: what is unsent is dropped, and a reset goes out


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address at the other end of `transport`.

    Returns:
        An IPv4 or IPv6 address as text, `UNIX`, or nothing if the client had gone before we could ask.
    """
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return str(peer[0])
    return UNIX if isinstance(transport.get_extra_info("sockname"), str | bytes) else ""


def reset(transport: asyncio.Transport) -> None:
    """Reset the connection: a mere close would be the clean end of an answer that ends with it."""
    sock = transport.get_extra_info("socket")
    if sock is not None:  # with TLS it may be closed before we are told
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def half_close(transport: asyncio.Transport) -> None:
    """Send our end, and go on reading.

    TLS has no half-closed state here, and a close would lose the answer to a client that still sends: it
    closes itself once it has read the answer, or is cut at its deadline.
    """
    if not transport.can_write_eof():
        return
    try:
        transport.write_eof()
    except OSError:  # asyncio passes on that a client has reset its connection meanwhile
        transport.abort()
