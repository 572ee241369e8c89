"""Which URLs may be fetched, and which addresses connected to: decided here, without asking anybody.

Clients name the URLs, and this machine may reach what they cannot. So only addresses of the public internet
are connected to, and what an operator has listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from ferryman.http1.origin import Origin
from ferryman.http1.resolve import Address
from ferryman.settings_images import ListedHost
from ferryman.wording import SHOWN_CHARACTERS

MAX_URL_CHARACTERS = 8_192
"""URLs that stores of objects sign have up to some 2,000."""

PORTS = frozenset({80, 443, 8080, 8443})
"""Where web servers listen. Others only by `image_hosts`: nobody shall try all doors of a host from here."""

_TABLE = """
0.0.0.0/8           this network
10.0.0.0/8          private
100.64.0.0/10       private (shared by the customers of a network)
127.0.0.0/8         loopback
169.254.0.0/16      link-local
172.16.0.0/12       private
192.0.0.0/24        reserved
192.0.2.0/24        reserved
192.88.99.0/24      reserved
192.168.0.0/16      private
198.18.0.0/15       reserved
198.51.100.0/24     reserved
203.0.113.0/24      reserved
224.0.0.0/4         multicast
240.0.0.0/4         reserved
::1/128             loopback
::/96               reserved
::ffff:0:0/96       IPv4 in IPv6
64:ff9b::/96        IPv4 in IPv6 (NAT64)
64:ff9b:1::/48      IPv4 in IPv6 (NAT64)
fc00::/7            private
fe80::/10           link-local
fec0::/10           private (site-local)
ff00::/8            multicast
2001::/32           IPv4 in IPv6 (Teredo)
2001::/23           reserved
2001:db8::/32       reserved
2002::/16           IPv4 in IPv6 (6to4)
3fff::/20           reserved
"""
"""The first network that holds an address says what it is. Source: IANA's registries of special-purpose
addresses, www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-special-registry."""

_NETWORKS = [
    (ipaddress.ip_network(line[:20].strip()), line[20:].strip()) for line in _TABLE.strip().split("\n")
]
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
"""The only part of IPv6 in which public hosts are, so far (RFC 4291, section 2.4)."""

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure, in a public range
        "169.254.169.254",  # most of them
        "169.254.170.2",  # Amazon's containers
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
    )
)
"""Where clouds tell their machines what they are, credentials included."""

_LISTABLE = ("private", "loopback")
"""Kinds of addresses that a host which the operator has listed may have."""

_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""A last label that is a number: readers take such a name for an IPv4 address (URL Standard, section 3.5)."""

_AUTHORITY = re.compile(r"(?:.*@)?([^:@]+|\[[^]@]+\])(:[0-9]*)?", re.DOTALL)

_UNRESERVED = "".join(chr(code) for code in range(0x21, 0x7F))


class Refused(Exception):
    """Why a URL is not fetched: the end of a sentence about it."""


class Target(NamedTuple):
    """A URL that may be fetched, as far as it tells.

    Attributes:
        url: without a fragment.
        origin: where to connect; names in lower case and without a dot at the end.
        path: path and query for the request line.
        is_listed: the operator has listed the host.
    """

    url: str
    origin: Origin
    path: str
    is_listed: bool


def target_of(url: str, listed: AbstractSet[ListedHost]) -> Target:
    """The target that `url` names.

    Args:
        url: of a client, or of a server that redirects.
        listed: what `image_hosts` says.

    Raises:
        Refused: it may not be fetched, whatever address its host has.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise Refused(f"it has more than {MAX_URL_CHARACTERS} characters")
    if not url.isprintable() or set(url) & set(' \\<>"'):
        raise Refused("it has characters that no URL has")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("it is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise Refused("only `http` and `https` URLs are fetched")
    if "@" in parts.netloc:
        raise Refused("it holds a user name or a password")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise Refused("it names no host" if not parts.netloc else "its host is no name or address")
    host = _checked(host.removesuffix("."), is_literal=parts.netloc.startswith("["))
    port = port if port is not None else (443 if parts.scheme == "https" else 80)
    is_listed = ListedHost(host, port) in listed or (port in PORTS and ListedHost(host, None) in listed)
    if port not in PORTS and not is_listed:
        raise Refused(f"its port {port} is not one of {', '.join(map(str, sorted(PORTS)))}")
    path = quote(parts.path or "/", safe=_UNRESERVED)
    if parts.query:
        path += "?" + quote(parts.query, safe=_UNRESERVED)
    return Target(parts._replace(fragment="").geturl(), Origin(parts.scheme, host, port), path, is_listed)


def _checked(host: str, *, is_literal: bool) -> str:
    """`host`, if it is a name, or an address as they are usually spelled; Refused for all else."""
    if is_literal:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            raise Refused("its host is no IPv6 address") from None
        if address.scope_id is not None:
            raise Refused("its host is an address with a zone")
        return address.compressed
    if not host.isascii():
        raise Refused("its host is not spelled in ASCII (`xn--…`)")
    if _NUMBER.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise Refused("its host is a number that is no IPv4 address in its usual spelling") from None
    if not _NAME.fullmatch(host):
        raise Refused("its host is no name")
    return host


def redirected(target: Target, location: str, listed: AbstractSet[ListedHost]) -> Target:
    """Where a server that answers for `target` sends us to.

    Raises:
        Refused: that may not be fetched.
    """
    try:
        following = target_of(urljoin(target.url, location), listed)
    except (Refused, ValueError) as error:
        reason = str(error) if isinstance(error, Refused) else "it is not a URL"
        raise Refused(f"it redirects to a URL that is not fetched: {reason}") from error
    if target.origin.scheme == "https" and following.origin.scheme == "http":
        raise Refused("it redirects from `https` to `http`")
    return following


def check_addresses(found: Iterable[Address], *, is_listed: bool) -> None:
    """Refuse a host if any of its addresses may not be connected to: one is picked later.

    The address is not told: who asks would learn the names of a network's inside.

    Raises:
        Refused: for the first such address.
    """
    for *_, address in found:
        kind = kind_of(str(address[0]))
        if kind is not None and not (is_listed and kind.startswith(_LISTABLE)):
            raise Refused(f"its host has an address that is not public: {kind}")


def kind_of(text: str) -> str | None:
    """What is special about the address `text`, `None` if it is one of a public host."""
    address = ipaddress.ip_address(text)
    if address in _METADATA:
        return "of a cloud's metadata service"
    for network, kind in _NETWORKS:
        if address in network:
            return kind
    return "reserved" if address.version == 6 and address not in _GLOBAL_V6 else None


def told(url: str) -> str:
    """`url` for people: without user name, password, query and fragment, on one line and not endless."""
    scheme, _, rest = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")
    authority, slash, path = rest.partition("/")
    found = _AUTHORITY.fullmatch(authority)  # else a password may have ended it
    text = f"{scheme}://{found[1]}{found[2] or ''}{slash}{path}" if found is not None else "…"
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return f"`{text[:SHOWN_CHARACTERS]}…`" if len(text) > SHOWN_CHARACTERS else f"`{text}`"
