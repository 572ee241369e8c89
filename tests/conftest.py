"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

from ferryman.relay.bodies import Bodies
from ferryman.settings import Settings
from ferryman.store.store import Store
from tests.support.control import Control
from tests.support.edge import Script, Upstream, answering
from tests.support.gateway import Gateway, HeldClock
from tests.support.postgres import Server
from tests.support.stores import opened, sqlite_url

T = TypeVar("T")

# No property fails because the machine is busy, and in CI none because of an example of that run's own.
# Here, since tests take it up as they are imported.
settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("patient")

KEY = "sk-ant-the-server-key"


class Bench:
    """Starts upstreams and gateways for one test, and ends them with it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def upstream(self, script: Script | None = None, **options: Any) -> Upstream:
        """A scripted upstream; by default one that answers every request."""
        return self._stack.enter_context(Upstream(script or answering(), **options))

    def gateway(
        self,
        upstream: str,
        *,
        clock: HeldClock | None = None,
        loop: str = "asyncio",
        images_directory: Path | None = None,
        bodies: Bodies | None = None,
        **settings: Any,
    ) -> Gateway:
        """A gateway in front of the URL `upstream`, by default with a server's key."""
        values: dict[str, Any] = {"port": 0, "upstream_url": upstream, "anthropic_api_key": KEY} | settings
        made = Gateway(
            Settings(**values), clock=clock, loop=loop, images_directory=images_directory, bodies=bodies
        )
        return self._stack.enter_context(made)

    def pair(self, script: Script | None = None, **options: Any) -> tuple[Gateway, Upstream]:
        """A scripted upstream and a gateway in front of it."""
        upstream = self.upstream(script)
        return self.gateway(upstream.url, **options), upstream

    def enter(self, one: AbstractContextManager[T]) -> T:
        """Anything else that has to end with the test."""
        return self._stack.enter_context(one)

    def close(self) -> None:
        """End all of it now."""
        self._stack.close()


@pytest.fixture
def line() -> Iterator[Bench]:
    """What a test builds its line from."""
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="ferryman-") as directory:
        yield Path(directory)


@pytest.fixture
def clock() -> HeldClock:
    """A clock that stands still."""
    return HeldClock()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL for all tests that need one."""
    with Server() as one:
        yield one


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: Server = request.getfixturevalue("server")
    return server.database()


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that has been migrated, to be copied: a migration takes a tenth of a second or more."""
    directory = tmp_path_factory.mktemp("tables")
    _migrate(sqlite_url(directory))
    return directory / "test.db"


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """The same in PostgreSQL: the name of a database."""
    url = server.database()
    _migrate(url)
    return server.name(url)


def _migrate(url: str) -> None:
    with closing(opened(url)) as one:
        one.migrate()


@pytest.fixture
def store(request: pytest.FixtureRequest, url: str) -> Iterator[Store]:
    """The store of `url`, with its tables."""
    if url.startswith("sqlite"):
        shutil.copyfile(request.getfixturevalue("tables"), url.removeprefix("sqlite:///"))
    else:
        request.getfixturevalue("server").fill(url, request.getfixturevalue("template"))
    with closing(opened(url)) as one:
        yield one


@pytest.fixture
def control(store: Store, clock: HeldClock) -> Iterator[Control]:
    """The control plane's paths, on each kind of database."""
    with Control(store, clock=clock) as one:
        yield one


@pytest.fixture
def lone(tables: Path, tmp_path: Path, clock: HeldClock) -> Iterator[Control]:
    """The same, where it does not matter which database."""
    shutil.copyfile(tables, tmp_path / "test.db")
    with closing(opened(sqlite_url(tmp_path))) as store, Control(store, clock=clock) as one:
        yield one


def pytest_configure() -> None:
    """Take Ctrl-C: a job in the background ignores it, and so would all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: no process is left with one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
