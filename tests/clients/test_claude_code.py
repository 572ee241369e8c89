"""Claude Code without a terminal, and the Agent SDK that runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from .environments import claude_code, python_of
from .gateway import Entry
from .meter import SETTINGS
from .passage import SERVER_KEY, TOKEN_CLASSES, Crossing, Passage, tokens_of
from .program import PROGRAMS, run

KEY, TOKEN = "sk-client-77aa", "token-client-88bb"
CREDENTIALS = {
    "x-api-key": {"ANTHROPIC_API_KEY": KEY},
    "bearer": {"ANTHROPIC_AUTH_TOKEN": TOKEN},
    "both": {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": TOKEN},
}
OWN_FIELDS = {"model", "messages", "system", "tools", "metadata", "max_tokens", "thinking", "stream"}


def ask(url: str, home: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """What `claude -p` prints, as a user who never ran it before."""
    done = run(
        [str(claude_code()), "-p", "--output-format", "json", *arguments],
        home,
        ANTHROPIC_BASE_URL=url,
        CLAUDE_CONFIG_DIR=str(home / "config"),
        **SETTINGS | environment,
    )
    assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "exit_code": done.returncode}


def check_sent(crossing: Crossing, session_id: str) -> None:
    """Assert that the request is Claude Code's own, which arrived whole."""
    assert crossing.recorded.target == b"/v1/messages?beta=true"
    assert crossing.entry["session_id"] == session_id
    assert crossing.recorded.header("x-claude-code-session-id") == session_id
    assert len(crossing.recorded.body) == int(crossing.recorded.header("content-length") or 0) > 10_000
    body = crossing.recorded.json()
    assert body.keys() >= OWN_FIELDS
    assert json.loads(body["metadata"]["user_id"])["session_id"] == session_id
    assert body["system"][0]["text"].startswith("x-anthropic-billing-header: ")
    assert "claude-code-20250219" in (crossing.recorded.header("anthropic-beta") or "")
    assert crossing.recorded.header("anthropic-version") == "2023-06-01"


def check_sum(usage: dict[str, Any], entries: list[Entry]) -> None:
    """Assert that the client reports what the lines of the log come to together."""
    for name in TOKEN_CLASSES:
        if name != "cache_creation":
            assert usage[name] == sum(entry["usage"][name] for entry in entries)


@pytest.mark.parametrize("root", ["", "/anthropic"], ids=["root", "below-anthropic"])
@pytest.mark.parametrize("kind", CREDENTIALS)
def test_question_is_answered_and_counted_alike_everywhere(
    passage: Passage, tmp_path: Path, kind: str, root: str
) -> None:
    answer = ask(passage.url + root, tmp_path, "say hi", **CREDENTIALS[kind])
    crossing = passage.crossing()
    assert answer["exit_code"] == 0
    assert answer["is_error"] is False
    assert "You began with “say hi”." in answer["result"]
    check_sent(crossing, answer["session_id"])
    assert crossing.sent.target.startswith(root)
    assert crossing.entry["credential"] == kind
    assert crossing.recorded.header_values("x-api-key") == [SERVER_KEY]
    assert tokens_of(answer["usage"]) == crossing.tokens == tokens_of(crossing.entry["usage"])
    details = "output_tokens_details"
    assert answer["usage"][details] == crossing.entry["usage"][details]
    assert list(answer["modelUsage"]) == [crossing.entry["model"]]


def test_tool_turn_is_two_requests_of_one_session(passage: Passage, tmp_path: Path) -> None:
    answer = ask(passage.url, tmp_path, "use the Read tool", **CREDENTIALS["bearer"])
    first, second = passage.crossings(2)
    assert answer["num_turns"] == 2
    assert "the tool has answered" in answer["result"]
    for crossing in (first, second):
        check_sent(crossing, answer["session_id"])
    assert second.tokens["cache_read_input_tokens"] > 0
    check_sum(answer["usage"], [first.entry, second.entry])


def test_context_view_counts_tokens_at_no_cost(passage: Passage, tmp_path: Path) -> None:
    answer = ask(passage.url, tmp_path, "/context", **CREDENTIALS["bearer"])
    assert "## Context Usage" in answer["result"]
    crossings = passage.crossings(passage.sent_count)
    assert len(crossings) > 10  # as many as it has tools and texts, and all at once
    for crossing in crossings:
        assert crossing.recorded.target == b"/v1/messages/count_tokens?beta=true"
        assert crossing.recorded.status == 200
        assert crossing.entry["session_id"] == answer["session_id"]
        assert "usage" not in crossing.entry


def test_stream_that_fails_is_asked_for_again_and_both_are_logged(passage: Passage, tmp_path: Path) -> None:
    model = "claude-opus-5-5:error-event=4;times=1"
    answer = ask(passage.url, tmp_path, "say hi", ANTHROPIC_MODEL=model, **CREDENTIALS["bearer"])
    broken, whole = passage.entries(2)
    assert passage.sent_count == 2
    assert answer["is_error"] is False
    assert "You began with “say hi”." in answer["result"]
    assert (broken["ended"], broken["usage_complete"]) == ("upstream_error", False)
    assert (whole["ended"], whole["usage_complete"]) == ("done", True)
    assert broken["cost"]["estimated"] is True
    told = answer["usage"]["output_tokens"] - whole["usage"]["output_tokens"]  # by message_start
    assert 0 <= told <= broken["usage"]["output_tokens"]
    as_told = {**broken, "usage": {**broken["usage"], "output_tokens": told}}
    check_sum(answer["usage"], [as_told, whole])


def test_absent_upstream_is_told_after_the_retries_that_were_allowed(
    stranded_passage: Passage, tmp_path: Path
) -> None:
    answer = ask(stranded_passage.url, tmp_path, "say hi", **CREDENTIALS["x-api-key"])
    first, second = stranded_passage.entries(2)
    assert answer["exit_code"] == 1
    assert (answer["is_error"], answer["api_error_status"]) == (True, 502)
    assert answer["result"].startswith(f"API Error: 502 {second['error']}")
    for entry in (first, second):
        assert entry["ended"] == "upstream_error"
        assert entry["session_id"] == answer["session_id"]


def test_own_key_goes_upstream_as_it_came(own_key_passage: Passage, tmp_path: Path) -> None:
    answer = ask(own_key_passage.url, tmp_path, "say hi", ANTHROPIC_API_KEY=SERVER_KEY)
    crossing = own_key_passage.crossing()
    check_sent(crossing, answer["session_id"])
    assert tokens_of(answer["usage"]) == crossing.tokens
    assert crossing.entry["principal"] == "passthrough"


def test_own_key_that_is_wrong_is_refused_by_the_upstream(own_key_passage: Passage, tmp_path: Path) -> None:
    answer = ask(own_key_passage.url, tmp_path, "say hi", CLAUDE_CODE_MAX_RETRIES="0", ANTHROPIC_API_KEY=KEY)
    (entry,) = own_key_passage.entries(1)
    assert answer["exit_code"] == 1
    assert (answer["is_error"], answer["api_error_status"]) == (True, 401)
    assert (entry["ended"], entry["status"]) == ("done", 401)
    assert entry["upstream_request_id"].startswith("req_")


def test_agent_sdk_reports_what_the_gateway_counted(passage: Passage, tmp_path: Path) -> None:
    done = run(
        [str(python_of("agent")), str(PROGRAMS / "agent.py"), "say hi"],
        tmp_path,
        ANTHROPIC_BASE_URL=passage.url,
        CLAUDE_CONFIG_DIR=str(tmp_path / "config"),
        **SETTINGS,
        **CREDENTIALS["both"],
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    crossing = passage.crossing()
    check_sent(crossing, answer["session_id"])
    assert "You began with “say hi”." in answer["result"]
    assert "agent-sdk/0.2.187" in crossing.sent.values("user-agent")[0]
    assert tokens_of(answer["usage"]) == crossing.tokens == tokens_of(crossing.entry["usage"])
