"""Argo, as the simulator plays it, and a gateway before it, started as the document says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.seeds.argo import MODELS, Typed, text_of
from tests.support.edge import Upstream
from tests.support.fetching import PNG, giving


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Server]:
    """Argo's endpoint for all tests of a process."""
    with Server(SimulatorSettings(profile="argo", models=MODELS)) as running:
        yield running


@pytest.fixture
def argo(endpoint: Server) -> Server:
    """Argo's endpoint, which has recorded nothing."""
    endpoint.recorder.clear()
    return endpoint


@pytest.fixture(scope="session")
def pictures() -> Iterator[Upstream]:
    """A server with pictures."""
    with Upstream(giving(PNG)) as running:
        yield running


@pytest.fixture(scope="session")
def native(endpoint: Server, pictures: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typed]:
    """`argo-proxy --native-anthropic`. Added: pictures may be fetched from this machine."""
    with Typed(
        tmp_path_factory.mktemp("native"),
        text_of("argo_start.sh"),
        NATIVE_ANTHROPIC_BASE_URL=f"{endpoint.url}/v1/messages",
        FERRYMAN_IMAGE_HOSTS=f"127.0.0.1:{pictures.port}",
    ) as gateway:
        yield gateway
