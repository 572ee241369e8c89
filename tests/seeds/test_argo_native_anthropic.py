"""The first half of the document: its ways to start, and its snippets, each run as it stands there."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from ferryman.cli.main import main
from ferryman.simulator.server import Server
from tests.seeds.argo import ALIAS, MODEL, USER, Typed, received, run, run_python, text_of

CONFIG = text_of("argo_config.yaml")
OWN_URL = '# native_anthropic_base_url: "https://apps-dev.inside.anl.gov/argoapi/v1/messages"'


def check_serves(gateway: Typed, argo: Server) -> None:
    """Assert that a message in Anthropic's format gets through to Argo's endpoint."""
    body = {"model": ALIAS, "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{gateway.url}/v1/messages", json=body, headers={"x-api-key": USER}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["type"], answer.json()["model"]) == ("message", MODEL)
    assert received(argo).target == b"/v1/messages"


def test_start_the_proxy_with_the_native_anthropic_flag(native: Typed, argo: Server) -> None:
    check_serves(native, argo)


def test_add_use_native_anthropic_to_your_config_yaml_file(argo: Server, tmp_path: Path) -> None:
    """Argo Proxy 2.8.9 itself answers 404 here, unless the variable is set too."""
    (tmp_path / "config.yaml").write_text(CONFIG, "utf-8")
    with Typed(tmp_path, "ferryman", NATIVE_ANTHROPIC_BASE_URL=f"{argo.url}/v1/messages") as gateway:
        check_serves(gateway, argo)


def test_native_anthropic_base_url_in_config_yaml_may_name_the_path_of_messages(
    argo: Server, tmp_path: Path
) -> None:
    """The line that the document has as a comment, with our endpoint in it."""
    assert OWN_URL in CONFIG
    line = OWN_URL.removeprefix("# ").replace("https://apps-dev.inside.anl.gov/argoapi", argo.url)
    (tmp_path / "config.yaml").write_text(CONFIG.replace(OWN_URL, line), "utf-8")
    with Typed(tmp_path, "ferryman") as gateway:
        check_serves(gateway, argo)


def test_export_use_native_anthropic_true(argo: Server, tmp_path: Path) -> None:
    text = text_of("argo_start_environment.sh")
    with Typed(tmp_path, text, NATIVE_ANTHROPIC_BASE_URL=f"{argo.url}/v1/messages") as gateway:
        check_serves(gateway, argo)


def test_native_anthropic_base_url_is_derived_from_argo_base_url_by_default(
    argo: Server, tmp_path: Path
) -> None:
    with Typed(tmp_path, text_of("argo_start.sh"), ARGO_BASE_URL=argo.url) as gateway:
        check_serves(gateway, argo)


@pytest.mark.parametrize("way", ["flag", "config", "environment"])
def test_each_way_alone_has_the_documents_port_and_endpoint(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is added here: it is Argo's own address that would be asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG if way == "config" else "log_level: info\n", "utf-8")
    words = ["--native-anthropic"] if way == "flag" else []
    env = {"USE_NATIVE_ANTHROPIC": "true"} if way == "environment" else {}
    result = CliRunner(env={"HOME": str(tmp_path), **env}).invoke(main, ["config", "show", *words])
    values = {line.split()[0]: line.split()[1] for line in result.output.splitlines()}
    assert values["port"] == "44497"
    assert values["upstream_url"] == "https://apps-dev.inside.anl.gov/argoapi"
    assert values["use_native_anthropic"] == "true"


def test_native_mode_is_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`default: false`: Ferryman then is no proxy of Argo's, and serves Anthropic's API itself."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"HOME": str(tmp_path)}).invoke(main, ["config", "show"])
    values = {line.split()[0]: line.split()[1] for line in result.output.splitlines()}
    assert (values["use_native_anthropic"], values["port"]) == ("-", "4000")
    assert values["upstream_url"] == "https://api.anthropic.com"


def test_the_sdk_can_be_pointed_at_the_proxy_by_setting_base_url(
    native: Typed, argo: Server, tmp_path: Path
) -> None:
    printed = run_python(tmp_path, native.snippet("argo_sdk.py"))
    assert "You began with “Hello, Claude!”." in printed
    body = received(argo).json()
    assert (body["model"], body["max_tokens"], body.get("stream")) == (MODEL, 1024, None)


def test_streaming_with_the_sdk(native: Typed, argo: Server, tmp_path: Path) -> None:
    printed = run_python(tmp_path, native.snippet("argo_sdk_stream.py"))
    assert "You began with “Count from 1 to 10.”." in printed
    assert received(argo).json()["stream"] is True
    assert received(argo).events_sent > 5


def test_non_streaming_with_curl(native: Typed, argo: Server, tmp_path: Path) -> None:
    printed = run(tmp_path, "bash", "-c", native.snippet("argo_curl.sh"))
    answer = json.loads(printed)
    assert "say hi back in one sentence" in answer["content"][0]["text"]
    assert printed.encode() == received(argo).response_body


def test_non_streaming_with_python_httpx(native: Typed, argo: Server, tmp_path: Path) -> None:
    printed = run_python(tmp_path, native.snippet("argo_httpx.py"))
    answer = ast.literal_eval(printed)  # it prints a dict, not JSON
    assert "Hello, say hi back." in answer["content"][0]["text"]
    assert answer == json.loads(received(argo).response_body)


def test_streaming_with_python_httpx(native: Typed, argo: Server, tmp_path: Path) -> None:
    printed = run_python(tmp_path, native.snippet("argo_httpx_stream.py"))
    assert printed.encode() == received(argo).response_body + b"\n"
    assert printed.startswith("event: message_start\n")


@pytest.mark.parametrize(
    "name", ["argo_claude_code.sh", "argo_claude_code_exports.sh", "argo_claude_code_profile.sh"]
)
def test_the_variables_for_claude_code_reach_the_program(native: Typed, tmp_path: Path, name: str) -> None:
    """What a shell makes of these lines; `tests/clients` runs Claude Code itself with them."""
    (tmp_path / "claude").write_text("#!/bin/sh\nenv\n", "utf-8")
    (tmp_path / "claude").chmod(0o755)
    text = f'PATH="{tmp_path}:$PATH"\n{native.snippet(name)}'
    if "profile" in name:
        text += "claude\n"
    lines = run(tmp_path, "bash", "-c", text).splitlines()
    assert f"ANTHROPIC_BASE_URL=http://{native.place}" in lines
    assert f"ANTHROPIC_API_KEY={USER}" in lines
    assert "CLAUDE_CODE_SKIP_ANTHROPIC_AUTH=1" in lines
