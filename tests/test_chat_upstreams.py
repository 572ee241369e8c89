"""Chat completions and tools before upstreams that have manners."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Bench
from tests.support.chat import MESSAGES, MODEL, client_of
from tests.support.edge import Connection
from tests.support.raw import RawClient, post
from tests.test_gate import ANSWER
from tests.test_upstreams import ARGO

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def answering(connection: Connection) -> None:
    """Answers with a message, as often as it is asked."""
    while True:
        connection.request()
        connection.answer(ANSWER)


def test_before_argo_the_key_of_openais_client_is_the_name_of_the_user(line: Bench) -> None:
    gateway, upstream = line.pair(answering, **ARGO)
    gateway.tell()
    raw = client_of(line, gateway, "alice").chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, user="somebody", extra_body={"litellm_metadata": {"tags": ["t"]}}
    )
    (request,) = upstream.requests
    assert request.values(b"x-api-key") == [b"alice"]
    body = json.loads(request.body)
    assert (body["user"], body["metadata"]) == ("alice", {"user_id": "alice"})
    assert "litellm_metadata" not in body
    assert raw.headers["x-ferryman-mutations"] == "anthropic-version, openai, litellm_metadata, identity"
    entry = gateway.entry()
    assert (entry.principal, entry.tags) == ("alice", ["t"])


def test_chats_go_on_where_messages_are_turned_off(line: Bench) -> None:
    gateway, upstream = line.pair(answering, use_native_anthropic=False)
    client_of(line, gateway).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert [request.line for request in upstream.requests] == [b"POST /v1/messages HTTP/1.1"]
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"{}")).status == 404


def test_a_chat_goes_to_the_upstream_of_its_model(line: Bench) -> None:
    first, second = line.upstream(answering), line.upstream(answering)
    told = {
        "a": {"base_url": first.url, "api_key": "sk-ant-1"},
        "b": {"base_url": second.url, "api_key": "sk-ant-2", "models": ["claude-haiku-*"]},
    }
    client = client_of(line, line.gateway(first.url, upstreams=told))
    for model in (MODEL, "claude-haiku-5-5"):
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert [json.loads(one.requests[0].body)["model"] for one in (first, second)] == [
        MODEL,
        "claude-haiku-5-5",
    ]


def asked(line: Bench, tools: list[Any], **options: Any) -> tuple[Any, list[bytes]]:
    """What the upstream gets of a Messages request with these tools, and the changes that are told."""
    gateway, upstream = line.pair(answering, **options)
    gateway.tell()
    body = json.dumps({"model": MODEL, "tools": tools, "tool_choice": "auto"}).encode()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(body, headers=b"x-api-key: alice\r\nanthropic-version: 2023-06-01\r\n"))
    return json.loads(upstream.requests[0].body), answer.values(b"x-ferryman-mutations")


def test_before_argo_functions_become_tools(line: Bench) -> None:
    body, changes = asked(line, [FUNCTION, TOOL], **ARGO)
    assert (body["tools"], body["tool_choice"]) == ([TOOL, TOOL], {"type": "auto"})
    assert changes == [b"tools, identity"]


@pytest.mark.parametrize("family", ["anthropic", "openai"])
def test_an_upstream_converts_tools_to_the_shape_of_its_family(line: Bench, family: str) -> None:
    upstream = line.upstream(answering)
    told = {"base_url": upstream.url, "api_key": "sk-ant-1", "tools": "convert", "family": family}
    gateway = line.gateway(upstream.url, upstreams={"a": told})
    body = json.dumps({"model": MODEL, "tools": [FUNCTION, TOOL]}).encode()
    with RawClient(gateway.port) as client:
        assert client.ask(post(body)).status == 200
    wanted = TOOL if family == "anthropic" else FUNCTION
    assert json.loads(upstream.requests[0].body)["tools"] == [wanted, wanted]


def test_without_the_wish_tools_go_as_they_are(line: Bench) -> None:
    body, changes = asked(line, [FUNCTION])
    assert (body["tools"], changes) == ([FUNCTION], [b"none"])
