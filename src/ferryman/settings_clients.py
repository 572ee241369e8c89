"""What the settings say of the address: where Ferryman listens, and by which URL its clients reach it."""

from __future__ import annotations

from ferryman.hosts import authority_of
from ferryman.settings import Settings

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to listen on, not to call


def listener_url(settings: Settings, port: int) -> str:
    """The URL of what listens under `settings`, on `port` unless it is a Unix socket."""
    if settings.unix_socket is not None:
        return f"unix:{settings.unix_socket}"
    return f"{_scheme(settings)}://{authority_of(settings.host, port)}"


def clients_url(settings: Settings, port: int) -> str | None:
    """The base URL of clients on this machine; `None` where only a proxy reaches the Unix socket."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    if settings.unix_socket is not None:
        return None
    return f"{_scheme(settings)}://{authority_of(_EVERYWHERE.get(settings.host, settings.host), port)}"


def _scheme(settings: Settings) -> str:
    return "https" if settings.tls_cert_file is not None else "http"
