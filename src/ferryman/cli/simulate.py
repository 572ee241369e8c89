"""`ferryman simulator`: a deterministic Anthropic API on this machine."""

from __future__ import annotations

import click

from ferryman.cli.options import complain
from ferryman.errors import SettingsError


@click.command()
@click.option("--host", "-H", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    "-p",
    default=4010,
    show_default=True,
    type=click.IntRange(0, 65535),
    metavar="INTEGER",
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    metavar="TEXT",
    help="A key that is valid; may be given more than once. Default: every key is.",
)
@click.option(
    "--strict-models",
    is_flag=True,
    help="Know the models of `/v1/models` only. Default: every name that begins with `claude`.",
)
@click.option(
    "--profile",
    type=click.Choice(["anthropic", "argo"]),
    default="anthropic",
    show_default=True,
    help="Whose endpoint to be; `argo` has a list of models of its own shape, and takes a field `user`.",
)
@click.option(
    "--always",
    default="",
    metavar="TEXT",
    help="What the header `x-simulator` would ask for, for every request: `status=529; times=2`, `pace=0.1`. "
    "`--always help` names all of them.",
)
def simulator(  # one an option
    host: str, port: int, api_keys: tuple[str, ...], always: str, profile: str, *, strict_models: bool
) -> None:
    """Serve a simulated Anthropic API.

    For development and tests without a key: the same request always gets the same answer.
    """
    from ferryman.simulator.server import run  # noqa: PLC0415  # only needed here, and large
    from ferryman.simulator.settings import SimulatorSettings  # noqa: PLC0415

    if always == "help":
        print_wishes()
        return
    settings = SimulatorSettings(
        api_keys=api_keys, strict_models=strict_models, always=always, profile=profile
    )
    try:
        run(settings, host, port, on_ready=lambda url: announce(url, needs_key=bool(api_keys)))
    except OSError as error:
        problem = f"host, port: cannot listen on `{host}:{port}`: {error.strerror}."
        complain(SettingsError([problem]))
    except ValueError as error:
        complain(SettingsError([f"--always: {str(error).partition(': x-simulator: ')[2]}"]))


def print_wishes() -> None:
    """Print what `x-simulator` can ask for."""
    from ferryman.simulator.control import KEYS  # noqa: PLC0415  # only needed here

    for name, key in KEYS.items():
        click.echo(f"{name:<16}{key.meaning}")


def announce(url: str, *, needs_key: bool) -> None:
    """Say where the simulator listens, and what to try next."""
    key = "one of your keys" if needs_key else "any"
    body = (
        '{"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}'
    )
    click.echo(f"""The simulator listens on {url} (Ctrl-C ends it). Ask it:

  curl {url}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\
    -H 'content-type: application/json' -d '{body}'

or put Ferryman before it, in another terminal:

  ANTHROPIC_API_KEY='{key}' ferryman --upstream-url {url}
""")
