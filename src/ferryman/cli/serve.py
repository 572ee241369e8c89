"""`ferryman serve`: run the gateway."""

from __future__ import annotations

import asyncio
import io
import sys
from functools import partial
from typing import Any

import click
import structlog

from ferryman import __version__
from ferryman.cli.options import SECRETS_HELP, complain, load_or_exit, with_settings
from ferryman.errors import SettingsError, StartError
from ferryman.process.messages import Rereads
from ferryman.settings import Settings
from ferryman.settings_clients import clients_url, listener_url
from ferryman.settings_load import Loaded
from ferryman.supervisor import Supervisor
from ferryman.telemetry.log import configure
from ferryman.telemetry.writer import BackgroundWriter

log = structlog.get_logger("ferryman")

REREAD = ("prices", "price_multipliers")
"""Settings that a change of the file changes at once; all others need a start."""


@click.command(epilog=SECRETS_HELP)
@with_settings
def serve(**values: Any) -> None:  # noqa: ANN401  # one per setting
    """Run the gateway.

    The log line of each request goes to standard output, everything else to standard error. SIGTERM
    and Ctrl-C let running requests finish; a second one ends at once. SIGHUP reads the certificate of
    TLS again.
    """
    loaded = load_or_exit(values)
    settings = loaded.settings
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    with io.FileIO(sys.stderr.fileno(), "wb", closefd=False) as stderr:
        messages = BackgroundWriter(stderr, "ferryman.messages")
        configure(level=settings.log_level, text=text, writer=messages)
        try:
            if loaded.file is not None:
                log.info("config file read", file=str(loaded.file))
            asyncio.run(run(loaded))
        except SettingsError as error:
            messages.close()
            complain(error)
        except StartError as error:
            messages.close()
            click.echo(f"ferryman: {error}", err=True)
            sys.exit(1)
        finally:
            messages.close()


async def run(loaded: Loaded) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: the address cannot be listened on, a certificate not be used, and the like.
        StartError: a process dies again and again before all have run.
    """
    settings, file = loaded.settings, loaded.file
    names = tuple(name for name in REREAD if loaded.sources[name] in {"default", str(file)})
    rereads = Rereads(str(file), names) if file is not None and names else None
    await Supervisor(settings, on_ready=partial(announce, settings), rereads=rereads).run()
    log.info("stopped")


def announce(settings: Settings, port: int) -> None:
    """Say where we listen, and what a client has to set."""
    url = listener_url(settings, port)
    auth = settings.effective_auth
    who = {
        "keys": "callers need a virtual key",
        "open": "anybody may call, with the server's key",
        "passthrough": "callers bring their own key",
        "identity": "callers give their user name as the key",
    }[auth]
    log.info(
        "ready",
        version=__version__,
        url=url,
        upstream=settings.upstream_url,
        auth=f"{auth} ({who})",
        clients_set=what_clients_set(settings, port),
        workers=settings.workers,
    )
    if settings.master_key is not None and auth != "keys":
        log.info("master key set", guards="Ferryman's own paths", relaying=f"goes by `auth: {auth}`")


def what_clients_set(settings: Settings, port: int) -> str:
    """What makes a client use us, who listen on `port`."""
    url = clients_url(settings, port)
    unknown = "<the URL of the proxy in front of the socket; `public_url` can tell it>"
    return f"ANTHROPIC_BASE_URL={unknown if url is None else url}"
