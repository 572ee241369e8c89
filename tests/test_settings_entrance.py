"""The settings of where clients come in, and what `ferryman config check` and the start say of them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from ferryman.hosts import TrustedProxies
from tests.test_settings import SECRET, read, refused


@pytest.mark.parametrize("mode", ["rw-rw----", "888", "0o660", "1777", "00660", "-60", "+60"])
def test_mode_that_is_not_octal_is_refused(mode: str, tmp_path: Path) -> None:
    (told,) = refused(tmp_path, unix_socket_mode=mode)
    wanted = "is no mode; wanted octal digits such as `660`."
    assert told == f"unix_socket_mode, from the command line: `{mode}` {wanted}"


def test_mode_in_the_file_is_octal_as_it_stands(tmp_path: Path) -> None:
    assert read(tmp_path, file="unix_socket_mode: 0600\n").settings.unix_socket_mode == "0600"


def test_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, tls_key_file="key.pem")
    assert told.startswith("tls_key_file, from the command line: a key is of no use without its certificate")
    assert read(tmp_path, tls_key_file="key.pem", tls_cert_file="cert.pem")


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("10.0.0.1, example.org", "example.org"),
        ("10.0.0.1/8", "10.0.0.1/8"),
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("*", "*"),
        ("Unix", "Unix"),
        ("::1 ::2", "::1 ::2"),
    ],
)
def test_proxy_that_is_no_address_is_refused_by_its_name(text: str, member: str, tmp_path: Path) -> None:
    (told,) = refused(tmp_path, trusted_proxies=text)
    kinds = "is no address, no network such as `10.0.0.0/8`, and not `unix`."
    assert told == f"trusted_proxies, from the command line: `{member}` {kinds}"


@pytest.mark.parametrize(
    "line",
    [
        "trusted_proxies: 10.0.0.0/8,::1 , unix",
        "trusted_proxies: [10.0.0.0/8, '::1', unix]",
        "trusted_proxies:\n- 10.0.0.0/8\n- ::1\n- unix",
    ],
)
def test_proxies_are_a_text_with_commas_or_a_list_of_the_file(line: str, tmp_path: Path) -> None:
    trusted = read(tmp_path, file=line).settings.trusted
    assert trusted == TrustedProxies((ip_network("10.0.0.0/8"), ip_network("::1/128")), unix=True)


def test_network_of_mapped_addresses_is_the_one_that_they_stand_for(tmp_path: Path) -> None:
    trusted = read(tmp_path, trusted_proxies="::ffff:10.1.0.0/112, ::ffff:0:0/96, ::/0").settings.trusted
    assert trusted is not None
    assert [str(network) for network in trusted.networks] == ["10.1.0.0/16", "0.0.0.0/0", "::/0"]


def test_no_proxy_is_trusted_unless_it_is_named(tmp_path: Path) -> None:
    assert read(tmp_path).settings.trusted is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "claude.example.org",
            "`claude.example.org` cannot be used; wanted a URL such as `https://claude.ex",
        ),
        ("ftp://host", "`ftp://host` cannot be used; wanted a URL such as"),
        ("https://host:99999", "`https://host:99999` is not a URL."),
        (f"https://user:{SECRET}@host", "it holds a user name or password; clients have keys of their own."),
        (f"https://host/a?key={SECRET}", "what follows `https://host/a` is a query or fragment; wanted"),
    ],
)
def test_public_url_that_is_no_base_url_is_refused(url: str, problem: str, tmp_path: Path) -> None:
    (told,) = refused(tmp_path, public_url=url)
    assert told.startswith(f"public_url, from the command line: {problem}")
    assert SECRET not in told


def test_open_is_local_on_a_unix_socket_whatever_the_host(tmp_path: Path) -> None:
    options: dict[str, Any] = {"host": "0.0.0.0", "environ": {"ANTHROPIC_API_KEY": "key"}}
    (told,) = refused(tmp_path, **options)
    assert "anybody on the network could spend the server's key" in told
    assert read(tmp_path, unix_socket="f.sock", **options).settings.effective_auth == "open"


def test_upstream_on_the_port_that_a_unix_socket_replaces_is_no_circle(tmp_path: Path) -> None:
    assert len(refused(tmp_path, upstream_url="http://127.0.0.1:4000")) == 1
    assert read(tmp_path, upstream_url="http://127.0.0.1:4000", unix_socket="f.sock")
