"""Every setting from every source; what cannot be used is refused with what was wanted."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.settings_load import Loaded, load
from ferryman.settings_table import env_names, rows, type_of, wanted
from ferryman.wording import MASK
from tests.support.values import examples, unusable

SECRET = "sk-ant-do-not-tell"

EVERY = [pytest.param(row, id=row.name) for row in rows()]
UNUSUAL = {"master_key", "upstream_ca_file", "upstream_client_cert_file", "upstream_client_key_file"}
USABLE = [pytest.param(row, id=row.name) for row in rows() if row.name not in UNUSUAL]
SECRETS = [pytest.param(row, id=row.name) for row in rows() if row.metadata["secret"]]
NUMBERS = [pytest.param(row, id=row.name) for row in rows() if type_of(row) in {int, float}]


def read(
    directory: Path,
    *,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    **flags: object,
) -> Loaded:
    """The settings from these sources; `file` is the text of a `ferryman.yaml`."""
    if file is not None:
        (directory / "ferryman.yaml").write_text(file, "utf-8")
    return load(flags, environ=environ or {}, directory=directory)


def refused(directory: Path, **sources: Any) -> list[str]:
    """The problems with these sources."""
    with pytest.raises(SettingsError) as caught:
        read(directory, **sources)
    return caught.value.problems


@pytest.mark.parametrize("row", USABLE)
def test_value_comes_from_the_first_source_that_has_one(row: Field[Any], tmp_path: Path) -> None:
    """Command line, then each name in the environment, then the file, then the default."""
    (flag, of_flag), *of_environ, (in_file, of_file) = examples(row)
    path = tmp_path / "ferryman.yaml"
    order: list[tuple[str, object]] = [("command line", of_flag)]
    environ = {}
    for name, (text, value) in zip(env_names(row), of_environ, strict=False):
        environ[name] = text
        order.append((f"environment ({name})", value))
    assert len(order) == 1 + len(env_names(row)), "the examples are too few for so many names"
    order += [(str(path), of_file), ("default", row.default)]
    needed = {
        "auth": {"ANTHROPIC_API_KEY": "key", "FERRYMAN_MASTER_KEY": "key"},
        "tls_key_file": {"FERRYMAN_TLS_CERT_FILE": "c"},
        "budget_duration": {"FERRYMAN_MAX_BUDGET": "1"},
        "end_user_budget_duration": {"FERRYMAN_MAX_END_USER_BUDGET": "1"},
    }.get(row.name, {})
    flags = {row.name: flag}
    path.write_text(f"{row.name}: {in_file}\n", "utf-8")
    for source, value in order:
        loaded = load(flags, environ=environ | needed, directory=tmp_path)
        assert (loaded.sources[row.name], getattr(loaded.settings, row.name)) == (source, value)
        assert type(getattr(loaded.settings, row.name)) is type(value)
        if flags:
            flags.clear()
        elif environ:
            del environ[next(iter(environ))]
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
@pytest.mark.parametrize("row", EVERY)
def test_empty_variable_is_an_unset_one(row: Field[Any], empty: str, tmp_path: Path) -> None:
    loaded = read(tmp_path, environ=dict.fromkeys(env_names(row), empty))
    assert loaded.sources[row.name] == "default"
    assert getattr(loaded.settings, row.name) == row.default


@pytest.mark.parametrize("empty", ["", "null", "~", "''"])
@pytest.mark.parametrize("row", EVERY)
def test_empty_line_of_the_file_is_an_unset_one(row: Field[Any], empty: str, tmp_path: Path) -> None:
    assert read(tmp_path, file=f"{row.name}: {empty}\n").sources[row.name] == "default"


@pytest.mark.parametrize("row", EVERY)
def test_unusable_value_is_refused_with_name_source_and_what_was_wanted(
    row: Field[Any], tmp_path: Path
) -> None:
    for text in unusable(row):
        name = env_names(row)[-1]
        (problem,) = refused(tmp_path, environ={name: text})
        secret = row.metadata["secret"] or row.name == "upstreams"
        told = "that value (it is a secret)" if secret else f"`{text.strip()}`"
        where = f"{told} from the environment ({name})"
        if text.isprintable():
            assert problem == f"{row.name}: {where} cannot be used; wanted {wanted(row)}."
        assert problem.isprintable()
        (problem,) = refused(tmp_path, **{row.name: text})
        assert problem.startswith(f"{row.name}: ")
        assert " from the command line cannot be used; wanted " in problem


@pytest.mark.parametrize("value", ["[1, 2]", "{a: 1}", "\n- 1", "\n  a: 1"])
@pytest.mark.parametrize("row", EVERY)
def test_list_or_block_is_refused_without_its_content(row: Field[Any], value: str, tmp_path: Path) -> None:
    if row.metadata["many"]:
        value = "[[1], 2]" if "a" not in value else value
    if typing.get_origin(type_of(row)) is Mapping:
        value = value.replace("a: 1", "a: {b: [[1]]}")
    (problem,) = refused(tmp_path, file=f"{row.name}: {value}\n")
    assert problem.startswith(f"{row.name}: ")
    assert f"from {tmp_path}/ferryman.yaml cannot be used; wanted {wanted(row)}." in problem


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    problems = refused(
        tmp_path,
        file="prot: 1\nlog_level: loud\nmax_body_bytes: 1\nadmin_port: 0\n",
        environ={"PORT": "99999", "FERRYMAN_UPSTREAM_URL": "ftp://somewhere", "FERRYMAN_AUTH": "open"},
        allow_open="maybe",
    )
    assert [problem.partition(":")[0].partition(",")[0] for problem in problems] == [
        *("prot", "port", "allow_open", "max_body_bytes", "admin_port", "log_level"),
        *("upstream_url", "auth"),
    ]


def test_conflict_with_a_value_that_is_refused_itself_is_not_told(tmp_path: Path) -> None:
    """Whether `open` has the key it needs cannot be known."""
    (problem,) = refused(tmp_path, environ={"ANTHROPIC_API_KEY": "schlüssel", "FERRYMAN_AUTH": "open"})
    assert problem.startswith("anthropic_api_key: that value (it is a secret) from the environment")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("prot", "did you mean `port`?"),
        ("upstream-url", "did you mean `upstream_url`?"),
        ("max_body_byte", "did you mean `max_body_bytes`?"),
        ("zzz", "`ferryman config show` lists all settings."),
        ("'a\\x1b[31m'", "`ferryman config show` lists all settings."),
    ],
)
def test_unknown_key_is_refused_with_a_hint(key: str, hint: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, file=f"{key}: 1\n")
    assert f", from {tmp_path}/ferryman.yaml: no such setting; {hint}" in problem
    assert problem.isprintable()


def test_values_of_the_file_are_taken_as_they_stand_there(tmp_path: Path) -> None:
    """YAML itself would make 8, 4000 and `False` of these."""
    loaded = read(tmp_path, file="port: 010\nanthropic_api_key: 0_0.10\nhost: no\nallow_open: yes\n")
    chosen = loaded.settings
    assert (chosen.port, chosen.anthropic_api_key, chosen.host) == (10, "0_0.10", "no")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"a: [", ", line 1, is not valid YAML.", id="broken"),
        pytest.param(b"port: 1\n prot: 2", ", line 2, is not valid YAML.", id="indented"),
        pytest.param(b"anthropic_api_key: *sk-ant", ", line 1, is not valid YAML.", id="alias"),
        pytest.param(b"? [a]\n: b", ", line 1, is not valid YAML.", id="list-as-name"),
        pytest.param(b"a: \x00", " is not valid YAML.", id="nul"),
        pytest.param(b"[" * 1_200, " is not valid YAML.", id="deep"),
        pytest.param(b"a: 1\n---\nb: 1", ", line 2, is not valid YAML.", id="two-documents"),
        pytest.param(b"\xff\xfe\xff", " is not UTF-8 text.", id="bytes"),
        pytest.param(b"- port", " must hold `name: value` lines.", id="list"),
        pytest.param(b"sk-ant-key", " must hold `name: value` lines.", id="scalar"),
        pytest.param(b"port: 1\nhost: a\nport: 2", " has `port` more than once.", id="twice"),
    ],
)
def test_unreadable_file_is_refused_without_its_content(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "ferryman.yaml").write_bytes(content)
    assert refused(tmp_path) == [f"config file: `{tmp_path}/ferryman.yaml`{problem}"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "{}", "\ufeff"])
def test_file_without_settings_is_fine(content: str, tmp_path: Path) -> None:
    assert set(read(tmp_path, file=content).sources.values()) == {"default"}


def test_file_is_the_first_that_there_is(tmp_path: Path) -> None:
    home, xdg, directory = tmp_path / "home", tmp_path / "xdg", tmp_path / "work"
    environ = {"CONFIG_PATH": str(tmp_path / "named.yaml"), "HOME": str(home), "XDG_CONFIG_HOME": str(xdg)}
    order = [
        tmp_path / "argument.yaml",
        tmp_path / "named.yaml",
        directory / "ferryman.yaml",
        directory / "config.yaml",
        xdg / "ferryman" / "config.yaml",
        home / ".config" / "ferryman" / "config.yaml",
    ]
    for number, path in enumerate(order):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"port: {number + 1}\n", "utf-8")
    for number, path in enumerate(order):
        if number == 2:
            del environ["CONFIG_PATH"]  # a file that is named has to be there
        if number == 5:
            del environ["XDG_CONFIG_HOME"]
        loaded = load({}, environ=environ, file=path if number == 0 else None, directory=directory)
        assert (loaded.file, loaded.settings.port) == (path, number + 1)
        path.unlink()
    loaded = load({}, environ=environ, directory=directory)
    assert (loaded.file, loaded.settings.port) == (None, 4000)


def test_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    start = f"config file: `{tmp_path}/"
    assert refused(tmp_path, environ={"CONFIG_PATH": "none.yaml"}) == [f"{start}none.yaml` does not exist."]
    problem = f"{start}sevre` does not exist. `ferryman --help` lists the commands."
    assert refused(tmp_path, environ={"CONFIG_PATH": "sevre"}) == [problem]
    (tmp_path / "a@b").mkdir()
    assert f"{start}a@b` cannot be read: Is a directory." in refused(tmp_path, environ={"CONFIG_PATH": "a@b"})


def test_home_that_cannot_be_looked_into_holds_no_file(tmp_path: Path) -> None:
    """As under a user whose HOME is another's; here a name that is too long, as root may look anywhere."""
    assert read(tmp_path, environ={"HOME": "/" + "x" * 5_000}).file is None


def test_the_variable_of_the_clients_is_never_read(tmp_path: Path) -> None:
    """Claude Code's `ANTHROPIC_BASE_URL` points to Ferryman: as our upstream it would be a circle."""
    assert all("ANTHROPIC_BASE_URL" not in env_names(row) for row in rows())
    loaded = read(tmp_path, environ={"ANTHROPIC_BASE_URL": "http://127.0.0.1:4000"})
    assert loaded.settings.upstream_url == "https://api.anthropic.com"
    assert set(loaded.sources.values()) == {"default"}


@pytest.mark.parametrize("row", SECRETS)
def test_secret_is_in_no_repr(row: Field[Any]) -> None:
    values: dict[str, Any] = {row.name: SECRET}
    loaded = Loaded(Settings(**values), {}, None)
    assert SECRET not in repr(loaded)
    assert f"{row.name}={MASK!r}" in f"{loaded.settings}"


@pytest.mark.parametrize("row", SECRETS)
def test_secret_is_in_no_problem(row: Field[Any], tmp_path: Path) -> None:
    marks = ["{}ü", "[{}]", "{{a: {}}}", "*{}", '"{}', "!{} [x]"]
    for value in (mark.format(SECRET) for mark in marks):
        assert SECRET not in "".join(refused(tmp_path, file=f"{row.name}: {value}\nport: none\n"))


NUMBERLIKE = strategies.integers() | strategies.floats() | strategies.integers(10**400, 10**401)


@given(raw=strategies.text() | NUMBERLIKE | NUMBERLIKE.map(str))
@settings(max_examples=60)
@pytest.mark.parametrize("row", NUMBERS)
def test_anything_for_a_number_is_within_bounds_or_refused(row: Field[Any], raw: object) -> None:
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    problems: list[str] = []
    value: Any = low
    try:
        value = getattr(load({row.name: raw}, environ={}, directory=Path("/")).settings, row.name)
    except SettingsError as error:
        problems = error.problems
    assert all(problem.startswith(f"{row.name}: ") and problem.isprintable() for problem in problems)
    assert len(problems) <= 1
    assert low <= value < float("inf")
    assert high is None or value <= high


@given(content=strategies.text() | strategies.binary())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_read_or_refused(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[str] = []
    try:
        load({}, environ={}, file=path)
    except SettingsError as error:
        problems = error.problems
    assert all(problem.isprintable() for problem in problems)


KEY = {"ANTHROPIC_API_KEY": "key"}


@pytest.mark.parametrize("environ", [{}, KEY], ids=["no-key", "key"])
@pytest.mark.parametrize("source", ["FERRYMAN_MASTER_KEY", "LITELLM_MASTER_KEY", "file"])
def test_with_a_master_key_callers_need_virtual_keys(
    source: str, environ: dict[str, str], tmp_path: Path
) -> None:
    if source == "file":
        settings = read(tmp_path, file=f"master_key: {SECRET}", environ=environ).settings
    else:
        settings = read(tmp_path, environ={source: SECRET} | environ).settings
    assert (settings.master_key, settings.effective_auth) == (SECRET, "keys")


def test_an_auth_that_is_set_counts_more_than_a_master_key(tmp_path: Path) -> None:
    settings = read(tmp_path, file=f"master_key: {SECRET}\nauth: open", environ=KEY).settings
    assert settings.effective_auth == "open"


def test_admin_port_is_another_than_that_of_the_clients(tmp_path: Path) -> None:
    told = "admin_port, from the command line: that is `port` already; name another, or leave it out."
    assert refused(tmp_path, port=4100, admin_port=4100) == [told]
    assert read(tmp_path, port=4100, admin_port=4100, unix_socket="/a").settings.admin_port == 4100


def test_place_for_sockets_is_that_of_the_session(tmp_path: Path) -> None:
    loaded = read(tmp_path, environ={"XDG_RUNTIME_DIR": "/run/user/7"})
    assert loaded.settings.runtime_directory == "/run/user/7/ferryman"
    assert loaded.sources["runtime_directory"] == "environment (XDG_RUNTIME_DIR)"
    both = {"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/ferryman"}
    assert read(tmp_path, environ=both).settings.runtime_directory == "/run/ferryman"
    assert read(tmp_path).settings.runtime_directory is None


def test_auto_is_open_with_a_key_and_passthrough_without(tmp_path: Path) -> None:
    assert read(tmp_path).settings.effective_auth == "passthrough"
    assert read(tmp_path, environ=KEY).settings.effective_auth == "open"
    assert read(tmp_path, environ=KEY, auth="passthrough").settings.effective_auth == "passthrough"
    (problem,) = refused(tmp_path, auth="open")
    assert problem.startswith("auth, from the command line: `open` needs `anthropic_api_key`")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example", "127.0.0.1.example"])
def test_open_beyond_this_machine_has_to_be_allowed(host: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, host=host, environ=KEY)
    assert problem.startswith(
        f"host, from the command line: with `{host}` anybody on the network could spend"
    )
    assert read(tmp_path, host=host, environ=KEY, allow_open=True).settings.host == host
    assert read(tmp_path, host=host, environ=KEY, auth="passthrough").settings.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_open_on_this_machine_needs_no_leave(host: str, tmp_path: Path) -> None:
    assert read(tmp_path, host=host, environ=KEY).settings.effective_auth == "open"


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "a b", "http://a", "[::1]", "user@a"])
def test_host_that_no_resolver_takes_is_refused(host: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, host=host)
    assert problem.endswith(" is not a name or address.")


OWN = ["localhost", "LocalHost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]", "127.9.9.9"]


@pytest.mark.parametrize("listener", ["127.0.0.1", "localhost", "0.0.0.0", "::", "::1"])
@pytest.mark.parametrize("upstream", OWN)
def test_upstream_that_is_our_own_listener_is_refused(upstream: str, listener: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, host=listener, upstream_url=f"http://{upstream}:4000/v1")
    assert problem.endswith("is where Ferryman itself listens; requests would go in circles.")
    assert read(tmp_path, host=listener, upstream_url=f"http://{upstream}:4001/v1")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("api.anthropic.com", "`api.anthropic.com` cannot be used; wanted a URL such as"),
        ("localhost:4010", "`localhost:4010` cannot be used; wanted a URL such as"),
        ("ftp://host", "`ftp://host` cannot be used; wanted a URL such as"),
        ("http://", "`http://` cannot be used; wanted a URL such as"),
        ("http://a..b", "`http://a..b` cannot be used; wanted a URL such as"),
        ("http://host:0", "`http://host:0` cannot be used; wanted a URL such as"),
        ("http://ho st", "`http://ho st` cannot be used; wanted a URL such as"),
        ("http://host:99999", "`http://host:99999` is not a URL."),
        ("http://[::1", "`http://[::1` is not a URL."),
        (f"https://user:{SECRET}@host", "it holds a user name or password; put the key in"),
        (f"user:{SECRET}@[", "it holds a user name or password; put the key in"),
        (f"https://host/a?key={SECRET}", "what follows `https://host/a` is a query or fragment; wanted"),
        (f"https://host#{SECRET}", "what follows `https://host` is a query or fragment; wanted"),
    ],
)
def test_url_that_is_no_base_url_is_refused(url: str, problem: str, tmp_path: Path) -> None:
    (told,) = refused(tmp_path, upstream_url=url)
    assert told.startswith(f"upstream_url, from the command line: {problem}")
    assert SECRET not in told
    (told,) = refused(tmp_path, upstream_url=f"{url}/ü")
    assert "cannot be used; wanted a text of ASCII characters" in told
    assert f"{SECRET}@" not in told


def test_path_of_the_upstream_is_kept(tmp_path: Path) -> None:
    upstream = read(tmp_path, upstream_url=" http://Host:8080/prefix/ ").settings.upstream
    assert (upstream.hostname, upstream.port, upstream.path) == ("host", 8080, "/prefix/")


def test_listener_is_known_by_its_own_name_and_a_neighbour_is_not(tmp_path: Path) -> None:
    assert refused(tmp_path, host="Gateway.lan", port=80, upstream_url="http://gateway.lan")
    assert read(tmp_path, host="192.168.1.5", upstream_url="http://127.0.0.1:4000")
