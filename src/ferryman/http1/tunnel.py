"""A way through an HTTP proxy to a host behind it (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import asyncio
import socket

import httptools

from ferryman.errors import UpstreamUnreachable
from ferryman.hosts import authority_of
from ferryman.http1.origin import Origin, Proxy

MAX_HEAD_BYTES = 8192
"""Head of a proxy's answer; those of squid and tinyproxy are below 1 KiB, nginx takes 8 of its own."""


async def open_tunnel(sock: socket.socket, proxy: Proxy, origin: Origin) -> None:
    """Have `proxy`, to which `sock` is connected, connect it to `origin`. The caller bounds the time.

    Raises:
        UpstreamUnreachable: the proxy refuses, or answers what it must not.
        OSError: the connection is lost.
    """
    loop = asyncio.get_running_loop()
    target = authority_of(origin.host, origin.port).encode()
    asking = b"CONNECT %b HTTP/1.1\r\nhost: %b%b\r\n\r\n" % (target, target, proxy.header)
    await loop.sock_sendall(sock, asking)
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) >= MAX_HEAD_BYTES:
            raise _invalid(proxy, origin, f"the head of its answer is larger than {MAX_HEAD_BYTES} bytes")
        data = await loop.sock_recv(sock, MAX_HEAD_BYTES - len(head))
        if not data:
            raise _invalid(proxy, origin, "it closed the connection without a whole answer")
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    try:
        status = _Answer(head + b"\r\n\r\n").status
    except httptools.HttpParserError as error:
        raise _invalid(proxy, origin, f"its answer is not valid HTTP/1.1: {error}") from error
    if not 200 <= status < 300:
        raise _refused(proxy, origin, status)
    if rest:  # the upstream speaks only after we have: whatever it is, it is not the upstream's
        raise _invalid(proxy, origin, f"{len(rest)} bytes follow its answer that nobody asked for")


class _Answer:
    """The status of a whole head, as llhttp reads it; lengths in it mean nothing here."""

    def __init__(self, head: bytes) -> None:
        """Raises HttpParserError if it isn't one."""
        self.status = 0
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserError:
            if not self.status:  # else it is about what a body would need, and there is none
                raise
        if not self.status:
            raise httptools.HttpParserError("its head is not whole")

    def on_headers_complete(self) -> None:
        """The head is accepted."""
        self.status = self._parser.get_status_code()


def _refused(proxy: Proxy, origin: Origin, status: int) -> UpstreamUnreachable:
    way_out = "check `upstream_proxy` (or HTTPS_PROXY), and that the proxy lets this machine through"
    if status == 407:
        way_out = "check the user name and the password in `upstream_proxy` (or HTTPS_PROXY)"
    return UpstreamUnreachable(
        f"The proxy {proxy} refused the way to the upstream {origin} with status {status}; {way_out}."
    )


def _invalid(proxy: Proxy, origin: Origin, what: str) -> UpstreamUnreachable:
    check = "check that `upstream_proxy` (or HTTPS_PROXY) names an HTTP proxy"
    return UpstreamUnreachable(f"No way to the upstream {origin} through the proxy {proxy}: {what}; {check}.")
