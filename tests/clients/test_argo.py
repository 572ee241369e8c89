"""Claude Code and both generations of the SDK with Argo's endpoint, as Argo Proxy's documentation has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .environments import HERE, claude_code, python_of
from .gateway import FERRYMAN, Gateway
from .program import run

ALIAS, MODEL = "argo:claude-4.5-sonnet", "claude-sonnet-4-5"
PLACE, USER = "localhost:44497", "your-anl-username"
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Server]:
    with Server(SimulatorSettings(profile="argo", models=(MODEL, "claude-opus-4"))) as running:
        yield running


@pytest.fixture
def argo(endpoint: Server) -> Server:
    endpoint.recorder.clear()
    return endpoint


@pytest.fixture(scope="module")
def native(endpoint: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`export USE_NATIVE_ANTHROPIC=true`."""
    folder = tmp_path_factory.mktemp("native")
    with Gateway(endpoint.url, folder, USE_NATIVE_ANTHROPIC="true") as gateway:
        yield gateway
    assert gateway.exit_code == 0


def snippet(name: str, gateway: Gateway) -> str:
    text = (HERE / "snippets" / name).read_text()
    assert PLACE in text
    return text.replace(PLACE, f"localhost:{gateway.port}")


@pytest.mark.parametrize("environment", ["python-1", "python-2"])
@pytest.mark.parametrize(
    ("name", "said"), [("argo_sdk.py", "Hello, Claude!"), ("argo_sdk_stream.py", "Count from 1 to 10.")]
)
def test_scripts_print_the_text_with_the_alias_and_the_user_name(
    native: Gateway, argo: Server, tmp_path: Path, environment: str, name: str, said: str
) -> None:
    done = run([str(python_of(environment)), "-c", snippet(name, native)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"You began with “{said}”." in done.stdout
    (request,) = argo.recorder.wait_ended()
    assert (request.json()["model"], request.json()["user"]) == (MODEL, USER)
    assert request.header_values("x-api-key") == [USER]
    assert request.header_values("authorization") == []


@pytest.mark.parametrize(
    "name", ["argo_claude_code.sh", "argo_claude_code_exports.sh", "argo_claude_code_profile.sh"]
)
@pytest.mark.parametrize("model", [None, ALIAS], ids=["its-own-model", "alias"])
def test_claude_code_is_started_as_the_document_says(
    native: Gateway, argo: Server, tmp_path: Path, name: str, model: str | None
) -> None:
    """Added: a question on its standard input, and directories of the test's."""
    (tmp_path / "claude").symlink_to(claude_code())
    text = snippet(name, native)
    if "profile" in name:  # which is read before a command is typed
        text += "claude\n"
    mark = native.mark()
    variables = QUIET | {"CLAUDE_CONFIG_DIR": str(tmp_path / "config")}
    if model is not None:
        variables["ANTHROPIC_MODEL"] = model
    typed = f'PATH="$PATH:$HOME"\nexec <<< "say hi"\n{text}'
    done = run(["bash", "-c", typed], tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert "You began with “say hi”." in done.stdout
    (request,) = [one for one in argo.recorder.wait_ended() if one.method == "POST"]
    body = request.json()
    assert (body["user"], body["metadata"]) == (USER, {"user_id": USER})
    assert request.header_values("x-api-key") == [USER]
    assert body["model"] == MODEL if model else body["model"].startswith("claude-")
    (entry,) = [one for one in native.entries(mark, 1) if one["path"] == "/v1/messages"]
    assert (entry["principal"], entry["user_id"], entry["model"]) == (USER, USER, body["model"])
    assert entry["session_id"] == request.header("x-claude-code-session-id")


@pytest.mark.parametrize("skips", ["1", None], ids=["with", "without"])
def test_the_variable_that_skips_authentication_changes_nothing(
    native: Gateway, argo: Server, tmp_path: Path, skips: str | None
) -> None:
    """The document calls `CLAUDE_CODE_SKIP_ANTHROPIC_AUTH` required; Claude Code no longer reads it."""
    variables = QUIET | {
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{native.port}",
        "ANTHROPIC_API_KEY": USER,
        "CLAUDE_CONFIG_DIR": str(tmp_path / "config"),
    }
    if skips is not None:
        variables["CLAUDE_CODE_SKIP_ANTHROPIC_AUTH"] = skips
    done = run([str(claude_code()), "-p", "--output-format", "json", "say hi"], tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_error"] is False
    assert argo.recorder.wait_ended()[0].header_values("x-api-key") == [USER]


def test_ferryman_run_starts_claude_code_with_all_it_needs(
    native: Gateway, argo: Server, tmp_path: Path
) -> None:
    words = ("run", "-p", str(native.port), "--key", USER, "--", str(claude_code()), "-p", "say hi")
    variables = QUIET | {"CLAUDE_CONFIG_DIR": str(tmp_path / "config"), "ANTHROPIC_API_KEY": "sk-ant-other"}
    done = run([str(FERRYMAN), *words], tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert "You began with “say hi”." in done.stdout
    assert argo.recorder.wait_ended()[0].header_values("x-api-key") == [USER]
