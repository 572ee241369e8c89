"""Several upstreams with manners of their own: where a request goes, and what it is when it gets there."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.conftest import Bench
from tests.support.edge import Upstream, answering
from tests.support.gateway import Gateway
from tests.support.raw import RawClient, RawResponse, get, post
from tests.test_keys_on_the_line import spec, with_key

ARGO: dict[str, Any] = {"profile": "argo", "anthropic_api_key": None}


def ask(gateway: Gateway, request: bytes) -> RawResponse:
    with RawClient(gateway.port) as client:
        return client.ask(request)


def named(body: bytes, name: bytes = b"alice", **options: Any) -> bytes:
    headers = options.pop("headers", b"")
    return post(body, headers=b"x-api-key: " + name + b"\r\n" + headers, **options)


def argo(line: Bench, **options: Any) -> tuple[Gateway, Upstream]:
    gateway, upstream = line.pair(**ARGO, **options)
    gateway.tell()
    return gateway, upstream


def split(line: Bench, *blocks: dict[str, Any], **options: Any) -> tuple[Gateway, list[Upstream]]:
    """A gateway in front of as many upstreams, named `u0`, `u1` and so on."""
    upstreams = [line.upstream(answering(b'{"from":%d}' % number)) for number in range(len(blocks))]
    told = {
        f"u{number}": {"base_url": upstream.url, "api_key": f"sk-ant-{number}"} | block
        for number, (upstream, block) in enumerate(zip(upstreams, blocks, strict=True))
    }
    return line.gateway(upstreams[0].url, upstreams=told, **options), upstreams


def test_argo_gets_the_name_of_the_user_as_credential_user_and_metadata(line: Bench) -> None:
    gateway, upstream = argo(line)
    body = b'{"model": "claude-opus-4",  "metadata": {"user_id": "session_1", "x": 1.0}}'
    answer = ask(gateway, named(body, headers=b"anthropic-version: 2023-06-01\r\n"))
    (request,) = upstream.requests
    assert request.values(b"x-api-key") == [b"alice"]
    assert request.values(b"authorization") == []
    assert request.body == (
        b'{"user":"alice","model": "claude-opus-4",  "metadata": {"user_id": "alice", "x": 1.0}}'
    )
    assert answer.values(b"x-ferryman-mutations") == [b"identity"]
    entry = gateway.entry()
    assert (entry.principal, entry.user_id, entry.credential) == ("alice", "alice", "x-api-key")


def test_each_user_of_one_connection_is_named_as_such(line: Bench) -> None:
    gateway, upstream = argo(line)
    with RawClient(gateway.port) as client:
        for name in (b"alice", b"bob", b"alice"):
            assert client.ask(named(b"{}", name)).status == 200
    assert [request.values(b"x-api-key") for request in upstream.requests] == [
        [b"alice"],
        [b"bob"],
        [b"alice"],
    ]
    assert [json.loads(request.body)["user"] for request in upstream.requests] == ["alice", "bob", "alice"]


def test_a_compressed_body_that_is_edited_goes_decoded(line: Bench) -> None:
    gateway, upstream = argo(line)
    packed = gzip.compress(b'{"model":"m"}')
    answer = ask(gateway, named(packed, headers=b"content-encoding: gzip\r\n"))
    (request,) = upstream.requests
    assert answer.status == 200
    assert request.values(b"content-encoding") == []
    assert json.loads(request.body) == {"model": "m", "user": "alice", "metadata": {"user_id": "alice"}}


@pytest.mark.parametrize(
    "body",
    [b'{"user":"a","us\\u0065r":"b"}', b'{"metadata":{"user_id":"a","user_id":"b"}}', b"no json", b"[]"],
)
def test_a_body_that_could_name_somebody_else_is_refused(line: Bench, body: bytes) -> None:
    gateway, upstream = argo(line)
    answer = ask(gateway, named(body))
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (400, "invalid_request_error")
    assert upstream.requests == []
    assert gateway.entry().principal == "alice"


@pytest.mark.parametrize(
    "path", [b"/v1/messages/batches", b"/v1/messages/", b"/anthropic/v1/Messages", b"/v1/embeddings"]
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_request_that_is_not_read_and_could_name_somebody_else_is_refused(
    line: Bench, path: bytes, size: int
) -> None:
    gateway, upstream = argo(line)
    params = {"user": "bob", "metadata": {"user_id": "bob"}}
    body = json.dumps({**params, "requests": [{"params": params}], "pad": "x" * size}).encode()
    answer = ask(gateway, named(body, path=path))
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (403, "permission_error")
    assert upstream.requests == []


def test_the_key_of_the_server_does_not_go_to_argo(line: Bench) -> None:
    gateway, upstream = line.pair(profile="argo")
    gateway.tell()
    ask(gateway, named(b"{}"))
    assert b"sk-ant" not in repr(upstream.requests).encode()


def test_an_upstream_without_edits_gets_the_bytes_of_the_client(line: Bench) -> None:
    gateway, upstream = line.pair(auth="identity")
    gateway.tell()
    body = b' {"user":"a","user":"b" , "metadata":{"user_id":"c","user_id":"d"}} '
    answer = ask(gateway, named(body, headers=b"anthropic-version: 2023-06-01\r\n"))
    assert upstream.requests[0].body == body
    assert answer.values(b"x-ferryman-mutations") == [b"none"]


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b'{"model":"claude-opus-5"}', 0),
        (b"{}", 0),
        (b'{"model":"gpt-5"}', 1),
        (b'{"model":"o9-mini"}', 1),
        (b'{"model":"gpt-5-local"}', 1),
        (b'{"model":"local/x"}', 2),
    ],
)
def test_the_model_tells_where_a_request_goes(line: Bench, body: bytes, number: int) -> None:
    gateway, upstreams = split(line, {}, {"models": ["gpt-*", "o9-mini"]}, {"models": "*local*, other"})
    answer = ask(gateway, post(body))
    assert json.loads(answer.body) == {"from": number}
    assert [len(upstream.requests) for upstream in upstreams] == [int(at == number) for at in range(3)]
    (request,) = upstreams[number].requests
    assert request.values(b"x-api-key") == [f"sk-ant-{number}".encode()]
    assert request.body == body


def test_one_head_goes_to_two_upstreams_with_the_credential_of_each(line: Bench) -> None:
    gateway, upstreams = split(line, {}, {"models": ["gpt-5"]})
    with RawClient(gateway.port) as client:
        for model in (b"claude", b"gpt-5x", b"gpt-5", b"claude"):
            assert client.ask(post(b'{"model":"%b"}' % model.ljust(9))).status == 200
            assert client.ask(post(b'{"model":"%b" }' % model.ljust(6, b"_"))).status == 200
            assert client.ask(post(b'{"model":"%b"}' % model)).status == 200
    assert {request.values(b"x-api-key")[0] for request in upstreams[0].requests} == {b"sk-ant-0"}
    assert {request.values(b"x-api-key")[0] for request in upstreams[1].requests} == {b"sk-ant-1"}
    assert len(upstreams[1].requests) == 1


def test_what_names_no_model_goes_to_the_first(line: Bench) -> None:
    gateway, upstreams = split(line, {"models": ["claude-*"]}, {"models": ["*"]})
    ask(gateway, get(b"/v1/files"))
    ask(gateway, post(b"x" * 100_000, path=b"/v1/files"))
    assert [len(upstream.requests) for upstream in upstreams] == [2, 0]


def test_a_batch_with_a_model_of_another_upstream_is_refused(line: Bench) -> None:
    gateway, upstreams = split(line, {}, {"models": ["gpt-*"]})
    item = b'{"custom_id":"a","params":{"model":"%b","max_tokens":1}}'
    path = b"/v1/messages/batches"
    answer = ask(gateway, post(b'{"requests":[%b,%b]}' % (item % b"claude", item % b"gpt-5"), path=path))
    assert answer.status == 400
    assert "asks for a model of `u1`" in json.loads(answer.body)["error"]["message"]
    ask(gateway, post(b'{"requests":[%b]}' % (item % b"claude"), path=path))
    assert [len(upstream.requests) for upstream in upstreams] == [1, 0]


def test_an_upstream_of_clients_own_keys_gets_them_and_no_other_does(line: Bench) -> None:
    blocks = [{}, {"models": ["mine"], "credential": "client"}]
    gateway, upstreams = split(line, *blocks, master_key="sk-master-0123456789")
    gateway.tell([spec(b"sk-laptop")])
    headers = b"x-ferryman-key: sk-laptop\r\nauthorization: Bearer my-own\r\n"
    for model in (b"mine", b"other"):
        assert ask(gateway, post(b'{"model":"%b"}' % model, headers=headers)).status == 200
    assert upstreams[1].requests[0].values(b"authorization") == [b"Bearer my-own"]
    assert upstreams[1].requests[0].values(b"x-api-key") == []
    assert upstreams[0].requests[0].values(b"authorization") == []
    assert b"sk-laptop" not in repr([upstream.requests for upstream in upstreams]).encode()


def test_betas_that_an_upstream_does_not_know_stay_behind(line: Bench) -> None:
    gateway, upstreams = split(line, {"strip_betas": ["oauth-*", "new"]})
    with RawClient(gateway.port) as client:
        told = [
            (b"anthropic-beta: a-1, oauth-2025,b-2\r\n", [b"a-1,b-2"], b"anthropic-version, anthropic-beta"),
            (b"anthropic-beta: new\r\n", [], b"anthropic-version, anthropic-beta"),
            (b"Anthropic-Beta:  a-1 ,  b-2\r\n", [b"a-1 ,  b-2"], b"anthropic-version"),
        ]
        for headers, kept, mutations in told:
            answer = client.ask(post(b"{}", headers=headers))
            assert upstreams[0].requests[-1].values(b"anthropic-beta") == kept
            assert answer.values(b"x-ferryman-mutations") == [mutations]


def test_a_key_without_a_user_cannot_call_an_upstream_that_takes_users(line: Bench) -> None:
    gateway, upstreams = split(
        line, {}, {"profile": "argo", "models": ["argo"], "api_key": None}, master_key="sk-m", auth="keys"
    )
    gateway.tell(
        [spec(user_id=None), spec(b"sk-of-alice", user_id="alice"), spec(b"sk-odd", user_id="a\r\nb: c")]
    )
    for key in (b"sk-laptop-0123456789", b"sk-odd"):
        answer = ask(gateway, with_key(b'{"model":"argo"}', key))
        assert (answer.status, upstreams[1].requests) == (403, [])
        assert "`user_id`" in json.loads(answer.body)["error"]["message"]
    assert ask(gateway, with_key(b'{"model":"argo"}', b"sk-of-alice")).status == 200
    assert upstreams[1].requests[0].values(b"x-api-key") == [b"alice"]


OFF = [b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/messages/batches", b"/v1/%6dessages"]


@pytest.mark.parametrize("path", OFF)
def test_native_mode_that_is_off_answers_how_to_turn_it_on(line: Bench, path: bytes) -> None:
    gateway, upstream = line.pair(use_native_anthropic=False)
    answer = ask(gateway, post(b"{}", path=path))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"], upstream.requests) == (404, "not_found_error", [])
    assert "`--native-anthropic`" in error["message"]
    assert "USE_NATIVE_ANTHROPIC=true" in error["message"]
    assert "`use_native_anthropic: true`" in error["message"]


@pytest.mark.parametrize("path", [b"/anthropic/v1/messages", b"/v1/files"])
def test_native_mode_that_is_off_leaves_the_rest(line: Bench, path: bytes) -> None:
    gateway, _ = line.pair(use_native_anthropic=False)
    assert ask(gateway, post(b"{}", path=path)).status == 200
