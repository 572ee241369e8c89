"""Virtual keys, as a worker checks them: who gets in, and what a key may call and ask for."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from ferryman.limits.spec import KeySpec, Scope
from tests.conftest import KEY, Bench
from tests.support.edge import Upstream
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, RawResponse, post

MASTER = "sk-the-master-key"
LAPTOP = b"sk-laptop-0123456789"


def token_of(key: bytes) -> str:
    return sha256(key).hexdigest()


def spec(key: bytes = LAPTOP, **fields: Any) -> KeySpec:
    return KeySpec(token_of(key), "id-of-" + key.decode(), **fields)


def guarded(line: Bench, *keys: KeySpec, **options: Any) -> tuple[Gateway, Upstream]:
    """A gateway that knows these keys, and its upstream."""
    scopes = options.pop("scopes", ())
    gateway, upstream = line.pair(master_key=MASTER, **options)
    gateway.tell(keys, scopes)
    return gateway, upstream


def ask(gateway: Gateway, request: bytes) -> RawResponse:
    with RawClient(gateway.port) as client:
        return client.ask(request)


def with_key(body: bytes = b"{}", key: bytes = LAPTOP, path: bytes = b"/v1/messages") -> bytes:
    return post(body, path=path, headers=b"x-api-key: " + key + b"\r\n")


def error_of(answer: RawResponse) -> tuple[int, str, str]:
    error = json.loads(answer.body)["error"]
    return answer.status, error["type"], error["message"]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        pytest.param(b"x-api-key: %b\r\n", "x-api-key", id="x-api-key"),
        pytest.param(b"Authorization: Bearer %b\r\n", "bearer", id="bearer"),
        pytest.param(b"authorization: bearer   %b \r\n", "bearer", id="bearer-lower"),
        pytest.param(b"x-api-key: other\r\nAuthorization: Bearer %b\r\n", "both", id="known-bearer"),
        pytest.param(b"x-api-key: %b\r\nAuthorization: Bearer other\r\n", "both", id="known-x-api-key"),
        pytest.param(b"x-ferryman-key: %b\r\n", "ferryman-key", id="own-name"),
        pytest.param(b"x-litellm-api-key: Bearer %b\r\n", "ferryman-key", id="litellm-name"),
        pytest.param(
            b"x-litellm-api-key: %b\r\nAuthorization: Bearer mine\r\n", "ferryman-key", id="own-before-theirs"
        ),
    ],
)
def test_a_known_key_gets_in_wherever_it_stands_and_never_goes_upstream(
    line: Bench, headers: bytes, kind: str
) -> None:
    gateway, upstream = guarded(line, spec(user_id="alice", team_id="research"))
    with RawClient(gateway.port) as client:
        for _ in range(2):  # the second head is one that is known
            assert client.ask(post(b"{}", headers=headers % LAPTOP)).status == 200
    for request in upstream.requests:
        assert request.values(b"x-api-key") == [KEY.encode()]
        assert request.values(b"authorization") == []
        assert LAPTOP not in repr(request).encode()
    entry = gateway.entry(2)
    assert (entry.principal, entry.credential) == ("id-of-sk-laptop-0123456789", kind)
    assert (entry.user_id, entry.team_id) == ("alice", "research")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (b"", "No virtual key came with the request"),
        (b"x-api-key: sk-unknown\r\n", "not known"),
        (b"x-api-key: \r\n", "No virtual key"),
        (b"Authorization: Basic c2s6\r\n", "No virtual key"),
        (b"x-ferryman-key: sk-unknown\r\nx-api-key: " + LAPTOP + b"\r\n", "not known"),
        (b"x-api-key: " + MASTER.encode() + b"\r\n", "master key"),
        (b"x-api-key: " + token_of(LAPTOP).encode() + b"\r\n", "not known"),
    ],
)
def test_who_has_no_known_key_is_told_once_and_for_all(line: Bench, headers: bytes, said: str) -> None:
    gateway, upstream = guarded(line, spec())
    answer = ask(gateway, post(b"{}", headers=headers))
    status, kind, message = error_of(answer)
    assert (status, kind) == (401, "authentication_error")
    assert said in message
    assert answer.values(b"x-should-retry") == [b"false"]
    assert not upstream.requests
    assert gateway.entry().principal is None


def test_before_keys_are_told_callers_are_asked_to_come_again(line: Bench) -> None:
    gateway, _ = line.pair(master_key=MASTER)
    answer = ask(gateway, with_key())
    assert error_of(answer)[:2] == (503, "api_error")
    assert answer.values(b"retry-after") == [b"1"]


def test_own_paths_of_the_worker_need_no_key(line: Bench) -> None:
    gateway, _ = guarded(line)
    assert ask(gateway, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


def test_a_key_ends_when_its_time_has_come(line: Bench, clock: HeldClock) -> None:
    gateway, _ = guarded(line, spec(expires_at=clock.now() + 60), clock=clock)
    with RawClient(gateway.port) as client:
        assert client.ask(with_key()).status == 200
        gateway.pass_time(60)
        answer = client.ask(with_key())
    assert error_of(answer)[:2] == (401, "authentication_error")
    assert "expired" in error_of(answer)[2]


def test_a_change_holds_on_connections_that_are_open(line: Bench) -> None:
    gateway, upstream = guarded(line, spec())
    with RawClient(gateway.port) as client:
        assert client.ask(with_key()).status == 200
        gateway.tell([spec(blocked="This key is blocked; ask alice.")])
        assert error_of(client.ask(with_key())) == (
            401,
            "authentication_error",
            "This key is blocked; ask alice.",
        )
        gateway.tell([])
        assert error_of(client.ask(with_key()))[0] == 401
        gateway.tell([spec()])
        assert client.ask(with_key()).status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("lists", "model", "status"),
    [
        ([], "claude-opus-5-5", 200),
        ([["claude-opus-*"]], "claude-opus-5-5", 200),
        ([["claude-opus-*"]], "claude-haiku-5-5", 404),
        ([["claude-opus-*"], ["*-5-5"]], "claude-opus-5-5", 200),
        ([["claude-opus-*"], ["claude-haiku-5-5"]], "claude-opus-5-5", 404),
        ([["claude.opus"]], "claude-opus", 404),
        ([["*"]], "anything at all", 200),
        ([["claude-opus-*"]], "claude-haiku-5-5\nclaude-opus-5", 404),
        ([["claude-opus-*"]], "Claude-Opus-5-5", 404),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/messages", b"/anthropic/v1/messages", b"/v1/messages/count_tokens"])
def test_each_list_of_models_has_to_allow_a_call(
    line: Bench, lists: list[list[str]], model: str, status: int, path: bytes
) -> None:
    gateway, upstream = guarded(line, spec(models=lists))
    answer = ask(gateway, with_key(json.dumps({"model": model}).encode(), path=path))
    assert answer.status == status
    assert len(upstream.requests) == (status == 200)
    if status == 404:
        assert error_of(answer)[1] == "not_found_error"
        assert answer.values(b"x-should-retry") == [b"false"]
        assert model.encode("unicode_escape").decode() in error_of(answer)[2]


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}'])
def test_a_list_of_models_refuses_what_names_none(line: Bench, body: bytes) -> None:
    gateway, upstream = guarded(line, spec(models=[["*"]]))
    assert error_of(ask(gateway, with_key(body)))[:2] == (403, "permission_error")
    assert not upstream.requests


def batch_of(*models: object) -> bytes:
    return json.dumps(
        {"requests": [{"custom_id": str(n), "params": {"model": model}} for n, model in enumerate(models)]}
    ).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (batch_of("claude-opus-5-5"), 200),
        (batch_of(*["claude-opus-5-5"] * 100, "claude-haiku-5-5"), 404),
        (batch_of(*(f"claude-opus-{n}" for n in range(100)), "claude-haiku-5-5"), 404),
        (batch_of("claude-opus-5-5", None), 404),
        (b"[]", 400),
        (b'{"requests":[]}', 403),
        (b'{"requests":[{}]}', 404),
    ],
)
def test_each_request_of_a_batch_has_to_ask_for_an_allowed_model(
    line: Bench, body: bytes, status: int
) -> None:
    gateway, upstream = guarded(line, spec(models=[["claude-opus-*"]]))
    answer = ask(gateway, with_key(body, path=b"/v1/messages/batches"))
    assert answer.status in (
        {200, 502} if status == 200 else {status}
    )  # the upstream's answer shows no batch
    assert len(upstream.requests) == (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"GET", b"/v1/organizations/me", 403),
        (b"POST", b"/anthropic/v1/organizations/invites", 403),
        (b"GET", b"/v1/%6frganizations/me", 403),
        (b"POST", b"/v1/oauth/token", 403),
        (b"GET", b"/v1/models", 200),
        (b"POST", b"/v1/sessions", 200),
        (b"GET", b"/v1/files/file_1", 503),
        (b"GET", b"/anthropic/api/event_logging", 403),
    ],
)
def test_what_administers_the_organization_is_not_for_virtual_keys(
    line: Bench, method: bytes, path: bytes, status: int
) -> None:
    gateway, upstream = guarded(line, spec())
    head = b"%b %b HTTP/1.1\r\nHost: a\r\nx-api-key: %b\r\nContent-Length: 0\r\n\r\n"
    answer = ask(gateway, head % (method, path, LAPTOP))
    assert answer.status == status
    assert len(upstream.requests) == (status == 200)
    if status == 403:
        assert error_of(answer)[1] == "permission_error"


@pytest.mark.parametrize(
    ("routes", "path", "status"),
    [
        (["/v1/organizations/*"], b"/v1/organizations/me", 200),
        (["/v1/organizations/*"], b"/v1/messages", 403),
        (["/v1/messages"], b"/anthropic/v1/messages", 200),
        (["/anthropic/*"], b"/anthropic/v1/messages", 200),
        (["/anthropic/*"], b"/v1/messages", 403),
        (["/v1/messages"], b"/v1/messages/count_tokens", 403),
        ([], b"/v1/messages", 403),
    ],
)
def test_a_key_with_routes_may_call_these_alone(
    line: Bench, routes: list[str], path: bytes, status: int
) -> None:
    gateway, upstream = guarded(line, spec(routes=routes))
    assert ask(gateway, with_key(path=path)).status == status
    assert len(upstream.requests) == (status == 200)


@pytest.mark.parametrize(
    "path", [b"/v1/sessions", b"/v1/agents", b"/v1/messages/", b"/v1/complete", b"/v1/new"]
)
def test_what_cannot_be_metered_is_not_for_keys_with_a_list_of_models(line: Bench, path: bytes) -> None:
    gateway, upstream = guarded(line, spec(models=[["*"]]))
    assert error_of(ask(gateway, with_key(path=path)))[:2] == (403, "permission_error")
    assert not upstream.requests


def test_a_blocked_team_lets_nobody_through(line: Bench) -> None:
    team = Scope("team:research", "team `research`", blocked=True)
    gateway, upstream = guarded(line, spec(scopes=["team:research"]), scopes=[team])
    said = "The team `research` is blocked."
    assert error_of(ask(gateway, with_key())) == (401, "authentication_error", said)
    assert not upstream.requests


def test_what_is_set_on_user_and_team_holds_for_a_key_as_soon_as_it_is_told(line: Bench) -> None:
    keys = [spec(models=[["claude-*"]], tags=["own"], scopes=["user:ann", "team:red"])]
    haiku, opus = b'{"model":"claude-haiku-4-5"}', b'{"model":"claude-opus-5-5"}'
    gateway, _ = guarded(line, *keys)

    def asked() -> list[int]:
        return [client.ask(with_key(body)).status for body in (haiku, opus, b'{"model":"x"}')]

    with RawClient(gateway.port) as client:
        assert asked() == [200, 200, 404]
        team = Scope("team:red", "team `red`", models=["*haiku*"], tags=["reds", "own"])
        gateway.tell(keys, [team])
        assert asked() == [200, 404, 404]
        assert gateway.entry(4).tags == ["own", "reds"]
        user = Scope("user:ann", "user `ann`", models=["claude-opus-*"])
        gateway.tell(keys, [team, user])
        assert asked() == [404, 404, 404]
        gateway.tell(keys, [user])
        assert asked() == [404, 200, 404]
        gateway.tell(keys, [Scope("user:ann", "user `ann`", blocked=True)])
        assert asked() == [401, 401, 401]
        gateway.tell(keys)
        assert asked() == [200, 200, 404]


@pytest.mark.parametrize("name", ["customer:bob", "tag:red", "session:s1"])
def test_who_is_named_in_the_request_can_be_blocked(line: Bench, name: str) -> None:
    gateway, upstream = guarded(line, spec(), scopes=[Scope(name, "this one", blocked=True)])
    headers = (
        b"x-litellm-end-user-id: bob\r\nx-litellm-tags: blue, red\r\nx-claude-code-session-id: s1\r\n"
        b"x-api-key: " + LAPTOP + b"\r\n"
    )
    assert error_of(ask(gateway, post(b"{}", headers=headers)))[:2] == (403, "permission_error")
    assert not upstream.requests


def test_tags_of_a_key_stand_in_each_of_its_entries(line: Bench) -> None:
    gateway, _ = guarded(line, spec(tags=["lab", "red"]))
    with RawClient(gateway.port) as client:
        for _ in range(2):
            client.ask(post(b"{}", headers=b"x-litellm-tags: red, blue\r\nx-api-key: " + LAPTOP + b"\r\n"))
    assert gateway.entry(1).tags == gateway.entry(2).tags == ["lab", "red", "blue"]


def test_without_a_key_of_the_servers_the_clients_own_credential_goes_on(line: Bench) -> None:
    gateway, upstream = guarded(line, spec(), anthropic_api_key=None)
    sent = b"x-ferryman-key: " + LAPTOP + b"\r\nAuthorization: Bearer sk-ant-oat\r\n"
    assert ask(gateway, post(b"{}", headers=sent)).status == 200
    (request,) = upstream.requests
    assert request.values(b"authorization") == [b"Bearer sk-ant-oat"]
    assert LAPTOP not in repr(request).encode()


def test_without_a_key_of_the_servers_the_virtual_key_stands_in_a_header_of_ours(line: Bench) -> None:
    gateway, upstream = guarded(line, spec(), anthropic_api_key=None)
    status, kind, message = error_of(ask(gateway, with_key()))
    assert (status, kind) == (401, "authentication_error")
    assert "x-ferryman-key" in message
    assert not upstream.requests


def test_readiness_waits_for_the_keys(line: Bench) -> None:
    gateway, _ = line.pair(master_key=MASTER)
    request = b"GET /health/readiness HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask(gateway, request)
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "keys not known yet")
    gateway.tell()
    assert ask(gateway, request).status == 200
