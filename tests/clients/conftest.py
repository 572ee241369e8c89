"""Left out unless it is named: `scripts/clients` installs the clients first, which takes a while."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .environments import HERE
from .gateway import Gateway
from .passage import SERVER_KEY, Passage
from .program import SDKS, Program, Sdk
from .tee import Tee


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Keep these tests out of a run of `tests` as a whole."""
    named = (Path(config.invocation_params.dir, arg.partition("::")[0]).resolve() for arg in config.args)
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def simulator() -> Iterator[Server]:
    with Server(SimulatorSettings(api_keys=(SERVER_KEY,))) as running:
        yield running


@pytest.fixture(scope="session")
def open_gateway(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Anybody may call, with the server's key."""
    folder = tmp_path_factory.mktemp("open")
    with Gateway(simulator.url, folder, FERRYMAN_AUTH="open", ANTHROPIC_API_KEY=SERVER_KEY) as gateway:
        yield gateway
    assert gateway.exit_code == 0
    assert gateway.complaints == []


@pytest.fixture(scope="session")
def passthrough_gateway(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Has no key: callers bring their own."""
    with Gateway(
        simulator.url, tmp_path_factory.mktemp("passthrough"), FERRYMAN_AUTH="passthrough"
    ) as gateway:
        yield gateway
    assert gateway.exit_code == 0
    assert gateway.complaints == []


@pytest.fixture(scope="session")
def stranded_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its upstream refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        folder = tmp_path_factory.mktemp("stranded")
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Gateway(url, folder, FERRYMAN_AUTH="open", ANTHROPIC_API_KEY=SERVER_KEY) as gateway:
            yield gateway
    assert gateway.exit_code == 0


@pytest.fixture
def passage(simulator: Server, open_gateway: Gateway) -> Iterator[Passage]:
    """Through the gateway that has the server's key."""
    with Tee("127.0.0.1", open_gateway.port) as tee:
        yield Passage(tee, open_gateway, simulator)


@pytest.fixture
def own_key_passage(simulator: Server, passthrough_gateway: Gateway) -> Iterator[Passage]:
    """Through the gateway that has no key."""
    with Tee("127.0.0.1", passthrough_gateway.port) as tee:
        yield Passage(tee, passthrough_gateway, simulator)


@pytest.fixture
def stranded_passage(simulator: Server, stranded_gateway: Gateway) -> Iterator[Passage]:
    """To a gateway that reaches nobody."""
    with Tee("127.0.0.1", stranded_gateway.port) as tee:
        yield Passage(tee, stranded_gateway, simulator)


@pytest.fixture(scope="session", params=SDKS, ids=lambda sdk: sdk.name)
def sdk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Each SDK in turn, as a program that is running."""
    kind: Sdk = request.param
    with Program(kind, tmp_path_factory.mktemp(kind.name)) as program:
        yield program
