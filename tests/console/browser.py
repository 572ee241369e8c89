"""A headless Chromium that looks at the console, and what it must never see there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Response, sync_playwright

AXE = Path(__file__).with_name("vendor") / "axe-core-4.14.1.min.js"
DEADLINE_MILLISECONDS = 15_000
DESKTOP, PHONE = (1360, 860), (390, 844)

Scheme = Literal["light", "dark"]


def chromium_path() -> str:
    """Where Debian has put it; scripts/test installs it."""
    path = shutil.which("chromium")
    assert path is not None, "Chromium is missing; as root: apt-get install chromium"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """One that runs until the end of the block."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium_path(),
            args=["--no-sandbox", "--font-render-hinting=none", "--no-proxy-server"],
        )
        yield browser
        browser.close()


class Window:
    """A window of the browser.

    Attributes:
        complaints: what the page's own console said: errors, and whatever the policy has refused.
    """

    def __init__(
        self, browser: Browser, url: str, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
    ) -> None:
        self._context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, base_url=url
        )
        self._context.set_default_timeout(DEADLINE_MILLISECONDS)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda told: self._note(told.type, told.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def close(self) -> None:
        self._context.close()

    def open(self, path: str) -> Response:
        """Go to a page of the console."""
        response = self.page.goto(path)
        assert response is not None
        return response

    def sign_in(self, key: str) -> None:
        """Sign in by the form."""
        self.open("/ui/sign-in")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/ui")

    def text(self) -> str:
        """What can be read in the middle of the page."""
        return self.page.locator("main").inner_text()

    def violations(self) -> list[str]:
        """What axe finds wrong with the page, by the rules of WCAG 2.2 AA and its own good practices."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        told: dict[str, Any] = self.page.evaluate("() => axe.run()")
        return [
            f"{rule['id']}: {rule['help']}: {node['target']} {node.get('failureSummary', '')}"
            for rule in told["violations"]
            for node in rule["nodes"]
        ]

    def is_too_wide(self) -> bool:
        """Whether the page as a whole has to be scrolled sideways."""
        return bool(self.page.evaluate("() => document.documentElement.scrollWidth > innerWidth"))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(text)
