"""How a new connection comes to be: addresses, TCP, perhaps a proxy, perhaps TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TypeVar

from aiohappyeyeballs import start_connection

from ferryman.errors import RelayError, Unavailable, UpstreamTimeout, UpstreamUnreachable
from ferryman.http1.origin import Origin, Proxy
from ferryman.http1.resolve import Resolver
from ferryman.http1.tunnel import open_tunnel

HEAD_START_SECONDS = 0.25
"""What an address is given before the next is tried beside it (RFC 8305, section 8)."""

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Connects to one upstream."""

    def __init__(
        self, origin: Origin, resolver: Resolver, *, tls: ssl.SSLContext | None, proxy: Proxy | None = None
    ) -> None:
        """Open nothing yet.

        Args:
            origin: the upstream.
            resolver: has the addresses of the proxy if there is one, else those of the upstream.
            tls: how to verify the upstream, `None` for plain TCP.
            proxy: on the way; `None` for none. Requests over plain TCP are then the proxy's, so that
                their targets have to be in absolute form (RFC 9112, section 3.2.2).
        """
        self.origin = origin
        self._resolver = resolver
        self._tls = tls
        self._proxy = proxy

    def __repr__(self) -> str:
        return f"<Dialer {self}>"

    def __str__(self) -> str:
        return str(self.origin) if self._proxy is None else f"{self.origin} through the proxy {self._proxy}"

    async def dial(self, make: Callable[[], P]) -> P:
        """A connection with the protocol that `make` returns. The caller bounds the time.

        Raises:
            OSError: there is none.
            ssl.CertificateError: the upstream's certificate is for another name.
            UpstreamUnreachable: the proxy is not reached, or refuses.
        """
        if self._proxy is None:
            return await self._upgrade(await self._connect(), make)
        with _leg_to(self._proxy, self.origin):
            sock = await self._connect()
            if self._tls is not None:
                try:
                    await open_tunnel(sock, self._proxy, self.origin)
                except BaseException:
                    sock.close()
                    raise
        return await self._upgrade(sock, make)

    async def close(self) -> None:
        """Give up what still looks for addresses."""
        await self._resolver.close()

    async def _connect(self) -> socket.socket:
        found = await self._resolver.addresses()
        sock = await start_connection(found, happy_eyeballs_delay=HEAD_START_SECONDS)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            sock.close()  # the library has swallowed it, while it ended the attempts that lost
            raise asyncio.CancelledError
        return sock

    async def _upgrade(self, sock: socket.socket, make: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        name = self.origin.host if self._tls is not None else None
        # From here on `sock` is the loop's, which closes it when this fails or is given up.
        _, protocol = await loop.create_connection(make, sock=sock, ssl=self._tls, server_hostname=name)
        return protocol


class UnixDialer:
    """Connects to Ferryman's control plane on this machine."""

    def __init__(self, path: str) -> None:
        self.origin = Origin("unix", "control plane", 0)
        self._path = path

    def __repr__(self) -> str:
        return f"<UnixDialer {self._path}>"

    def __str__(self) -> str:
        return f"unix:{self._path}"

    async def dial(self, make: Callable[[], P]) -> P:
        """A connection with the protocol that `make` returns.

        Raises:
            Unavailable: nobody listens.
        """
        try:
            _, protocol = await asyncio.get_running_loop().create_unix_connection(make, self._path)
        except OSError as error:
            raise Unavailable(
                "Ferryman's control plane is being started, and this path is answered by it; "
                "try again in a moment. Requests to the upstream go on without it."
            ) from error
        return protocol

    async def close(self) -> None:
        """Nothing is under way outside of `dial`."""


@contextlib.contextmanager
def _leg_to(proxy: Proxy, origin: Origin) -> Iterator[None]:
    """Say of a failure that it was on the way to the proxy."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        reason = reason_of(error, proxy.origin.host)
        raise UpstreamUnreachable(
            f"No connection to the proxy {proxy} on the way to the upstream {origin}: {reason}; "
            "check `upstream_proxy` (or HTTPS_PROXY) and that this machine reaches it."
        ) from error


def connect_error(error: Exception, dialer: Dialer | UnixDialer, connect_seconds: float) -> RelayError:
    """What a failed connect is to the client: which upstream, what happened, what to do."""
    if isinstance(error, RelayError):
        return error
    check = "check `upstream_url` and that this machine reaches it"
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(
            f"No connection to the upstream {dialer} within {connect_seconds:g} s "
            f"(`connect_timeout_seconds`); {check}."
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        check = "check `upstream_url`, this machine's CA store and `upstream_ca_file`"
    elif isinstance(error, ssl.SSLError):
        check = "check `upstream_url` and `upstream_client_cert_file`"
    reason = reason_of(error, dialer.origin.host)
    return UpstreamUnreachable(f"No connection to the upstream {dialer}: {reason}; {check}.")


def reason_of(error: Exception, host: str) -> str:
    """Why a connection to `host` failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return f"the name `{host}` does not resolve ({error.strerror})"
    number = getattr(error, "errno", None)  # the library puts addresses in the place of the reason
    return os.strerror(number).lower() if number else str(error) or type(error).__name__
