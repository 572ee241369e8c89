"""What the settings say of upstreams: profiles, native mode, and blocks of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from ferryman.cli.main import main
from ferryman.settings import Settings
from ferryman.settings_row import masked
from ferryman.settings_table import rows
from ferryman.settings_targets import Upstream, upstreams_of
from ferryman.wording import MASK
from tests.test_settings import read, refused

BASE = "https://apps-dev.inside.anl.gov/argoapi"
NATIVE = f"{BASE}/v1/messages"
ARGO = ("identity", None, "overwrite", True, "leave", "convert", "anthropic")
PLAIN = ("key", "sk", "keep", False, "off", "off", "anthropic")


def manners(one: Upstream) -> tuple[object, ...]:
    return (
        one.credential, one.api_key, one.user_id, one.inject_user_field, one.images, one.tools, one.family
    )  # fmt: skip


@pytest.mark.parametrize(
    "sources",
    [
        {"use_native_anthropic": True},
        {"environ": {"USE_NATIVE_ANTHROPIC": "true"}},
        {"file": "use_native_anthropic: true\n"},
        {"profile": "argo"},
    ],
)
def test_native_mode_alone_selects_argo_with_its_port_url_and_users(
    sources: dict[str, Any], tmp_path: Path
) -> None:
    environ = sources.pop("environ", {}) | {"ANTHROPIC_API_KEY": "sk-ant-not-for-argo"}
    loaded = read(tmp_path, environ=environ, **sources)
    settings = loaded.settings
    assert (settings.port, settings.upstream_url, settings.effective_auth) == (44497, BASE, "identity")
    assert settings.anthropic_api_key is None
    assert {loaded.sources[name] for name in ("port", "upstream_url", "anthropic_api_key")} == {
        "default (profile argo)"
    }
    (upstream,) = upstreams_of(settings)
    assert manners(upstream) == ARGO


def test_a_profile_that_is_set_stays(tmp_path: Path) -> None:
    settings = read(
        tmp_path, environ={"ANTHROPIC_API_KEY": "sk"}, file="use_native_anthropic: true\nprofile: anthropic"
    ).settings
    assert (settings.port, settings.upstream_url) == (4000, "https://api.anthropic.com")
    assert manners(upstreams_of(settings)[0]) == PLAIN


def test_the_flag_of_native_mode_is_the_one_of_the_seed() -> None:
    result = CliRunner().invoke(main, ["config", "show", "--native-anthropic"])
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert lines["use_native_anthropic"].split() == ["true", "command", "line"]
    assert lines["port"].startswith("44497 ")


@pytest.mark.parametrize("url", [NATIVE, f"{NATIVE}/", f"{BASE}/v1", f"{BASE}/", BASE])
def test_the_url_of_argo_may_end_in_the_path_of_messages(url: str, tmp_path: Path) -> None:
    flags: dict[str, Any]
    for name in ("native_anthropic_base_url", "argo_base_url", "upstream_url"):
        flags = {"profile": "argo", name: url.replace("-dev", "")}
        loaded = read(tmp_path, **flags)
        assert loaded.settings.upstream_url == BASE.replace("-dev", "")
        assert loaded.sources["upstream_url"].startswith("command line")
    settings = read(tmp_path, profile="argo", argo_base_url="https://other", native_anthropic_base_url=url)
    assert settings.settings.upstream_url == BASE


def test_a_port_that_is_set_stays(tmp_path: Path) -> None:
    assert read(tmp_path, profile="argo", environ={"PORT": "4000"}).settings.port == 4000


def test_argo_asks_for_keys_if_that_is_what_is_wanted(tmp_path: Path) -> None:
    settings = read(tmp_path, profile="argo", auth="keys", environ={"LITELLM_MASTER_KEY": "sk-m"}).settings
    assert settings.effective_auth == "keys"
    assert (
        read(tmp_path, profile="argo", environ={"LITELLM_MASTER_KEY": "sk-m"}).settings.effective_auth
        == "identity"
    )


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"profile": "argo", "auth": "open"}, "told who calls"),
        ({"profile": "argo", "auth": "passthrough"}, "told who calls"),
        ({"auth": "identity"}, "set `anthropic_api_key`"),
        ({"profile": "argo", "host": "0.0.0.0"}, "call under any user's name"),
    ],
)
def test_who_calls_has_to_be_known_where_it_is_told(
    sources: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    assert problem in " ".join(refused(tmp_path, **sources))


FILE = """
upstreams:
  main:
    base_url: https://api.anthropic.com
    api_key_env: MAIN_KEY
  lab:
    profile: argo
    models: [argo:*, "gpt-*"]
    identity: {user_id: fill, inject_user_field: false}
    images: error
    aliases: {argo:claude-4.5-sonnet: claudesonnet45}
  other:
    base_url: http://10.0.0.9:8080/base
    credential: client
    models: local/*, own
    family: openai
    strip_betas: oauth-*
"""


def test_several_upstreams(tmp_path: Path) -> None:
    environ = {"MAIN_KEY": "sk", "FERRYMAN_MASTER_KEY": "sk-m"}
    settings = read(tmp_path, file=FILE, environ=environ).settings
    main_, lab, other = upstreams_of(settings)
    assert (main_.name, main_.url, manners(main_)) == ("main", "https://api.anthropic.com", PLAIN)
    assert (lab.url, lab.models) == (BASE, ("argo:*", "gpt-*"))
    assert manners(lab) == ("identity", None, "fill", False, "error", "convert", "anthropic")
    assert lab.aliases == {"argo:claude-4.5-sonnet": "claudesonnet45"}
    assert (other.url, other.credential) == ("http://10.0.0.9:8080/base", "client")
    assert (other.models, other.strip_betas) == (("local/*", "own"), ("oauth-*",))
    assert (settings.upstream_url, settings.anthropic_api_key, settings.port) == (main_.url, "sk", 4000)


def test_keys_of_upstreams_are_never_shown(tmp_path: Path) -> None:
    environ = {"MAIN_KEY": "sk-secret", "FERRYMAN_MASTER_KEY": "sk-m"}
    settings = read(tmp_path, file=FILE, environ=environ).settings
    row = next(row for row in rows() if row.name == "upstreams")
    shown = masked(row, settings.upstreams)
    assert MASK in repr(shown)
    assert "sk-secret" not in repr(shown) + repr(settings) + repr(upstreams_of(settings))


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("{base_url: https://a}", "wants its `api_key`"),
        ("{base_url: https://a, api_key_env: NOT_SET}", "wants the variable `NOT_SET`"),
        ("{base_url: https://a, api_key: k, api_key_env: NOT_SET}", "both `api_key` and `api_key_env`"),
        ("{base_url: https://a, api_key: k, credential: client}", "does not use"),
        ("{api_key: k}", "wants a `base_url`"),
        ("{base_url: ftp://a, api_key: k}", "`base_url` that cannot be used"),
        ("{base_url: https://a, api_key: k, imagse: off}", "has `imagse`, which is none of"),
        ("{base_url: https://a, api_key: k, images: on}", "has `on` for `images`; wanted one of `off`"),
        ("{base_url: https://a, api_key: k, identity: {user: x}}", "for `identity`"),
        ("{base_url: https://a, api_key: k, identity: fill}", "for `identity`"),
        ("{base_url: https://a, api_key: k, identity: {user_id: no}}", "for `user_id`"),
        ("{base_url: https://a, api_key: k, models: {a: b}}", "a list of names for `models`"),
        ("{base_url: https://a, api_key: k, aliases: [a]}", "for `aliases`"),
        ("{base_url: [https://a], api_key: k}", "a text of ASCII characters for `base_url`"),
        ("{profile: agro, base_url: https://a, api_key: k}", "has `agro` for `profile`"),
    ],
)
def test_what_is_wrong_with_an_upstream_is_told(block: str, problem: str, tmp_path: Path) -> None:
    told = refused(tmp_path, file=f"upstreams: {{main: {block}}}\n")
    assert any(problem in one and one.startswith("upstreams, from /") for one in told), told


@pytest.mark.parametrize(
    ("text", "auth", "problem"),
    [
        (
            "{a: {base_url: https://a, api_key: k}, b: {profile: argo}}",
            "open",
            "`b` of `upstreams` is told who calls",
        ),
        (
            "{a: {base_url: https://a, api_key: k}, b: {base_url: https://b, credential: client}}",
            "identity",
            "`b` of `upstreams` wants their own keys",
        ),
        (
            "{a: {base_url: https://a, credential: client}, b: {base_url: https://b, api_key: k}}",
            "auto",
            "anybody could spend the key of `b`",
        ),
    ],
)
def test_upstreams_and_auth_have_to_agree(text: str, auth: str, problem: str, tmp_path: Path) -> None:
    assert problem in " ".join(refused(tmp_path, file=f"upstreams: {text}\nauth: {auth}\n"))


def test_a_key_of_an_upstream_is_no_argument(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["config", "show", "--upstreams", "{a: {base_url: http://a, api_key: sk}}"]
    )
    assert (result.exit_code, "can be read by every user" in result.output) == (2, True)
    environ = {"CONFIG_PATH": str(tmp_path / "c.yaml"), "A_KEY": "sk-hidden", "FERRYMAN_MASTER_KEY": "sk-m"}
    (tmp_path / "c.yaml").write_text("port: 1\n")
    text = "{a: {base_url: http://a, api_key_env: A_KEY}}"
    result = CliRunner(env=environ).invoke(main, ["config", "show", "--upstreams", text])
    assert result.exit_code == 0, result.output
    assert f"api_key: {MASK}" in result.output
    assert "sk-hidden" not in result.output


def test_upstreams_reach_the_processes_as_they_are(tmp_path: Path) -> None:
    settings = read(tmp_path, file=FILE, environ={"MAIN_KEY": "sk", "FERRYMAN_MASTER_KEY": "sk-m"}).settings
    handed = msgspec.json.decode(msgspec.json.encode(settings), type=Settings)
    assert handed == settings
    assert upstreams_of(handed) == upstreams_of(settings)


def test_one_upstream_is_made_of_the_plain_settings() -> None:
    (one,) = upstreams_of(Settings(anthropic_api_key="sk"))
    assert manners(one) == PLAIN
    (one,) = upstreams_of(Settings(anthropic_api_key="sk", auth="passthrough"))
    assert (one.credential, one.api_key) == ("client", None)
