"""A whole Ferryman with traffic in it, another without, and a browser, for all tests of pages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from demo.past import days_before
from demo.traffic import ALIASES, Made, Traffic
from playwright.sync_api import Browser

from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.simulator.server import Server as Simulator
from ferryman.store.read import MAX_PAGE, Filter
from ferryman.store.store import Store
from tests.console.browser import DESKTOP, Scheme, Window, chromium
from tests.console.visitor import Visitor
from tests.support.control import Control
from tests.support.processes import Family, until

MASTER = "sk-master-of-the-console"


class Site(NamedTuple):
    """A Ferryman that runs."""

    url: str
    made: Made
    family: Family
    directory: Path


Look = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: as long as it is there, a loop runs in this thread, and no other can."""
    with chromium() as one:
        yield one


def serve(stack: ExitStack, directory: Path, aliases: dict[str, str] | None = None, **environ: str) -> Family:
    """`ferryman serve` with the console, in front of a simulator."""
    simulator = stack.enter_context(Simulator())
    env = {
        "FERRYMAN_MASTER_KEY": MASTER,
        "ANTHROPIC_API_KEY": "k",
        "FERRYMAN_DATA_DIR": str(directory / "data"),
        **environ,
    }
    words = ["--upstream-url", simulator.url]
    if aliases is not None:
        config = directory / "ferryman.yaml"
        config.write_text(json.dumps({"aliases": aliases}))  # JSON is YAML
        words += ["-c", str(config)]
    family = stack.enter_context(Family(directory, *words, env=env))
    ready = f"{family.url}/ui/sign-in"
    until(lambda: httpx.get(ready, trust_env=False).status_code == 200, "the console is there")
    return family


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With keys, people, sessions, errors, and six weeks of a past."""
    directory = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        told = {"MAX_BUDGET": "60", "BUDGET_DURATION": "30d", "LOG_BODIES": "redacted"}
        told = {f"FERRYMAN_{name}": value for name, value in told.items()}
        family = serve(stack, directory, ALIASES, **told)
        traffic = Traffic(family.url, MASTER, is_paced="FERRYMAN_SHOTS" in os.environ)
        made = traffic.everything()
        traffic.close()
        store = Store(database(Settings(data_dir=str(directory / "data"))))
        until(lambda: store.read.count(Filter()).number >= traffic.sent, "all of it is stored")
        entries = store.read.page(Filter(), limit=MAX_PAGE).entries
        for day in days_before(entries, days=45, now=datetime.now(UTC)):
            store.write.insert_entries(day)
        store.close()
        yield Site(family.url, made, family, directory)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With nothing in it."""
    directory = tmp_path_factory.mktemp("bare")
    with ExitStack() as stack:
        family = serve(stack, directory)
        yield Site(family.url, Made({}, []), family, directory)


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Opens windows, signed in with the master key unless another key is told."""
    with ExitStack() as stack:

        def opened(
            site: Site, key: str = MASTER, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
        ) -> Window:
            window = Window(browser, site.url, size, scheme)
            stack.callback(window.close)
            window.sign_in(key)
            return window

        yield opened


@pytest.fixture
def visitor(lone: Control) -> Iterator[Visitor]:
    one = Visitor(lone)
    yield one
    one.http.close()
