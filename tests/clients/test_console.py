"""A newcomer's way through the console: a key, what to put into Claude Code, and what that has cost."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from ferryman.simulator.server import Server
from tests.console.browser import Window, chromium
from tests.support.processes import until

from .environments import claude_code, client_environment
from .gateway import Gateway
from .meter import SETTINGS
from .passage import SERVER_KEY
from .program import run

MASTER = "sk-master-of-a-newcomer"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1120, 660)
NANO_DOLLARS = 9
MAX_SHOT_BYTES = 150_000
SHOTS = ("newcomer-key", "newcomer-requests", "newcomer-session")
"""In the documentation; with FERRYMAN_SHOTS set they are taken anew."""


@pytest.fixture(scope="module")
def gateway(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With nothing in it."""
    folder = tmp_path_factory.mktemp("newcomer")
    settings = {"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": SERVER_KEY}
    with Gateway(simulator.url, folder, **settings) as running:
        yield running
    assert running.exit_code == 0
    assert running.complaints == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def window(gateway: Gateway, browser: Browser) -> Iterator[Window]:
    """Of somebody who has the master key, and may read what was copied."""
    one = Window(browser, gateway.url, SIZE)
    one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield one
    one.close()


def picture(page: Page, name: str) -> None:
    """Take it if that is wanted."""
    assert name in SHOTS
    if "FERRYMAN_SHOTS" in os.environ:
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / f"{name}.png")


def in_a_terminal(lines: str, home: Path) -> dict[str, Any]:
    """What comes of lines in a shell that finds `claude`, which prints what it has to say as JSON."""
    programs = home / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(claude_code())
    path = f"{programs}{os.pathsep}{client_environment(home)['PATH']}"
    done = run(["sh", "-c", lines], home, CLAUDE_CONFIG_DIR=str(home / "config"), **SETTINGS | {"PATH": path})
    assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def cost_after_reload(page: Page) -> Decimal:
    """Of the session that is shown, exactly: its last request may be stored some moments after its end."""
    page.reload()
    return Decimal(page.locator(".figure", has_text="Cost").first.inner_text().split()[-1].removeprefix("$"))


def test_newcomer_makes_a_key_copies_the_set_up_and_finds_what_claude_code_has_cost(
    window: Window, tmp_path: Path
) -> None:
    page = window.page
    window.sign_in(MASTER)
    page.get_by_role("link", name="Create a key").click()
    page.get_by_label("Name").fill("my-laptop")
    page.get_by_label("Budget in dollars").fill("5")
    page.get_by_role("button", name="Create the key").click()
    secret = page.locator("#secret").inner_text()
    picture(page, "newcomer-key")
    page.locator("[data-copy=s-code]").click()
    copied: str = page.evaluate("() => navigator.clipboard.readText()")
    assert secret in copied
    assert copied.endswith("\nclaude")

    page.get_by_role("link", name="Watch its requests").click()
    assert "No request like this" in window.text()
    told = in_a_terminal(f"{copied} -p --output-format json 'use the Agent tool'", tmp_path)
    assert told["is_error"] is False
    page.locator("main tbody tr", has_text="my-laptop").nth(2).wait_for()  # all, by themselves
    picture(page, "newcomer-requests")

    page.get_by_role("link", name="Sessions").click()
    page.get_by_role("link", name=told["session_id"][:8]).click()
    own = Decimal(told["total_cost_usd"])  # as Claude Code works it out for itself, in floating point
    until(lambda: cost_after_reload(page) == round(own, NANO_DOLLARS), "what Claude Code says it has cost")
    assert page.locator(".tree ul ul li").count() == 1  # the agent that it has started
    picture(page, "newcomer-session")

    page.get_by_role("link", name="Keys").click()
    assert "my-laptop" in window.text()
    assert "of $5.00" in window.text()
    assert window.complaints == []


def test_pictures_of_that_way_are_in_the_documentation_and_small() -> None:
    for name in SHOTS:
        assert (IMAGES / f"{name}.png").stat().st_size <= MAX_SHOT_BYTES
        assert f"images/{name}.png" in (IMAGES.parent / "console.md").read_text("utf-8")
