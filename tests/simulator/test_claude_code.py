"""Claude Code's requests, shaped as version 2.1.330 sends them (recorded on loopback, shortened)."""

from typing import Any

from .conftest import OLD, Client
from .sse import of_type, types_of

BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "per-turn-control-2026-07-01,mid-conversation-tool-changes-2026-07-01,"
    "thinking-token-count-2026-05-13,advanced-tool-use-2025-11-20,effort-2025-11-24"
)
HEADERS = {
    "authorization": "Bearer key",
    "anthropic-version": OLD,
    "anthropic-beta": BETAS,
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.330 (external, sdk-cli)",
    "x-app": "cli",
}
MARK = {"type": "ephemeral"}


def claude_code_body(prompt: str) -> dict[str, Any]:
    return {
        "model": "claude-opus-5-5",
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "<system-reminder>\nuse the Write tool with care\n</system-reminder>",
                    },
                    {"type": "text", "text": prompt},
                ],
            },
            {"role": "system", "content": [{"type": "text", "text": "# Environment", "cache_control": MARK}]},
        ],
        "system": [
            {
                "type": "text",
                "text": "x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=sdk-cli;",
            },
            {"type": "text", "text": "You are Claude Code.", "cache_control": MARK},
        ],
        "tools": [
            {"name": "Bash", "input_schema": {"type": "object", "required": ["command"]}},
            {"name": "Write", "input_schema": {"type": "object"}},
            {"name": "DeferredToolPlaceholder", "input_schema": {"type": "object"}, "defer_loading": True},
        ],
        "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
        "max_tokens": 128_000,
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "safeguards": {"mode": "default"},
        "stream": True,
    }


def test_turn_of_claude_code_is_answered(client: Client) -> None:
    answer = client.http.post("/v1/messages?beta=true", headers=HEADERS, json=claude_code_body("say hi"))
    assert answer.status_code == 200
    assert types_of(answer.text)[-1] == "message_stop"
    assert "say hi" in answer.text
    assert of_type(answer.text, "message_delta")[0]["delta"]["stop_reason"] == "end_turn"


def test_tool_result_followed_by_a_system_entry_is_answered_by_text(client: Client) -> None:
    request = claude_code_body("use the Bash tool")
    first = client.http.post(
        "/v1/messages?beta=true", headers=HEADERS, json=request | {"stream": False}
    ).json()
    assert first["stop_reason"] == "tool_use"
    assert first["content"][-1]["name"] == "Bash"
    assert first["content"][-1]["input"] == {"command": "simulated command"}
    result = {
        "type": "tool_result",
        "tool_use_id": first["content"][-1]["id"],
        "content": "denied",
        "is_error": True,
    }
    request["messages"] += [
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result]},
        {
            "role": "system",
            "content": [{"type": "text", "text": "14987561 tokens left", "cache_control": MARK}],
        },
    ]
    second = client.http.post(
        "/v1/messages?beta=true", headers=HEADERS, json=request | {"stream": False}
    ).json()
    assert second["stop_reason"] == "end_turn"
    assert "denied" in second["content"][-1]["text"]
    created = first["usage"]["cache_creation_input_tokens"]
    assert second["usage"]["cache_read_input_tokens"] == created > 0
    assert second["usage"]["input_tokens"] == 0


def test_counting_for_the_context_view_is_answered(client: Client) -> None:
    request = claude_code_body("say hi")
    kept = {name: request[name] for name in ("model", "messages", "system", "tools", "context_management")}
    answer = client.http.post("/v1/messages/count_tokens?beta=true", headers=HEADERS, json=kept)
    assert answer.json()["input_tokens"] > 20


def test_probe_at_start_is_answered(client: Client) -> None:
    assert client.http.head("/api/hello", headers={"user-agent": "Bun/1.4.4"}).status_code == 200
