"""`ferryman serve`: run the gateway."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import resource
import signal
import sys
from typing import Any

import click
import structlog

from ferryman import __version__
from ferryman.cli.options import SECRETS_HELP, complain, listener_url, load_or_exit, with_settings
from ferryman.errors import SettingsError
from ferryman.relay.worker import Worker
from ferryman.settings import Settings
from ferryman.telemetry.log import LineLog, configure, json_line, text_line
from ferryman.telemetry.writer import BackgroundWriter

log = structlog.get_logger("ferryman")

_M_TRIM_THRESHOLD = -1  # mallopt(3)
_M_MMAP_THRESHOLD = -3


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
            raise_file_limit()
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(run(settings))
        except SettingsError as error:
            messages.close()
            complain(error)
        finally:
            messages.close()


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends at once.

    Raises:
        SettingsError: the address cannot be listened on, or the certificate not be used.
    """
    loop = asyncio.get_running_loop()
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stdout.isatty())
    with io.FileIO(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        writer = BackgroundWriter(stdout, "ferryman.log")
        lines = LineLog(writer, render=text_line if text else json_line, call_later=loop.call_later)
        try:
            quiet = settings.log_level in {"warning", "error"}
            await serve_until_signal(Worker(settings, record=(lambda _: None) if quiet else lines.write))
        finally:
            lines.close()
    log.info("stopped")


async def serve_until_signal(worker: Worker) -> None:
    """Start `worker`, and stop it on SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    settings = worker.settings
    await worker.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, worker.reload)
    tune_allocator()
    tune_collector()
    announce(worker)
    await stopping.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)  # the next one ends the process at once
    running = len(worker.line.live)
    log.info("stopping", running=running, grace_seconds=settings.shutdown_grace_seconds)
    await worker.stop(settings.shutdown_grace_seconds)


def announce(worker: Worker) -> None:
    """Say where we listen, and what a client has to set."""
    settings = worker.settings
    url = listener_url(settings, worker.port)
    auth = settings.effective_auth
    who = "anybody may call, with the server's key" if auth == "open" else "callers bring their own key"
    log.info(
        "ready",
        version=__version__,
        url=url,
        upstream=settings.upstream_url,
        auth=f"{auth} ({who})",
        clients_set=what_clients_set(settings, url),
    )


def what_clients_set(settings: Settings, url: str) -> str:
    """What makes a client use us, who listen on `url`."""
    if settings.public_url is not None:
        return f"ANTHROPIC_BASE_URL={settings.public_url.rstrip('/')}"
    if settings.unix_socket is not None:
        return "ANTHROPIC_BASE_URL=<the URL of the proxy in front of the socket; `public_url` can tell it>"
    return f"ANTHROPIC_BASE_URL={url}"


def raise_file_limit() -> None:
    """Allow as many open sockets as the system lets us have: each exchange takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tune_allocator() -> None:
    """Keep freed memory for the next read, where the C library is glibc.

    Each read of a busy stream takes and frees up to 256 KiB. By default glibc gives that back to the
    system and takes it anew each time: 11,000 calls of brk and an eighth of the CPU time in a
    stream at full speed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 16 << 20)
        mallopt(_M_MMAP_THRESHOLD, 16 << 20)


def tune_collector() -> None:
    """Leave what was made at start out of the garbage collector's passes, and make them rarer.

    Exchanges hold no reference cycles, so nearly all is freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def loop_factory() -> Any:  # noqa: ANN401  # uvloop's, or None for asyncio's own
    """Take uvloop's event loop where it is installed: it saves a fifth of the cost of TLS."""
    try:
        import uvloop  # noqa: PLC0415  # an optional extra
    except ImportError:
        return None
    return uvloop.new_event_loop
