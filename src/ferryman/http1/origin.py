"""Where connections go: an upstream, and a proxy on the way to it."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes

from ferryman.hosts import authority_of


class Origin(NamedTuple):
    """Where an upstream listens."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as in a `Host` header, which leaves out the scheme's own port."""
        whole = authority_of(self.host, self.port)
        default = self.port == (443 if self.scheme == "https" else 80)
        return whole.removesuffix(f":{self.port}") if default else whole

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def origin_of(url: SplitResult) -> Origin:
    """The origin of a URL with a host, with the scheme's own port where it names none."""
    return Origin(url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80))


class Proxy:
    """An HTTP proxy.

    Attributes:
        origin: where it listens.
        header: the line with its credentials behind a CRLF, empty for none. Never shown.
    """

    __slots__ = ("header", "origin")

    def __init__(self, url: SplitResult) -> None:
        """Take apart `url`, whose user name and password may be percent-encoded (RFC 3986, 3.2.1)."""
        self.origin = origin_of(url)
        self.header = b""
        if url.username is not None:
            pair = b"%b:%b" % (unquote_to_bytes(url.username), unquote_to_bytes(url.password or ""))
            self.header = b"\r\nproxy-authorization: Basic " + b64encode(pair)  # RFC 7617

    def __str__(self) -> str:
        return str(self.origin)

    def __repr__(self) -> str:
        return f"<Proxy {self}>"
