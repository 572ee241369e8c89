"""`ferryman simulator`: a deterministic Anthropic API on this machine."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=4010, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
def simulator(host: str, port: int) -> None:
    """Serve a simulated Anthropic API, for development and tests without a key."""
    try:
        from ferryman.simulator.server import run  # noqa: PLC0415  # an optional extra
        from ferryman.simulator.settings import SimulatorSettings  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    run(SimulatorSettings(), host, port)
