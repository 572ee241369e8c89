"""One simulator for the whole run, forgotten between tests, and two clients for it."""

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from ferryman.simulator.server import Server

OLD = "2023-06-01"
NEW = "2026-10-21"


class Client:
    """A plain HTTP client that sends what a test says, with a credential and a version unless told."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def request(
        self, method: str, path: str, *, control: str = "", headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        given = {
            "x-api-key": "key",
            "anthropic-version": OLD,
            **({"x-simulator": control} if control else {}),
        }
        return self.http.request(method, path, headers=given | (headers or {}), **more)

    def ask(
        self,
        prompt: str = "Hello",
        *,
        control: str = "",
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Send a message; `fields` go into its body, and None removes one."""
        return self.request(
            "POST", "/v1/messages", control=control, headers=headers, json=body(prompt, **fields)
        )


def body(prompt: str = "Hello", **fields: Any) -> dict[str, Any]:
    """The body of a small message."""
    whole = {
        "model": "claude-opus-5-5",
        "max_tokens": 1_000,
        "messages": [{"role": "user", "content": prompt}],
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def simulator(server: Server) -> Server:
    """A running simulator that has recorded nothing."""
    server.recorder.clear()
    return server


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as made:
        yield made


@pytest.fixture
def client(simulator: Server, http: httpx.Client) -> Client:
    """A plain client, which shares its connections with other tests."""
    assert not simulator.recorder.requests
    return Client(http)


@pytest.fixture(scope="session")
def shared_sdk(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="key", max_retries=0) as made:
        yield made


@pytest.fixture
def sdk(simulator: Server, shared_sdk: anthropic.Anthropic) -> anthropic.Anthropic:
    """The official SDK, which does not retry."""
    assert not simulator.recorder.requests
    return shared_sdk
