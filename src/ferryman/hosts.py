"""Host names and addresses, as far as they can be judged without asking anybody."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_name(host: str) -> bool:
    """Whether the resolver can be asked for `host`: it raises UnicodeError for what isn't a name."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return not set(host) & set(" /?#@[]")


def authority_of(host: str, port: int) -> str:
    """`host` and `port` as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_listed(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy`, a value of the variable of this name, has `host`.

    As Python's `urllib.request.proxy_bypass_environment` reads it: names separated by commas, each
    for itself and all below it, or `*` for all. Also, as Go's net/http does: networks such as
    10.0.0.0/8, and `*` among others.
    """
    asked = {host.lower(), authority_of(host.lower(), port)}
    for entry in re.split(r"[,\s]+", no_proxy.lower()):
        name = entry.removeprefix("*").lstrip(".")
        if entry == "*" or name in asked or _is_within(host, entry):
            return True
        if name and any(one.endswith(f".{name}") for one in asked):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


class TrustedProxies(NamedTuple):
    """Peers whose word on who the client is counts.

    Attributes:
        networks: of their addresses; one address is a network of its own.
        unix: whoever connects to the Unix socket.
    """

    networks: tuple[Network, ...]
    unix: bool


def trusted_proxies(text: str) -> TrustedProxies:
    """The proxies that `text` names, with commas between them.

    Raises:
        ValueError: with the first member that is no address, no network and not `unix`.
    """
    members = [member for part in text.split(",") if (member := part.strip())]
    return TrustedProxies(
        tuple(_network(member) for member in members if member != "unix"), unix="unix" in members
    )


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(text) from error
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is not None and network.prefixlen >= 96:  # clients are known by their IPv4 address
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network
