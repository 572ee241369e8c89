"""What LiteLLM's and Argo Proxy's documentation tells people to run, with only host and port changed."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

from .environments import HERE, claude_code, python_of
from .passage import SERVER_KEY, Passage, tokens_of
from .program import run

SNIPPETS = HERE / "snippets"
PLACES = ("0.0.0.0:4000", "localhost:44497")
ALIAS, RESOLVED = "argo:claude-4.5-sonnet", "claude-sonnet-4-5"
LITELLM_KEY = "sk-virtual-1c2d"
MODEL = "claude-3-5-sonnet-20241022"

both_generations = pytest.mark.parametrize("environment", ["python-1", "python-2"])


def snippet(name: str, passage: Passage, *, resolve: bool = False) -> str:
    """A snippet that calls the gateway; `resolve` also puts the model in the place of its alias."""
    text = (SNIPPETS / name).read_text()
    place = next(place for place in PLACES if place in text)
    text = text.replace(place, passage.address)
    return text.replace(ALIAS, RESOLVED) if resolve else text


def run_python(text: str, environment: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a snippet as a script of its reader's."""
    script = home / "snippet.py"
    script.write_text(text)
    return run([str(python_of(environment)), str(script)], home)


def run_shell(text: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a snippet as it is typed into a shell."""
    return run(["bash", "-c", text], home, **environment)


@pytest.mark.parametrize(
    ("name", "credential"),
    [
        ("litellm_curl_bearer.sh", "bearer"),
        ("litellm_curl_quick_start.sh", "x-api-key"),
        ("litellm_curl_messages.sh", "x-api-key"),
    ],
)
def test_litellms_curl_gets_a_message(passage: Passage, tmp_path: Path, name: str, credential: str) -> None:
    done = run_shell(snippet(name, passage), tmp_path, LITELLM_API_KEY=LITELLM_KEY)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "Hello, world" in answer["content"][0]["text"]
    assert answer["usage"] == crossing.entry["usage"]
    assert crossing.sent.target == "/anthropic/v1/messages"
    assert crossing.entry["credential"] == credential
    assert crossing.entry["model"] == MODEL


def test_litellms_curl_counts_tokens(passage: Passage, tmp_path: Path) -> None:
    text = snippet("litellm_curl_count_tokens.sh", passage)
    done = run_shell(text, tmp_path, LITELLM_API_KEY=LITELLM_KEY)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(crossing.received.body)
    assert json.loads(done.stdout)["input_tokens"] > 0
    assert crossing.sent.target == "/anthropic/v1/messages/count_tokens"
    assert crossing.recorded.header("anthropic-beta") == "token-counting-2024-11-01"
    assert crossing.entry["model"] == MODEL


@both_generations
def test_litellms_script_prints_a_message(passage: Passage, tmp_path: Path, environment: str) -> None:
    done = run_python(snippet("litellm_sdk.py", passage), environment, tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Message(")
    assert "Hello, world" in done.stdout
    assert f"input_tokens={crossing.tokens['input_tokens']}," in done.stdout
    assert crossing.sent.target == "/anthropic/v1/messages"
    assert crossing.recorded.header("x-api-key") == SERVER_KEY


def test_litellms_curl_with_metadata_is_charged_to_its_user_and_tags(
    passage: Passage, tmp_path: Path
) -> None:
    text = snippet("litellm_curl_metadata.sh", passage)
    # The comment in its JSON, as it stands there, is none: no JSON parser takes it, LiteLLM's neither.
    text = text.replace(" # track end-user/customer cost", "")
    done = run_shell(text, tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert "Hello, world" in json.loads(done.stdout)["content"][0]["text"]
    assert crossing.entry["end_user"] == "test-user"
    assert crossing.entry["tags"] == ["test-tag-1", "test-tag-2"]


@both_generations
def test_litellms_script_with_metadata_is_charged_to_its_user_and_tags(
    passage: Passage, tmp_path: Path, environment: str
) -> None:
    done = run_python(snippet("litellm_sdk_metadata.py", passage), environment, tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert "Hello, world" in done.stdout
    assert crossing.entry["end_user"] == "test-user"
    assert crossing.entry["tags"] == ["test-tag-1", "test-tag-2"]
    assert crossing.recorded.json()["metadata"] == {"user_id": "test-user"}


@both_generations
@pytest.mark.parametrize(
    ("name", "said"), [("argo_sdk.py", "Hello, Claude!"), ("argo_sdk_stream.py", "Count from 1 to 10.")]
)
def test_argos_script_prints_the_text(
    passage: Passage, tmp_path: Path, environment: str, name: str, said: str
) -> None:
    done = run_python(snippet(name, passage, resolve=True), environment, tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert f"You began with “{said}”." in done.stdout
    assert crossing.sent.target == "/v1/messages"
    assert crossing.entry.get("stream", False) == (name == "argo_sdk_stream.py")


def test_argos_curl_gets_a_message(passage: Passage, tmp_path: Path) -> None:
    done = run_shell(snippet("argo_curl.sh", passage, resolve=True), tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "say hi back in one sentence" in answer["content"][0]["text"]
    assert tokens_of(answer["usage"]) == tokens_of(crossing.entry["usage"])


def test_argos_httpx_gets_a_message(passage: Passage, tmp_path: Path) -> None:
    done = run_python(snippet("argo_httpx.py", passage, resolve=True), "python-2", tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    answer = ast.literal_eval(done.stdout)  # it prints a dict, not JSON
    assert answer == json.loads(crossing.recorded.response_body)
    assert "Hello, say hi back." in answer["content"][0]["text"]


def test_argos_httpx_prints_the_stream_byte_for_byte(passage: Passage, tmp_path: Path) -> None:
    done = run_python(snippet("argo_httpx_stream.py", passage, resolve=True), "python-2", tmp_path)
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == crossing.recorded.response_body + b"\n"
    assert crossing.entry["stream"] is True


def test_argos_way_to_start_claude_code_gets_an_answer(passage: Passage, tmp_path: Path) -> None:
    (tmp_path / "claude").symlink_to(claude_code())
    text = snippet("argo_claude_code.sh", passage)
    done = run_shell(
        f'PATH="$PATH:$HOME"; echo say hi | {text}',
        tmp_path,
        CLAUDE_CONFIG_DIR=str(tmp_path / "config"),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        CLAUDE_CODE_MAX_RETRIES="1",
    )
    crossing = passage.crossing()
    assert done.returncode == 0, done.stderr
    assert "You began with “say hi”." in done.stdout
    assert crossing.entry["credential"] == "x-api-key"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("argo_sdk.py", "NotFoundError"),
        ("argo_sdk_stream.py", "NotFoundError"),
        ("argo_httpx.py", "not_found_error"),
        ("argo_httpx_stream.py", "not_found_error"),
        ("argo_curl.sh", "not_found_error"),
    ],
)
def test_alias_of_argos_is_left_to_the_upstream_which_does_not_know_it(
    passage: Passage, tmp_path: Path, name: str, shown: str
) -> None:
    text = snippet(name, passage)
    done = run_shell(text, tmp_path) if name.endswith(".sh") else run_python(text, "python-2", tmp_path)
    crossing = passage.crossing()
    assert crossing.recorded.status == 404
    assert crossing.recorded.json()["model"] == crossing.entry["model"] == ALIAS
    assert shown in done.stdout + done.stderr
