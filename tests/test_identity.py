"""`auth: identity`: the credential is the name of a user, who is recorded and held to limits as a key is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.limits.spec import Scope
from ferryman.store.store import Store
from tests.conftest import KEY, Bench
from tests.support.control import Control
from tests.support.edge import Upstream
from tests.support.gateway import Gateway
from tests.support.processes import Family
from tests.support.raw import RawClient, RawResponse, post

MASTER = "the.master-key"


def users(line: Bench, *known: Scope, **options: Any) -> tuple[Gateway, Upstream]:
    gateway, upstream = line.pair(auth="identity", **options)
    gateway.tell((), known)
    return gateway, upstream


def ask(gateway: Gateway, headers: bytes, body: bytes = b"{}") -> RawResponse:
    with RawClient(gateway.port) as client:
        return client.ask(post(body, headers=headers))


def message(answer: RawResponse) -> str:
    assert answer.status == 401, answer
    error = json.loads(answer.body)["error"]
    assert error["type"] == "authentication_error"
    assert answer.values(b"x-should-retry") == [b"false"]
    return str(error["message"])


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (b"x-api-key: alice\r\n", "x-api-key"),
        (b"Authorization: Bearer alice\r\n", "bearer"),
        (b"authorization: alice\r\n", "bearer"),
        (b"x-ferryman-key: alice\r\nx-api-key: bob\r\n", "ferryman-key"),
        (b"x-litellm-api-key: Bearer alice\r\n", "ferryman-key"),
        (b"x-api-key: alice\r\nauthorization: Bearer bob\r\n", "both"),
        (b"x-api-key: sk-ant-oat-1\r\nauthorization: Bearer alice\r\n", "both"),
    ],
)
def test_the_credential_is_the_name_of_the_user_wherever_it_stands(
    line: Bench, headers: bytes, kind: str
) -> None:
    gateway, upstream = users(line)
    assert ask(gateway, headers).status == 200
    entry = gateway.entry()
    assert (entry.principal, entry.user_id, entry.credential) == ("alice", "alice", kind)
    assert upstream.requests[0].values(b"x-api-key") == [KEY.encode()]
    assert upstream.requests[0].values(b"authorization") == []


@pytest.mark.parametrize("name", ["a", "a" * 64, "Joe.Doe_7@anl.gov", "a+b-c", "celsius"])
def test_names_that_are_taken(line: Bench, name: str) -> None:
    gateway, _ = users(line)
    assert ask(gateway, b"x-api-key: %b\r\n" % name.encode()).status == 200
    assert gateway.entry().principal == name


@pytest.mark.parametrize("name", ["cels", "CELS", "a" * 65, "two words", "a/b", "jürgen", "a:b", "'; --"])
def test_names_that_are_not_taken_are_not_repeated(line: Bench, name: str) -> None:
    gateway, upstream = users(line)
    told = message(ask(gateway, b"x-api-key: %b\r\n" % name.encode()))
    assert "no user name" in told
    assert "`x-api-key`" in told
    assert name == "cels" or name not in told
    assert (upstream.requests, gateway.entry().principal) == ([], None)


@pytest.mark.parametrize("key", ["sk-ant-api03-secret", "SK-1", MASTER])
def test_a_key_is_no_name_and_is_not_repeated(line: Bench, key: str) -> None:
    gateway, _ = users(line, master_key=MASTER)
    told = message(ask(gateway, b"x-api-key: %b\r\n" % key.encode()))
    assert told.startswith("A key came with the request where a user name is wanted")
    assert key not in told
    assert key not in repr(gateway.entry())


def test_without_a_credential_a_name_is_asked_for(line: Bench) -> None:
    gateway, _ = users(line)
    assert message(ask(gateway, b"")).startswith(
        "No user name came with the request; send yours as the API key"
    )


def test_what_is_set_on_a_user_holds(line: Bench) -> None:
    bob = Scope("user:bob", "user `bob`", blocked=True)
    carol = Scope("user:carol", "user `carol`", models=["claude-haiku-*"])
    gateway, _ = users(line, bob, carol)
    assert message(ask(gateway, b"x-api-key: bob\r\n")) == "The user `bob` is blocked."
    assert ask(gateway, b"x-api-key: carol\r\n", b'{"model":"claude-opus-5"}').status == 404
    assert ask(gateway, b"x-api-key: carol\r\n", b'{"model":"claude-haiku-5"}').status == 200
    assert ask(gateway, b"x-api-key: dave\r\n", b'{"model":"claude-opus-5"}').status == 200


def test_nobody_gets_in_before_it_is_known_who_is_blocked(line: Bench) -> None:
    gateway, upstream = line.pair(auth="identity")
    answer = ask(gateway, b"x-api-key: alice\r\n")
    assert (answer.status, upstream.requests) == (503, [])


def test_what_is_changed_of_a_user_is_told_at_once(store: Store) -> None:
    with Control(store, auth="identity", anthropic_api_key=KEY) as control:
        assert control.scope("user:alice") is None
        control.post(
            "/user/new", {"user_id": "alice", "models": ["claude-haiku-*"], "auto_create_key": False}
        )
        spec = control.user_spec("alice")
        assert (spec.user_id, spec.models, spec.token) == ("alice", [["claude-haiku-*"]], "")
        control.post("/user/update", {"user_id": "alice", "rpm_limit": 7, "models": []})
        assert control.user_spec("alice").models == []
        scope = control.scope("user:alice")
        assert scope is not None
        assert [limit.amount for limit in scope.limits if limit.what == "requests"] == [7]
        control.post("/user/delete", {"user_ids": ["alice"]})
        assert control.scope("user:alice") is None


def test_native_mode_holds_a_user_to_a_budget(tmp_path: Path, line: Bench) -> None:
    """`argo-proxy --native-anthropic`, as Ferryman has it, with limits of LiteLLM's management API."""
    upstream = line.upstream()
    words = ("--native-anthropic", "--upstream-url", upstream.url)
    with (
        Family(tmp_path, *words, env={"LITELLM_MASTER_KEY": MASTER}) as family,
        httpx.Client(base_url=family.url, timeout=10) as client,
    ):
        body = {"user_id": "alice", "max_budget": 0, "auto_create_key": False}
        made = client.post("/user/new", json=body, headers={"authorization": f"Bearer {MASTER}"})
        assert made.status_code == 200
        asked = {"model": "claude-opus-5", "max_tokens": 9, "messages": []}
        statuses = [
            client.post("/v1/messages", json=asked, headers={"x-api-key": name}).status_code
            for name in ("alice", "bob")
        ]
    assert statuses == [429, 200]
    (request,) = [one for one in upstream.requests if one.body]  # the others ask for its models
    assert request.values(b"x-api-key") == [b"bob"]
    assert json.loads(request.body)["metadata"] == {"user_id": "bob"}
