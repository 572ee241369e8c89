"""One file by its URL: addresses checked and kept to, redirects followed, every byte counted."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from ferryman import __version__
from ferryman.errors import RelayError
from ferryman.http1.client import ClientConnection
from ferryman.http1.dial import Dialer, reason_of
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader
from ferryman.http1.message import ResponseHead
from ferryman.http1.resolve import Lookup, Resolver
from ferryman.relay.fetch.target import Refused, Target, check_addresses, redirected, target_of
from ferryman.settings_images import ListedHost
from ferryman.wire.images import SIGNATURE_BYTES, WANTED, Kind, media_type_of

MAX_REDIRECTS = 3

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READER = FieldReader(NOT_PASSED_ON, {b"location", b"content-encoding"})
_HEAD = (
    "GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: ferryman/{version}\r\n"
    "accept: image/png,image/jpeg,image/gif,image/webp,application/pdf\r\n"
    "accept-encoding: identity\r\nconnection: close\r\n\r\n"
)
"""All that a server is told: no cookie, no credential, no page that we come from."""


class Bound(NamedTuple):
    """What a file is held to.

    Attributes:
        kind: of block that it is for.
        limit_bytes: its largest size.
        setting: that says so.
        on_bytes: is told of each part that comes, by its size in bytes.
    """

    kind: Kind
    limit_bytes: int
    setting: str
    on_bytes: Callable[[int], None]


class File(NamedTuple):
    """A file that has come, and what its first bytes say it is."""

    media_type: str
    data: bytearray


class Downloader:
    """Fetches files, each over a connection of its own; never through a proxy, which would look up names."""

    def __init__(
        self,
        *,
        seconds: float,
        listed: AbstractSet[ListedHost],
        monotonic: Callable[[], float],
        lookup: Lookup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is opened before it is asked for.

        Args:
            seconds: for one file.
            listed: the hosts that may have private addresses.
            monotonic: the clock, in seconds.
            lookup: finds the addresses of a name, or raises OSError.
            tls: how to verify servers, by default against this machine's authorities.
        """
        self._seconds = seconds
        self._listed = listed
        self._monotonic = monotonic
        self._lookup = lookup
        self._tls = tls if tls is not None else _tls_context()

    async def fetch(self, url: str, bound: Bound) -> File:
        """The file behind `url`.

        Raises:
            Refused: it may not be had, or could not.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(target_of(url, self._listed), bound)
        except TimeoutError:
            seconds = f"{self._seconds:g} s (`image_timeout_seconds`)"
            raise Refused(f"it has not come within {seconds}") from None

    async def _follow(self, target: Target, bound: Bound) -> File:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(target, bound)
            if isinstance(answer, File):
                return answer
            target = redirected(target, answer, self._listed)
        raise Refused(f"it redirects more than {MAX_REDIRECTS} times")

    async def _ask(self, target: Target, bound: Bound) -> File | str:
        """The file at `target`, or where its server sends us to."""
        origin = target.origin
        # One lookup for check and connection: what a name server says the second time nobody hears.
        resolver = Resolver(
            origin.host,
            origin.port,
            refresh_seconds=math.inf,
            monotonic=self._monotonic,
            lookup=self._lookup,
        )
        dialer = Dialer(origin, resolver, tls=self._tls if origin.scheme == "https" else None)
        try:
            check_addresses(await resolver.addresses(), is_listed=target.is_listed)
            connection = await dialer.dial(lambda: ClientConnection(_abort, _nothing, _READER))
        except (OSError, ssl.CertificateError) as error:
            raise _unconnected(target, error) from error
        finally:
            await dialer.close()
        try:
            if not connection.usable:
                raise Refused("its server closed the connection at once")
            receiver = _Receiver(bound)
            head = _HEAD.format(path=target.path, authority=origin.authority, version=__version__)
            connection.send(head.encode("ascii"), b"", receiver, bodiless=False)
            return await receiver.outcome
        finally:
            connection.abort()


class _Receiver:
    """Takes an answer, as far as it is one that we want."""

    def __init__(self, bound: Bound) -> None:
        self.outcome: asyncio.Future[File | str] = asyncio.get_running_loop().create_future()
        self._bound = bound
        self._data = bytearray()
        self._media_type: str | None = None

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Judge what came, until there is an outcome."""
        if self.outcome.done():
            return
        try:
            location = self._read_head(head) if head is not None else None
            if location is not None:
                self.outcome.set_result(location)
            else:
                self._take(data, end=end)
        except Refused as refusal:
            self.outcome.set_exception(refusal)

    def _read_head(self, head: ResponseHead) -> str | None:
        """Where a redirect leads to, `None` if a file follows."""
        if head.status in _REDIRECTS:
            found = head.fields.values(b"location")
            if len(found) != 1:
                raise Refused(f"its server answers with status {head.status} and no single `Location`")
            return found[0].decode("utf-8", "replace")  # as browsers do
        if head.status != 200:
            raise Refused(f"its server answers with status {head.status}")
        codings = head.fields.values(b"content-encoding")
        if any(coding.lower() not in {b"", b"identity"} for coding in codings):
            raise Refused("its server sends it compressed, though that was not asked for")
        if head.length is not None and head.length > self._bound.limit_bytes:
            raise self._too_large()
        return None

    def _take(self, data: bytes, *, end: bool) -> None:
        self._data += data
        if self._media_type is None and (end or len(self._data) >= SIGNATURE_BYTES):
            self._media_type = media_type_of(self._data, self._bound.kind)
            if self._media_type is None:
                raise Refused(f"by its first bytes it is no {WANTED[self._bound.kind]} file")
        if len(self._data) > self._bound.limit_bytes:
            raise self._too_large()
        self._bound.on_bytes(len(data))  # which may give the download up
        if end and self._media_type is not None and not self.outcome.done():
            self.outcome.set_result(File(self._media_type, self._data))

    def _too_large(self) -> Refused:
        return Refused(f"it is larger than {self._bound.limit_bytes} bytes (`{self._bound.setting}`)")

    def on_upstream_blocked(self) -> None:
        """A request head is too short for that to matter."""

    def on_upstream_ready(self) -> None:
        """The same."""

    def on_upstream_lost(self, error: Exception | None, *, fresh: bool, answered: bool) -> None:
        """The answer will not be whole."""
        if self.outcome.done():
            return
        if isinstance(error, RelayError):
            self.outcome.set_exception(Refused("its server's answer is not valid HTTP/1.1"))
        else:
            self.outcome.set_exception(Refused("its server closed the connection before the end"))


def _unconnected(target: Target, error: Exception) -> Refused:
    return Refused(f"no connection to `{target.origin}`: {reason_of(error, target.origin.host)}")


def _abort(connection: ClientConnection) -> None:
    connection.abort()


def _nothing() -> None:
    """Nobody waits for the end of the connection."""


def _tls_context() -> ssl.SSLContext:
    """Verifies servers against this machine's authorities; shows none of our own certificates."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
