"""Which URLs are fetched and which addresses are connected to, decided without a network."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import SettingsError
from ferryman.http1.origin import Origin
from ferryman.http1.resolve import Address
from ferryman.relay.fetch.store import MAX_STORE_BYTES, MAX_STORE_ENTRIES
from ferryman.relay.fetch.target import (
    MAX_URL_CHARACTERS,
    PORTS,
    Refused,
    check_addresses,
    kind_of,
    redirected,
    target_of,
    told,
)
from ferryman.settings import Settings
from ferryman.settings_images import ListedHost, listed_hosts
from ferryman.settings_load import load
from ferryman.wire.images import MAX_SOURCES

NONE: frozenset[ListedHost] = frozenset()


def refusal(url: str, listed: str = "") -> str:
    with pytest.raises(Refused) as caught:
        target_of(url, listed_hosts(listed))
    return str(caught.value)


def addresses(*texts: str) -> list[Address]:
    kinds = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(kinds[":" in text], socket.SOCK_STREAM, 6, "", (text, 443)) for text in texts]


def test_url_becomes_origin_and_path() -> None:
    target = target_of("HTTPS://Img.Example./a%20b/é.png?x=ü&y=%2F#top", NONE)
    assert target.origin == Origin("https", "img.example", 443)
    assert target.path == "/a%20b/%C3%A9.png?x=%C3%BC&y=%2F"
    assert target_of("http://img.example:8080", NONE).path == "/"
    assert target_of("http://[2606:4700:0::1111]/", NONE).origin.host == "2606:4700::1111"
    assert str(target_of("http://img_1.example:80/", NONE).origin) == "http://img_1.example"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://img.example/a", "only `http` and `https` URLs are fetched"),
        ("file:///etc/passwd", "only `http` and `https` URLs are fetched"),
        ("data:image/png;base64,AAAA", "only `http` and `https` URLs are fetched"),
        ("img.example/a.png", "only `http` and `https` URLs are fetched"),
        ("gopher://127.0.0.1:6379/_x", "only `http` and `https` URLs are fetched"),
        ("http:///a", "it names no host"),
        ("http:img.example", "it names no host"),
        ("https://user:pass@img.example/", "it holds a user name or a password"),
        ("https://img.example@127.0.0.1/", "it holds a user name or a password"),
        ("http://img.example:99999/", "it is not a URL"),
        ("http://[::1/", "it is not a URL"),
        ("http://[fe80::1%25eth0]/", "its host is an address with a zone"),
        ("http://img.example:22/", "its port 22 is not one of 80, 443, 8080, 8443"),
        ("http://img.example:6379/", "its port 6379 is not one of 80, 443, 8080, 8443"),
        ("http://img.example:0/", "its port 0 is not one of 80, 443, 8080, 8443"),
        ("http://img.example\\@127.0.0.1/", "it has characters that no URL has"),
        ("http://img.example/a b", "it has characters that no URL has"),
        ("http://img.example/\r\nx-a: b", "it has characters that no URL has"),
        ("http://img.example/\t", "it has characters that no URL has"),
        ("http://im\u200bg.example/", "it has characters that no URL has"),
        ("http://bücher.example/", "its host is not spelled in ASCII (`xn--…`)"),
        ("http://１２７.0.0.1/", "its host is not spelled in ASCII (`xn--…`)"),
        ("http://127。0。0。1/", "its host is not spelled in ASCII (`xn--…`)"),
        ("http://%31%32%37.0.0.example/", "its host is no name"),
        ("http://-a.example/", "its host is no name"),
        ("http://a..example/", "its host is no name"),
        ("http://" + "a" * 64 + ".example/", "its host is no name"),
        ("http://" + "a." * 130 + "example/", "its host is no name"),
        ("http://img.example/" + "a" * MAX_URL_CHARACTERS, "it has more than 8192 characters"),
    ],
)
def test_url_that_is_not_fetched_is_refused_with_its_reason(url: str, reason: str) -> None:
    assert refusal(url) == reason


def test_brackets_with_more_behind_them_are_refused() -> None:
    # Python 3.11.4 and later look into brackets, earlier ones do not.
    assert refusal("http://[::1]x/") in {"its host is no name or address", "it is not a URL"}


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "017700000001", "0x7f000001", "0X7F.1", "0x", "0177.0.0.1", "127.1", "127.0.0.01"),
        *("1.2.3.4.5", "256.1.1.1", "127.0.0.1.0x1", "img.example.1", "00000000127.0.0.1", "%31%32%37.0.0.1"),
    ],
)
def test_other_spelling_of_an_ipv4_address_is_refused(host: str) -> None:
    assert refusal(f"http://{host}/") == "its host is a number that is no IPv4 address in its usual spelling"
    assert refusal(f"http://{host}./") == "its host is a number that is no IPv4 address in its usual spelling"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "this network"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private (shared by the customers of a network)"),
        ("100.127.255.255", "private (shared by the customers of a network)"),
        ("100.100.100.200", "of a cloud's metadata service"),
        ("168.63.129.16", "of a cloud's metadata service"),
        ("169.254.169.254", "of a cloud's metadata service"),
        ("169.254.1.1", "link-local"),
        ("192.0.0.1", "reserved"),
        ("198.19.0.1", "reserved"),
        ("203.0.113.9", "reserved"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "reserved"),
        ("::1", "loopback"),
        ("::7f00:1", "reserved"),
        ("::ffff:127.0.0.1", "IPv4 in IPv6"),
        ("::ffff:8.8.8.8", "IPv4 in IPv6"),
        ("64:ff9b::7f00:1", "IPv4 in IPv6 (NAT64)"),
        ("64:ff9b:1::a00:1", "IPv4 in IPv6 (NAT64)"),
        ("2002:7f00:1::", "IPv4 in IPv6 (6to4)"),
        ("2001:0:1::1", "IPv4 in IPv6 (Teredo)"),
        ("2001:20::1", "reserved"),
        ("2001:db8::1", "reserved"),
        ("3fff::1", "reserved"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "of a cloud's metadata service"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "private (site-local)"),
        ("ff02::1", "multicast"),
        ("5f00::1", "reserved"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
        ("8.8.8.8", None),
        ("172.32.0.1", None),
        ("100.128.0.1", None),
        ("2606:4700::1111", None),
        ("2a00:1450:4001::1", None),
    ],
)
def test_address_that_is_not_public_is_refused(address: str, kind: str | None) -> None:
    assert kind_of(address) == kind
    found = addresses("8.8.8.8", address)
    if kind is None:
        check_addresses(found, is_listed=False)
        return
    with pytest.raises(Refused) as caught:
        check_addresses(found, is_listed=False)
    assert str(caught.value) == f"its host has an address that is not public: {kind}"
    assert address.split("%", maxsplit=1)[0] not in str(caught.value)


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_public(address: object) -> None:
    special = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified")
    if any(getattr(address, name) for name in special):
        assert kind_of(str(address)) is not None


def test_listed_host_may_have_private_addresses_and_no_others() -> None:
    check_addresses(addresses("10.0.0.1", "127.0.0.1", "fd12::1", "::1", "100.64.0.1"), is_listed=True)
    for never in (
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:10.0.0.1",
        "0.0.0.0",
    ):
        with pytest.raises(Refused):
            check_addresses(addresses(never), is_listed=True)


def test_list_names_hosts_with_the_usual_ports_or_one_of_their_own() -> None:
    listed = "img.internal, 10.0.0.1:9000, [fd12:0::1]:81, ::1, Other.Internal.:8080"
    for url in (
        "http://IMG.internal",
        "http://img.internal.:8443",
        "http://10.0.0.1:9000",
        "http://[fd12::1]:81",
    ):
        assert target_of(url, listed_hosts(listed)).is_listed
    for url in (
        "http://10.0.0.1",
        "http://sub.img.internal",
        "https://other.internal",
        "http://img.internal.example",
    ):
        assert not target_of(url, listed_hosts(listed)).is_listed
    assert target_of("http://[0::1]/", listed_hosts(listed)).is_listed
    assert refusal("http://img.internal:9000", listed) == "its port 9000 is not one of 80, 443, 8080, 8443"


@pytest.mark.parametrize(
    "text", ["*", "a/b", "u@h", "h:0", "h:x", "[::1", "http://h", "[::1]x", "*.h", "[h]", "a b", ":80"]
)
def test_member_of_the_list_that_is_no_host_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(text)}$"):
        listed_hosts(f"img.internal, {text}")


def test_redirect_is_judged_like_a_url() -> None:
    target = target_of("https://img.example/a/b.png?x", NONE)
    assert redirected(target, "../c.png", NONE).url == "https://img.example/c.png"
    assert redirected(target, "//cdn.example/d", NONE).origin == Origin("https", "cdn.example", 443)
    other = "it redirects to a URL that is not fetched: "
    number = "its host is a number that is no IPv4 address in its usual spelling"
    for location, reason in {
        "http://img.example/": "it redirects from `https` to `http`",
        "file:///etc/passwd": other + "only `http` and `https` URLs are fetched",
        "//u:p@h/": other + "it holds a user name or a password",
        "https://2130706433/": other + number,
        "//[": other + "it is not a URL",
    }.items():
        with pytest.raises(Refused) as caught:
            redirected(target, location, NONE)
        assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/x@2x.png?sig=secret#y", "`https://h.example/x@2x.png`"),
        ("https://user:secret@h.example/x", "`https://h.example/x`"),
        ("https://user:sec@ret@[::1]:80/x", "`https://[::1]:80/x`"),
        ("http://user:sec/ret@h/", "`…`"),
        ("http://user:sec?ret@h/", "`…`"),
        ("user:secret@host/x", "`…`"),
        ("http:///user:secret@h/", "`…`"),
        ("http://h/\n", "`http://h/\\n`"),
        ("http://h/" + "x" * 300, "`http://h/" + "x" * 191 + "…`"),
    ],
)
def test_url_is_told_without_what_may_be_secret(url: str, shown: str) -> None:
    assert told(url) == shown


def test_list_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ferryman.yaml"
    path.write_text("image_hosts: [a.b, 'http://c']", "utf-8")
    with pytest.raises(SettingsError) as caught:
        load({}, environ={}, directory=tmp_path)
    problem = f"image_hosts, from {path}: `http://c` is no host; wanted a name, or `name:port`."
    assert caught.value.problems == [problem]


def test_page_names_the_bounds_in_force() -> None:
    page = (Path(__file__).parent.parent / "docs" / "images.md").read_text("utf-8")
    for bound in (MAX_STORE_ENTRIES, MAX_SOURCES, MAX_URL_CHARACTERS):
        assert f"{bound:,} " in page
    assert f"{MAX_STORE_BYTES >> 20} MB" in page
    assert {f"{port}" for port in PORTS} <= set(re.findall(r"[0-9]+", page))
    settings = Settings()
    assert f"| `max_image_bytes` | {settings.max_image_bytes >> 20} MB |" in page
    assert f"| `max_images_bytes` | {settings.max_images_bytes >> 20} MB |" in page
    assert f"| `image_timeout_seconds` | {settings.image_timeout_seconds:g} |" in page
    assert f"| `image_downloads` | {settings.image_downloads} |" in page
