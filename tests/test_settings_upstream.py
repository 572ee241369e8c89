"""The settings of the way upstream: the proxy of the environment, and the files for TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib import request

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ferryman.cli.main import main
from ferryman.hosts import is_listed
from ferryman.settings import Settings
from ferryman.settings_upstream import proxy_variable
from tests.test_settings import read, refused

SECRET = "do-not-tell"
PROXY = "http://proxy.example:3128"
OTHER = "http://other.example"
UPSTREAM = "https://api.example"


@pytest.mark.parametrize(
    ("upstream", "environ", "expected"),
    [
        (UPSTREAM, {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        (UPSTREAM, {"https_proxy": PROXY, "HTTPS_PROXY": OTHER}, "https_proxy"),
        (UPSTREAM, {"https_proxy": PROXY, "ALL_PROXY": OTHER}, "https_proxy"),
        (UPSTREAM, {"all_proxy": PROXY, "ALL_PROXY": OTHER}, "all_proxy"),
        (UPSTREAM, {"ALL_PROXY": PROXY, "HTTP_PROXY": OTHER}, "ALL_PROXY"),
        (UPSTREAM, {"https_proxy": "", "HTTPS_PROXY": OTHER}, None),
        (UPSTREAM, {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example"}, None),
        (UPSTREAM, {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example", "no_proxy": "b"}, "HTTPS_PROXY"),
        ("http://api.example", {"HTTP_PROXY": PROXY, "HTTPS_PROXY": OTHER}, "HTTP_PROXY"),
        ("http://api.example", {"HTTP_PROXY": OTHER, "REQUEST_METHOD": "GET"}, None),
        ("http://api.example", {"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http_proxy"),
        ("http://localhost:8080", {"HTTP_PROXY": OTHER}, None),
        ("http://127.9.9.9", {"HTTP_PROXY": OTHER}, None),
        ("https://[::1]", {"HTTPS_PROXY": OTHER}, None),
        (UPSTREAM, {"HTTPS_PROXY": "proxy.example:3128"}, "HTTPS_PROXY"),
    ],
)
def test_proxy_is_that_of_the_environment(
    upstream: str, environ: dict[str, str], expected: str | None, tmp_path: Path
) -> None:
    loaded = read(tmp_path, environ=environ, upstream_url=upstream)
    source = loaded.sources["upstream_proxy"]
    assert source == ("default" if expected is None else f"environment ({expected})")
    assert loaded.settings.upstream_proxy == ("auto" if expected is None else PROXY)
    assert (loaded.settings.proxy is None) == (expected is None)
    for other in ("none", OTHER):
        loaded = read(tmp_path, environ=environ, upstream_url=upstream, upstream_proxy=other)
        assert loaded.settings.upstream_proxy == other


VALUES = st.sampled_from(["", "http://a", "http://b"])
NAMES = [f"{name}_proxy" for name in ("http", "https", "all")]
VARIABLES = [*NAMES, *(name.upper() for name in NAMES), "REQUEST_METHOD"]


@given(environ=st.dictionaries(st.sampled_from(VARIABLES), VALUES))
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_is_the_one_that_python_would_take(scheme: str, environ: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in [*VARIABLES, "no_proxy", "NO_PROXY"]:
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        theirs = request.getproxies_environment()
    expected = theirs.get(scheme) or theirs.get("all")
    found = proxy_variable(environ, Settings(upstream_url=f"{scheme}://api.example"))
    assert (found.value if found is not None else None) == expected


HOSTS = ["api.example", "example", "b.api.example", "10.1.2.3", "anapi.example"]
ENTRIES = ["api.example", ".api.example", "example:443", "api.example:443", "api.example:80", "10.1.2.3", ""]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("entry", [*ENTRIES, "API.Example", "*", "a, api.example", "example,b"])
def test_host_without_a_proxy_is_the_one_that_python_leaves_out(host: str, entry: str) -> None:
    """Where Python's function is asked with the port, which it does not know otherwise."""
    python: Any = request  # whose stubs lack it
    expected = python.proxy_bypass_environment(f"{host}:443", {"no": entry})
    assert is_listed(host, 443, entry) is bool(expected)


@pytest.mark.parametrize(
    ("host", "entry", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "[2001:db8::1]:443", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("api.example", "10.0.0.0/8,*", True),
        ("api.example", "*.example", True),
        ("api.example", "*.other", False),
        ("api.example", "*,", True),
    ],
)
def test_networks_and_stars_leave_out_hosts_too(host: str, entry: str, expected: bool) -> None:
    assert is_listed(host, 443, entry) is expected


@pytest.mark.parametrize(
    "url",
    [
        f"socks5://user:{SECRET}@proxy.example",
        f"https://user:{SECRET}@proxy.example",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@proxy.example:0",
        f"http://user:{SECRET}@proxy.example:99999",
        f"http://user:{SECRET}@proxy.example/path",
        f"http://user:{SECRET}/@proxy.example",
        f"http://user:{SECRET}@[",
        f"http://user:{SECRET}@a\x7fb",
    ],
)
@pytest.mark.parametrize("source", ["HTTPS_PROXY", "file"])
def test_proxy_that_cannot_be_used_is_named_without_its_credentials(
    url: str, source: str, tmp_path: Path
) -> None:
    if source == "file" and url.isprintable():
        (problem,) = refused(tmp_path, file=f"upstream_proxy: '{url}'\n")
        assert problem.startswith(f"upstream_proxy, from {tmp_path}/ferryman.yaml: `")
    else:
        (problem,) = refused(tmp_path, environ={"HTTPS_PROXY": url})
        assert problem.startswith("upstream_proxy, from the environment (HTTPS_PROXY): `")
    assert "********@" in problem
    assert "http://" in problem.partition("; ")[2]
    assert SECRET not in problem
    assert problem.isprintable()
    assert read(tmp_path, file="", environ={"HTTPS_PROXY": url}, upstream_proxy="none")


@pytest.mark.parametrize("value", ["direct", "proxy.example:3128"])
def test_proxy_of_the_setting_is_a_whole_url(value: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, upstream_proxy=value)
    assert problem.startswith(
        f"upstream_proxy, from the command line: `{value}` cannot be used; only `http://`"
    )


@pytest.mark.parametrize("password", [SECRET, f"%2F{SECRET}", f"@{SECRET}"])
def test_credentials_of_the_proxy_are_never_shown(password: str, tmp_path: Path) -> None:
    url = f"http://user:{password}@proxy.example:3128"
    loaded = read(tmp_path, environ={"HTTPS_PROXY": url})
    assert "upstream_proxy='http://********@proxy.example:3128'" in repr(loaded)
    environ = {"HTTPS_PROXY": url, "HOME": str(tmp_path), "CONFIG_PATH": ""}
    for command in ("show", "check"):
        done = CliRunner(env=environ).invoke(main, ["config", command])
        assert done.exit_code == 0, done.output
        assert "http://********@proxy.example:3128" in done.output
        assert SECRET not in done.output


def test_credentials_of_the_proxy_stand_on_no_command_line() -> None:
    done = CliRunner().invoke(main, ["config", "check", "--upstream-proxy", f"http://user:{SECRET}@proxy"])
    assert done.exit_code == 2
    assert "set FERRYMAN_UPSTREAM_PROXY or put `upstream_proxy` into the config file" in done.output
    assert SECRET not in done.output
    done = CliRunner().invoke(main, ["config", "check", "--upstream-proxy", PROXY])
    assert f"through      {PROXY}\n" in done.output


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`ca.pem`, `cert.pem`, `key.pem`, `both.pem`, `other-key.pem`, `locked.pem` and `text.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine, other = authority.issue_cert("client"), authority.issue_cert("client")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    other.private_key_pem.write_to_path(tmp_path / "other-key.pem")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked = key.private_bytes(*form, serialization.BestAvailableEncryption(b"password"))
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "text.pem").write_text("no certificate\n")
    return tmp_path


USABLE = [
    {"upstream_ca_file": "ca.pem"},
    {"upstream_client_cert_file": "both.pem"},
    {"upstream_client_cert_file": "cert.pem", "upstream_client_key_file": "key.pem"},
]


@pytest.mark.parametrize("names", USABLE)
@pytest.mark.parametrize("source", ["flags", "environment", "file"])
def test_files_for_tls_come_from_every_source(names: dict[str, str], source: str, files: Path) -> None:
    values: dict[str, Any] = {name: str(files / value) for name, value in names.items()}
    if source == "flags":
        loaded = read(files, **values)
    elif source == "environment":
        loaded = read(files, environ={f"FERRYMAN_{name.upper()}": value for name, value in values.items()})
    else:
        loaded = read(files, file="".join(f"{name}: {value}\n" for name, value in values.items()))
    assert {name: getattr(loaded.settings, name) for name in values} == values


CA, CERT, KEY = "upstream_ca_file", "upstream_client_cert_file", "upstream_client_key_file"
UNUSABLE = [
    pytest.param({CA: "none.pem"}, CA, "cannot be read: No such file or directory.", id="missing"),
    pytest.param({CA: ""}, CA, "cannot be read: Is a directory.", id="directory"),
    pytest.param({CA: "text.pem"}, CA, "holds no certificates in PEM format (no certificate", id="text"),
    pytest.param({CA: "key.pem"}, CA, "holds no certificates in PEM format (no certificate", id="no-ca"),
    pytest.param({CERT: "none.pem"}, CERT, "cannot be read: No such", id="missing-cert"),
    pytest.param({CERT: "both.pem", KEY: "none.pem"}, KEY, "cannot be read: No such", id="missing-key"),
    pytest.param({CERT: "cert.pem"}, CERT, "does not hold a certificate and its private key", id="no-key"),
    pytest.param({CERT: "cert.pem", KEY: "other-key.pem"}, CERT, "(key values mismatch)", id="other-key"),
    pytest.param({CERT: "cert.pem", KEY: "locked.pem"}, KEY, "has an encrypted private key", id="locked"),
]


@pytest.mark.parametrize(("names", "blamed", "what"), UNUSABLE)
def test_file_for_tls_that_cannot_be_used_is_told_before_anything_listens(
    names: dict[str, str], blamed: str, what: str, files: Path
) -> None:
    values = {name: str(files / value) for name, value in names.items()}
    (problem,) = refused(files, **values)
    assert problem.startswith(f"{blamed}, from the command line: `{values[blamed]}` ")
    assert what in problem
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]
    for command in (["config", "check"], ["serve"]):
        done = CliRunner(env={"HOME": str(files)}).invoke(main, [*command, *words])
        assert (done.exit_code, done.output) == (2, f"ferryman: {problem}\n")


def test_key_without_a_certificate_is_refused(files: Path) -> None:
    (problem,) = refused(files, upstream_client_key_file=str(files / "key.pem"))
    assert problem.startswith("upstream_client_key_file, from the command line: a key needs its certificate")
