"""What the simulator refuses, as the real API does."""

import gzip
import zlib
from typing import Any, get_type_hints

import anthropic
import httpx
import pytest
from anthropic.types import message_count_tokens_params, message_create_params

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from ferryman.simulator.validate import COUNT_FIELDS, MESSAGE_FIELDS, SAMPLING_FIELDS

from .conftest import NEW, OLD, Client, body

SENT_AS_HEADERS = {"user_profile_id", "workspace_id"}


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and message of an error whose shape is right."""
    found = answer.json()
    assert found["type"] == "error"
    assert found["request_id"] == answer.headers["request-id"]
    return answer.status_code, found["error"]["type"], found["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"model": None}, "model: Field required", id="no model"),
        pytest.param({"max_tokens": None}, "max_tokens: Field required", id="no max_tokens"),
        pytest.param({"messages": None}, "messages: Field required", id="no messages"),
        pytest.param({"model": 5}, "model: Input should be a valid string", id="model a number"),
        pytest.param({"model": ""}, "model: String should have at least 1 character", id="model empty"),
        pytest.param(
            {"max_tokens": "9"}, "max_tokens: Input should be a valid integer", id="max_tokens text"
        ),
        pytest.param(
            {"max_tokens": True}, "max_tokens: Input should be a valid integer", id="max_tokens true"
        ),
        pytest.param(
            {"max_tokens": 1.5}, "max_tokens: Input should be a valid integer", id="max_tokens broken"
        ),
        pytest.param(
            {"max_tokens": -1},
            "max_tokens: Input should be greater than or equal to 0",
            id="max_tokens negative",
        ),
        pytest.param({"messages": {}}, "messages: Input should be a valid list", id="messages an object"),
        pytest.param({"messages": []}, "messages: at least one message is required", id="messages empty"),
        pytest.param(
            {"messages": ["x"]}, "messages.0: Input should be a valid dictionary", id="message a text"
        ),
        pytest.param(
            {"messages": [{"role": "tool", "content": "x"}]},
            'messages.0.role: Input should be "user", "assistant" or "system"',
            id="role",
        ),
        pytest.param({"messages": [{"role": "user"}]}, "messages.0.content: Field required", id="no content"),
        pytest.param(
            {"messages": [{"role": "user", "content": 5}]},
            "messages.0.content: Input should be a valid string or list",
            id="content a number",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{}]}]},
            "messages.0.content.0.type: Field required",
            id="block without type",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text: Field required",
            id="text without text",
        ),
        pytest.param({"system": 5}, "system: Input should be a valid string or list", id="system"),
        pytest.param({"stream": "yes"}, "stream: Input should be a valid boolean", id="stream"),
        pytest.param({"tools": {}}, "tools: Input should be a valid list", id="tools"),
        pytest.param({"tools": ["x"]}, "tools.0: Input should be a valid dictionary", id="tool a text"),
        pytest.param({"tools": [{}]}, "tools.0.name: Field required", id="tool without name"),
        pytest.param({"thinking": {"x": 1}}, "thinking.type: Field required", id="thinking without type"),
        pytest.param({"metadata": "x"}, "metadata: Input should be a valid dictionary", id="metadata"),
        pytest.param(
            {"stop_sequences": [" "]},
            "stop_sequences.0: Input should be a string that is not only white space",
            id="blank stop sequence",
        ),
        pytest.param(
            {"tool_choice": {"type": "any"}},
            "tool_choice: may only be specified while providing tools",
            id="tool_choice without tools",
        ),
        pytest.param(
            {"tools": [{"name": "a"}], "tool_choice": {"type": "tool", "name": "b"}},
            "tool_choice.name: Tool `b` not found in provided tools",
            id="tool_choice of another tool",
        ),
        pytest.param({"surprise": 1}, "surprise: Extra inputs are not permitted", id="unknown field"),
        pytest.param(
            {"context_management": {}}, "context_management: Extra inputs are not permitted", id="beta field"
        ),
        pytest.param({"temperature": "x"}, "temperature: Input should be a valid number", id="temperature"),
    ],
)
def test_bad_body_is_refused_with_400(client: Client, fields: dict[str, Any], message: str) -> None:
    assert refusal(client.ask(**fields)) == (400, "invalid_request_error", message)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"model": "\xff"}', b"[" * 100_000, b'{"a":NaN}'],
    ids=["empty", "cut", "not text", "not UTF-8", "deep", "NaN"],
)
def test_body_that_is_no_json_is_refused(client: Client, content: bytes) -> None:
    answer = client.request("POST", "/v1/messages", content=content)
    assert refusal(answer) == (400, "invalid_request_error", "The request body is not valid JSON")


def test_body_that_is_no_object_is_refused(client: Client) -> None:
    answer = client.request("POST", "/v1/messages", content=b"[]")
    assert refusal(answer) == (400, "invalid_request_error", "The request body must be a JSON object")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/x"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": ""}, {"authorization": "Bearer"}, {"authorization": "Basic a2V5"}],
    ids=["none", "empty key", "empty token", "basic"],
)
def test_no_credential_is_refused_with_401(client: Client, path: str, headers: dict[str, str]) -> None:
    method = "GET" if "models" in path else "POST"
    answer = client.http.request(method, path, headers={"anthropic-version": OLD, **headers})
    assert refusal(answer) == (401, "authentication_error", "x-api-key header is required")


@pytest.mark.parametrize("headers", [{"x-api-key": "any"}, {"authorization": "bearer any"}])
def test_any_credential_is_accepted_unless_the_valid_ones_are_listed(
    client: Client, headers: dict[str, str]
) -> None:
    answer = client.http.get("/v1/models", headers={"anthropic-version": NEW, **headers})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "right"}, 200),
        ({"authorization": "Bearer right"}, 200),
        ({"authorization": "Bearer right", "x-api-key": "also right"}, 200),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"x-api-key": "right", "authorization": "Bearer wrong"}, 401),
    ],
)
def test_every_credential_has_to_be_a_listed_one(headers: dict[str, str], status: int) -> None:
    with Server(SimulatorSettings(api_keys=("right", "also right"))) as simulator:
        answer = httpx.get(f"{simulator.url}/v1/models", headers={"anthropic-version": NEW, **headers})
        assert answer.status_code == status


def test_listed_credentials_are_not_shown_in_the_settings() -> None:
    assert "secret" not in repr(SimulatorSettings(api_keys=("secret",)))


def test_version_is_required_and_must_be_known(client: Client) -> None:
    missing = client.http.post("/v1/messages", headers={"x-api-key": "k"}, json=body())
    assert refusal(missing) == (400, "invalid_request_error", "anthropic-version: header is required")
    status, _, message = refusal(client.ask(headers={"anthropic-version": "2024-01-01"}))
    assert (status, "`2024-01-01`" in message) == (400, True)


@pytest.mark.parametrize("name", sorted(SAMPLING_FIELDS))
def test_sampling_fields_are_allowed_under_the_old_version_only(client: Client, name: str) -> None:
    fields: Any = {name: 1}
    assert client.ask(**fields).status_code == 200
    refused = client.ask(**fields, headers={"anthropic-version": NEW, "anthropic-beta": "any"})
    assert refusal(refused)[0] == 400
    assert name in refusal(refused)[2]


def test_beta_header_allows_unknown_fields(client: Client) -> None:
    beta = {"anthropic-beta": "surprises-2026-01-01"}
    assert client.ask(surprise=1, headers=beta).status_code == 200
    assert client.ask(surprise=1, headers={"anthropic-beta": ","}).status_code == 400


def test_known_fields_are_those_of_the_sdk() -> None:
    create = set(get_type_hints(message_create_params.MessageCreateParamsStreaming))
    count = set(get_type_hints(message_count_tokens_params.MessageCountTokensParams))
    assert create - SENT_AS_HEADERS == MESSAGE_FIELDS
    assert count - SENT_AS_HEADERS == COUNT_FIELDS


def test_null_is_as_good_as_absent_for_optional_fields(client: Client) -> None:
    answer = client.request(
        "POST", "/v1/messages", json=body() | {"system": None, "tools": None, "speed": None}
    )
    assert answer.status_code == 200


def test_count_tokens_takes_no_max_tokens(client: Client) -> None:
    answer = client.request("POST", "/v1/messages/count_tokens", json=body())
    assert refusal(answer) == (400, "invalid_request_error", "max_tokens: Extra inputs are not permitted")
    answer = client.request("POST", "/v1/messages/count_tokens", json=body(max_tokens=None, temperature=1))
    assert refusal(answer) == (400, "invalid_request_error", "temperature: Extra inputs are not permitted")


@pytest.mark.parametrize("model", ["my-alias", "gpt-9"])
def test_unknown_model_is_not_found(client: Client, model: str) -> None:
    assert refusal(client.ask(model=model)) == (404, "not_found_error", f"model: {model}")


def test_unlisted_claude_model_is_found_unless_models_are_strict(client: Client) -> None:
    assert client.ask(model="claude-3-opus-20240229").status_code == 200
    with Server(SimulatorSettings(models=("claude-one",), strict_models=True)) as strict:
        headers = {"x-api-key": "k", "anthropic-version": OLD}
        for model, status in (("claude-one", 200), ("claude-two", 404)):
            answer = httpx.post(f"{strict.url}/v1/messages", headers=headers, json=body(model=model))
            assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/", "/v1/files/", "/v1/messages/", "/v1/messages/batches/", "/v1/complete"]
)
def test_unknown_path_is_not_found(client: Client, path: str) -> None:
    assert refusal(client.request("POST", path, content=b"{}")) == (404, "not_found_error", "Not found")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/messages"), ("DELETE", "/v1/models")])
def test_wrong_method_is_refused_with_405(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert refusal(answer) == (405, "invalid_request_error", "Method Not Allowed")
    assert answer.headers["allow"]


def test_unknown_own_path_is_not_found(client: Client) -> None:
    assert client.http.get("/simulator/else").status_code == 404


def test_body_over_the_limit_is_refused_with_413() -> None:
    with Server(SimulatorSettings(max_body_bytes=100_000)) as simulator:
        headers = {"x-api-key": "k", "anthropic-version": OLD}
        too_big = httpx.post(f"{simulator.url}/v1/messages", headers=headers, content=b" " * 5_000_000)
        assert refusal(too_big)[:2] == (413, "request_too_large")
        assert len(simulator.recorder.last.body) == 100_001
        packed = gzip.compress(b" " * 100_001)
        bomb = httpx.post(
            f"{simulator.url}/v1/messages", headers=headers | {"content-encoding": "gzip"}, content=packed
        )
        assert bomb.status_code == 413
        assert bomb.json()["error"]["details"] == {"error_code": "request_body_too_large_after_decoding"}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_encoded_body_is_decoded(client: Client, encoding: str, pack: Any) -> None:
    packed = pack(b'{"model":"claude-opus-5-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}')
    answer = client.request("POST", "/v1/messages", content=packed, headers={"content-encoding": encoding})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("encoding", "content", "code"),
    [
        ("br", b"{}", "request_body_encoding_unsupported"),
        ("gzip", b"{}", "request_body_encoding_invalid"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], "request_body_encoding_invalid"),
    ],
)
def test_badly_encoded_body_is_refused(client: Client, encoding: str, content: bytes, code: str) -> None:
    answer = client.request("POST", "/v1/messages", content=content, headers={"content-encoding": encoding})
    assert refusal(answer)[0] == 400
    assert answer.json()["error"]["details"] == {"error_code": code}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ],
)
def test_sdk_raises_the_class_of_an_error(
    sdk: anthropic.Anthropic, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        sdk.messages.create(
            model=f"claude-opus-5-5:status={status}",
            max_tokens=9,
            messages=[{"role": "user", "content": "Hi"}],
        )
    assert caught.value.request_id is not None
