"""The settings about images and PDFs that are fetched for upstreams which take no URLs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from ferryman.hosts import is_name
from ferryman.settings_row import setting
from ferryman.wording import shown


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ImageSettings:
    """The part of `ferryman.settings.Settings` that is about them."""

    image_timeout_seconds: float = setting(
        30.0, "Time for fetching one image or PDF, redirects included.", at_least=0.1
    )
    max_image_bytes: int = setting(
        5_242_880, "Largest image that is fetched; Anthropic's own bound is 5 MB.", at_least=1024
    )
    max_images_bytes: int = setting(
        20_971_520,
        "Largest sum of images and PDFs that are fetched for one request; in base64 they take a third more, "
        "and Anthropic's own bound for a request is 32 MB.",
        at_least=1024,
    )
    image_downloads: int = setting(10, "Images and PDFs that a worker fetches at once.", at_least=1)
    image_hosts: str | None = setting(
        None,
        "Hosts that images may be fetched from though their addresses are private or loopback: `name` or "
        "`name:port`, with commas between them (in the file also a list).",
        many=True,
    )


_BRACKETED = re.compile(r"\[[^]]*\](:[0-9]+)?")


class ListedHost(NamedTuple):
    """A host that may be fetched from though its address is not public.

    Attributes:
        host: a name or address, in lower case, without brackets.
        port: the only one, `None` for those that any host may have.
    """

    host: str
    port: int | None


def listed_hosts(text: str) -> frozenset[ListedHost]:
    """The hosts that `text` names, with commas between them.

    Raises:
        ValueError: with the first member that is no host.
    """
    members = [member for part in text.split(",") if (member := part.strip().lower())]
    return frozenset(_host(member) for member in members)


def _host(text: str) -> ListedHost:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _host_and_port(text)
    return ListedHost(address.compressed, None)


def _host_and_port(text: str) -> ListedHost:
    if "@" in text or (text.startswith("[") and not _BRACKETED.fullmatch(text)):
        raise ValueError(text)
    try:
        parts = urlsplit(f"//{text}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
        if text.startswith("["):
            host = ipaddress.IPv6Address(host).compressed
    except ValueError as error:
        raise ValueError(text) from error
    if parts.netloc != text or not host or port == 0 or not is_name(host) or set(host) & set("*\\"):
        raise ValueError(text)
    return ListedHost(host, port)


def image_problems(settings: ImageSettings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with these settings: the ones that each problem is about, and the problem."""
    try:
        listed_hosts(settings.image_hosts or "")
    except ValueError as error:
        yield {"image_hosts"}, f"{shown(error)} is no host; wanted a name, or `name:port`."
