"""`ferryman env` and `ferryman run`: what sets up clients of the gateway that runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ferryman.cli.clients import variables
from ferryman.cli.main import main
from ferryman.settings import Settings
from ferryman.settings_clients import clients_url, listener_url
from ferryman.simulator.server import Server
from tests.conftest import KEY
from tests.support.processes import Family
from tests.test_cli import Process

SHOW = (
    "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith('ANTHROPIC')}))"
)
ASK = """
import anthropic
message = anthropic.Anthropic(max_retries=0).messages.create(
    model="claude-opus-5-5", max_tokens=50, messages=[{"role": "user", "content": "Hello, Claude"}])
print(message.content[0].text)
"""
WAIT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("up", flush=True)
signal.pause()
"""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Server]:
    with Server() as one:
        yield one


@pytest.fixture(scope="module")
def family(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A gateway that asks for no key."""
    env = {"ANTHROPIC_API_KEY": KEY, "FERRYMAN_UPSTREAM_URL": simulator.url}
    with Family(tmp_path_factory.mktemp("open"), env=env) as one:
        yield one


@pytest.fixture
def place(family: Family) -> tuple[str, ...]:
    """The options that say which gateway is meant."""
    return ("-p", str(family.port), "--runtime-directory", str(family.runtime.parent))


@pytest.fixture
def ferryman(tmp_path: Path) -> Command:
    """Runs a command to its end."""

    def command(*words: str, **env: str) -> tuple[int, str, str]:
        with Process(tmp_path, *words, env=env) as process:
            return process.end()

    return command


def test_a_program_gets_the_url_and_a_key_and_loses_the_key_that_would_get_in_the_way(
    family: Family, place: tuple[str, ...], ferryman: Command
) -> None:
    words = ("run", *place, "--", sys.executable, "-c", SHOW)
    code, out, err = ferryman(*words, ANTHROPIC_API_KEY="sk-ant-of-the-shell")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"ANTHROPIC_BASE_URL": family.url, "ANTHROPIC_AUTH_TOKEN": "any-key"}


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_key_of_ones_own_is_what_the_program_sends(
    place: tuple[str, ...], ferryman: Command, way: str
) -> None:
    words = ("--key", "sk-mine") if way == "option" else ()
    env = {"FERRYMAN_KEY": "sk-mine"} if way == "variable" else {}
    _, out, _ = ferryman("run", *place, *words, "--", sys.executable, "-c", SHOW, **env)
    assert json.loads(out)["ANTHROPIC_AUTH_TOKEN"] == "sk-mine"


def test_anthropics_sdk_asks_the_gateway(place: tuple[str, ...], ferryman: Command) -> None:
    code, out, err = ferryman("run", *place, "--", sys.executable, "-c", ASK)
    assert code == 0, err
    assert "You began with “Hello, Claude”." in out


def test_options_behind_the_program_are_its_own(place: tuple[str, ...], ferryman: Command) -> None:
    code, out, _ = ferryman("run", *place, "sh", "-c", 'echo "$1 $2"', "x", "--key", "--help")
    assert (code, out) == (0, "--key --help\n")


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9), ("kill -PIPE $$", -13)])
def test_the_exit_code_is_the_programs(
    place: tuple[str, ...], ferryman: Command, script: str, code: int
) -> None:
    assert ferryman("run", *place, "--", "sh", "-c", script)[0] == code


def test_signals_reach_the_program(place: tuple[str, ...], tmp_path: Path) -> None:
    with Process(tmp_path, "run", *place, "--", sys.executable, "-c", WAIT) as process:
        assert process.line(1) == "up"
        assert process.end(signal.SIGTERM)[0] == 9


def test_a_program_that_cannot_be_run_is_told_as_shells_tell_it(
    place: tuple[str, ...], ferryman: Command, tmp_path: Path
) -> None:
    assert ferryman("run", *place, "no-such-program") == (
        127, "", "ferryman: `no-such-program` cannot be run: No such file or directory.\n"
    )  # fmt: skip
    (tmp_path / "text").write_text("x")
    code, _, err = ferryman("run", *place, str(tmp_path / "text"))
    assert (code, "Permission denied" in err) == (126, True)


@pytest.mark.parametrize("command", [("env",), ("run", "true")])
def test_a_gateway_that_does_not_run_is_told_with_those_that_do(
    family: Family, ferryman: Command, command: tuple[str, ...]
) -> None:
    name, *rest = command
    words = ("-p", "1", "--runtime-directory", str(family.runtime.parent))
    code, out, err = ferryman(name, *words, *rest)
    assert (code, out) == (1, "")
    assert err.startswith("ferryman: nothing runs on port 1: ")
    assert err.endswith(f" On port {family.port} one runs: `-p {family.port}`.\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_env_prints_is_read_by_the_shell(
    family: Family, place: tuple[str, ...], ferryman: Command, tmp_path: Path, shell: str
) -> None:
    program = shutil.which(shell)
    assert program is not None, f"install {shell}: scripts/test does"
    key = 'it\'s $HOME \\ "x" `y`'
    code, out, err = ferryman("env", "--shell", shell, *place, "--key", key)
    assert (code, err) == (0, "")
    text = f"{out}\n'{sys.executable}' -c \"{SHOW}\"\n"
    with Process(tmp_path, program=(program, "-c", text), env={"ANTHROPIC_API_KEY": "sk"}) as process:
        code, out, err = process.end()
    assert code == 0, err
    assert json.loads(out) == {"ANTHROPIC_BASE_URL": family.url, "ANTHROPIC_AUTH_TOKEN": key}


SYNTAX = {
    "bash": """unset ANTHROPIC_API_KEY
export ANTHROPIC_BASE_URL=http://gw
export ANTHROPIC_AUTH_TOKEN='it'"'"'s'
""",
    "fish": """set -e ANTHROPIC_API_KEY
set -gx ANTHROPIC_BASE_URL 'http://gw'
set -gx ANTHROPIC_AUTH_TOKEN 'it\\'s'
""",
    "powershell": """Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction SilentlyContinue
$env:ANTHROPIC_BASE_URL = 'http://gw'
$env:ANTHROPIC_AUTH_TOKEN = 'it''s'
""",
}


@pytest.mark.parametrize("shell", SYNTAX)
def test_each_shell_gets_its_own_syntax_and_another_machine_is_not_asked(shell: str) -> None:
    result = CliRunner().invoke(main, ["env", "--shell", shell, "--url", "http://gw/", "--key", "it's"])
    assert (result.exit_code, result.output) == (0, SYNTAX[shell])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--url", "gw:4000"], "wanted one such as"),
        (["--url", "http://a:b@gw"], "give the key with `--key`"),
        (["--url", "http://gw/v1/messages"], "clients add `/v1/messages` themselves"),
        (["--url", "http://gw/v1/"], "clients add `/v1` themselves"),
        (["--url", "http://gw", "--key", ""], "at least one"),
        (["--url", "http://gw", "--key", "a\nb"], "printable"),
    ],
)
def test_what_cannot_be_used_is_told(words: list[str], problem: str) -> None:
    result = CliRunner().invoke(main, ["env", *words])
    assert (result.exit_code, problem in result.output) == (2, True), result.output


@pytest.mark.parametrize(
    ("auth", "problem"),
    [("keys", "asks for a virtual key"), ("identity", "asks for your user name"), ("", "is not known")],
)
def test_a_key_that_is_asked_for_has_to_be_given(auth: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        variables("http://gw", auth, None)
    assert variables("http://gw", auth, "k").values["ANTHROPIC_AUTH_TOKEN"] == "k"


def test_clients_with_keys_of_their_own_keep_them() -> None:
    assert variables("http://gw", "passthrough", None) == ({"ANTHROPIC_BASE_URL": "http://gw"}, ())


def test_the_name_of_the_user_is_asked_for_by_a_gateway_before_argo(tmp_path: Path) -> None:
    env = {"NATIVE_ANTHROPIC_BASE_URL": "http://127.0.0.1:9/argoapi/v1/messages"}
    with Family(tmp_path, "--native-anthropic", env=env) as family:
        words = ("env", "-p", str(family.port), "--runtime-directory", str(tmp_path / "run"))
        with Process(tmp_path, *words) as process:
            code, out, err = process.end()
        assert (code, out) == (1, "")
        assert "asks for your user name as the key: give it with `--key`" in err
        with Process(tmp_path, *words, "--key", "jdoe") as process:
            assert f"export ANTHROPIC_BASE_URL={family.url}\n" in process.end()[1]


@pytest.mark.parametrize(
    ("settings", "listener", "clients"),
    [
        ({}, "http://127.0.0.1:7", "http://127.0.0.1:7"),
        ({"host": "0.0.0.0"}, "http://0.0.0.0:7", "http://127.0.0.1:7"),
        ({"host": "::", "tls_cert_file": "c"}, "https://[::]:7", "https://[::1]:7"),
        ({"host": "gw.example"}, "http://gw.example:7", "http://gw.example:7"),
        ({"public_url": "https://gw/x/"}, "http://127.0.0.1:7", "https://gw/x"),
        ({"unix_socket": "/s"}, "unix:/s", None),
        ({"unix_socket": "/s", "public_url": "https://gw"}, "unix:/s", "https://gw"),
    ],
)
def test_clients_are_told_an_address_that_they_can_call(
    settings: dict[str, str], listener: str, clients: str | None
) -> None:
    made = Settings(**settings)  # type: ignore[arg-type]  # of several types
    assert (listener_url(made, 7), clients_url(made, 7)) == (listener, clients)


def test_a_gateway_on_a_unix_socket_is_no_base_url(tmp_path: Path, short: Path, simulator: Server) -> None:
    socket = str(short / "s")
    words = ("--unix-socket", socket, "--runtime-directory", str(short / "run"))
    env = {"ANTHROPIC_API_KEY": KEY, "FERRYMAN_UPSTREAM_URL": simulator.url}
    with Process(tmp_path, *words, env=env) as gateway:
        while json.loads(gateway.line(2))["event"] != "ready":
            pass
        with Process(tmp_path, "env", *words) as process:
            code, _, err = process.end()
        os.kill(gateway.popen.pid, signal.SIGTERM)
        gateway.end()
    assert (code, "`public_url`" in err) == (1, True)
