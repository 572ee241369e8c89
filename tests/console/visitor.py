"""A browser without JavaScript, for what the console answers."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.support.control import MASTER, Control
from tests.support.gateway import HeldClock
from tests.support.processes import until
from tests.support.raw import NO_TLS


class Visitor:
    """A browser without JavaScript: keeps cookies, fills in forms."""

    def __init__(self, control: Control) -> None:
        assert control._client is not None
        url = control._client.base_url
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False, verify=NO_TLS)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, **more)

    def post(
        self, path: str, fields: dict[str, str] | None = None, *, page: str, **more: Any
    ) -> httpx.Response:
        """Send the form of a page."""
        token = re.search(r'name="form_token" value="(\w+)"', self.get(page).text)
        assert token is not None
        return self.http.post(path, data={"form_token": token[1], **(fields or {})}, **more)

    def sign_in(self, key: str = MASTER, **fields: str) -> httpx.Response:
        return self.post("/ui/sign-in", {"key": key, **fields}, page="/ui/sign-in")


def held(control: Control) -> HeldClock:
    assert isinstance(control.clock, HeldClock)
    return control.clock


def foreseen(control: Control) -> None:
    """Wait until the console knows what its overview will tell of the past."""
    until(lambda: repr(control.console._past) == "<Past 3 answers>", "known")
