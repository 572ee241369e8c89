"""All checks, in the order in which one explains the next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ferryman.clock import Clock
from ferryman.doctor.collector import collector_check
from ferryman.doctor.database import database_checks
from ferryman.doctor.disk import disk_checks
from ferryman.doctor.entrance import (
    certificate_check,
    file_limit_check,
    holder_of,
    port_checks,
    running_checks,
)
from ferryman.doctor.finding import Finding, ok, problem, warning
from ferryman.doctor.upstream import upstream_checks
from ferryman.hosts import is_loopback
from ferryman.settings import Settings
from ferryman.settings_load import Loaded

LEAST_KEY_CHARACTERS = 16
"""Of a master key that somebody on the network may guess at."""


def examine(loaded: Loaded, clock: Clock) -> Iterator[Finding]:
    """Look at all that Ferryman needs under these settings, one finding after the other."""
    settings = loaded.settings
    yield settings_finding(loaded)
    if (weak := master_key_finding(settings)) is not None:
        yield weak
    if (certificate := certificate_check(settings, clock)) is not None:
        yield certificate
    holder = None
    try:
        directory, holder = holder_of(settings)
    except OSError as error:
        detail = f"its meeting place cannot be read ({error.strerror or error})"
        yield problem("running", detail, "run this as the user that Ferryman runs as")
    else:
        if holder is not None:
            yield from asyncio.run(running_checks(settings, directory, holder))
    if holder is None:
        yield from port_checks(settings)
    yield file_limit_check()
    yield from disk_checks(settings, running=holder is not None)
    yield from database_checks(settings)
    yield from asyncio.run(upstream_checks(settings, clock))
    if (collector := collector_check(settings)) is not None:
        yield collector


def settings_finding(loaded: Loaded) -> Finding:
    """Where the settings come from, and who may call under them."""
    told = sum(source != "default" for source in loaded.sources.values())
    file = f"`{loaded.file}`" if loaded.file is not None else "no config file"
    return ok("settings", f"{file}; {told} settings given; `auth: {loaded.settings.effective_auth}`")


def master_key_finding(settings: Settings) -> Finding | None:
    """A warning if the master key can be guessed from afar."""
    key = settings.master_key
    local = settings.unix_socket is not None or is_loopback(settings.host)
    if key is None or local or len(key) >= LEAST_KEY_CHARACTERS:
        return None
    detail = (
        f"`master_key` has fewer than {LEAST_KEY_CHARACTERS} characters, and others reach `{settings.host}`"
    )
    return warning("master key", detail, "take a long random one, as of `openssl rand -hex 32`")
