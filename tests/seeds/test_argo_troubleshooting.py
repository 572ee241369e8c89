"""The end of the document: what a reader finds who has made one of the mistakes that it names."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from ferryman.simulator.server import Server
from tests.seeds.argo import ALIAS, USER, Typed, received, text_of
from tests.test_cli import environment

HELLO: Any = [{"role": "user", "content": "Hello"}]
BODY = {"model": ALIAS, "max_tokens": 9, "messages": HELLO}


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["message"]


def ask(url: str, **headers: str) -> httpx.Response:
    return httpx.post(url, json=BODY, headers={"anthropic-version": "2023-06-01", **headers}, timeout=30)


# "Connection Errors"


def test_ensure_you_are_on_the_network(tmp_path: Path) -> None:
    """An endpoint that cannot be reached is told as such, by its name; the gateway itself starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        base = f"http://{place}/argoapi/v1/messages"
        with Typed(tmp_path, text_of("argo_start.sh"), NATIVE_ANTHROPIC_BASE_URL=base) as gateway:
            status, kind, message = error_of(ask(f"{gateway.url}/v1/messages", **{"x-api-key": USER}))
    assert (status, kind) == (502, "api_error")
    assert place in message


@pytest.mark.parametrize("url", ["apps-dev.inside.anl.gov", "htp://apps-dev.inside.anl.gov/argoapi"])
def test_verify_that_native_anthropic_base_url_is_correct(url: str, tmp_path: Path) -> None:
    """One that cannot be used ends the start; nothing has to be asked to find it."""
    done = subprocess.run(
        ["bash", "-c", text_of("argo_start.sh").replace("ferryman", "ferryman config check")],
        env=environment(tmp_path, NATIVE_ANTHROPIC_BASE_URL=url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "native_anthropic_base_url" in done.stderr
    assert url in done.stderr


# "Authentication Errors"


def test_ensure_that_the_key_is_set_to_your_username(native: Typed, argo: Server) -> None:
    status, kind, message = error_of(ask(f"{native.url}/v1/messages"))
    assert (status, kind) == (401, "authentication_error")
    assert message.startswith("No user name came with the request; send yours as the API key")
    answer = ask(f"{native.url}/v1/messages", **{"x-api-key": "sk-ant-api03-mine"})
    status, kind, message = error_of(answer)
    assert (status, kind, answer.headers["x-should-retry"]) == (401, "authentication_error", "false")
    assert message.startswith("A key came with the request where a user name is wanted")
    assert argo.recorder.wait_ended(0) == []


def test_include_the_anthropic_version_header(native: Typed, argo: Server) -> None:
    """Whoever forgets it is served all the same."""
    url = f"{native.url}/v1/messages"
    answer = httpx.post(url, json=BODY, headers={"x-api-key": USER}, timeout=30)
    assert answer.status_code == 200
    assert received(argo).header("anthropic-version") == "2023-06-01"
    assert "anthropic-version" in answer.headers["x-ferryman-mutations"]


# "Claude Code Not Connecting"


@pytest.mark.parametrize("extra", ["/v1/messages", "/v1/messages/", "/v1", "/anthropic/v1/messages"])
def test_verify_that_the_base_url_is_the_root_not_the_full_path(
    native: Typed, argo: Server, extra: str
) -> None:
    """What it may not be is told in the error."""
    with (
        anthropic.Anthropic(base_url=native.url + extra, api_key=USER, max_retries=0) as client,
        pytest.raises(anthropic.NotFoundError) as caught,
    ):
        client.messages.create(model=ALIAS, max_tokens=9, messages=HELLO)
    left_out = extra.removeprefix("/anthropic").rstrip("/")
    assert f"leave `{left_out}` out of the base URL" in str(caught.value)
    assert argo.recorder.wait_ended(0) == []


@pytest.mark.parametrize("root", ["", "/", "/anthropic", "/anthropic/"])
def test_the_root_is_taken_with_and_without_a_slash(native: Typed, argo: Server, root: str) -> None:
    with anthropic.Anthropic(base_url=native.url + root, api_key=USER, max_retries=0) as client:
        client.messages.create(model=ALIAS, max_tokens=9, messages=HELLO)
    assert received(argo).target == b"/v1/messages"


def test_ensure_the_proxy_is_running_with_native_anthropic(argo: Server, tmp_path: Path) -> None:
    """Without it `/v1/messages` is off before Argo, which tells how to turn it on; standard mode goes on."""
    text = "ferryman --profile argo --no-use-native-anthropic"
    with Typed(tmp_path, text, NATIVE_ANTHROPIC_BASE_URL=argo.url) as gateway:
        status, kind, message = error_of(ask(f"{gateway.url}/v1/messages", **{"x-api-key": USER}))
        assert (status, kind) == (404, "not_found_error")
        assert "`--native-anthropic`" in message
        body = {"model": ALIAS, "messages": HELLO}
        headers = {"authorization": f"Bearer {USER}"}
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text


def test_the_gateway_says_at_its_start_what_clients_set(native: Typed) -> None:
    assert native.ready["clients_set"] == f"ANTHROPIC_BASE_URL={native.url}"
