"""Whose address is recorded where proxies stand between the client and us."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies

from ferryman.hosts import TrustedProxies, trusted_proxies
from ferryman.relay.address import MAX_HEADER_BYTES, MAX_HOPS, address_in, client_address
from tests.conftest import Bench
from tests.support.raw import RawClient, get

TRUSTED = trusted_proxies("10.0.0.0/8, 127.0.0.1, ::1, fd00::/8, unix")
FORWARDED = (
    b"X-Forwarded-For: 203.0.113.7\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: a\r\n"
    b"X-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\n"
)
NAMES = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded")

ADDRESSES = strategies.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(b"", "10.1.1.1", id="no-header"),
        pytest.param(b"203.0.113.7", "203.0.113.7", id="one"),
        pytest.param(b"203.0.113.7, 10.0.0.2", "203.0.113.7", id="behind-another-proxy"),
        pytest.param(b"6.6.6.6, 203.0.113.7, 10.0.0.2", "203.0.113.7", id="made-up-by-the-client"),
        pytest.param(b"10.0.0.3,10.0.0.2", "10.0.0.3", id="all-trusted"),
        pytest.param(b"203.0.113.7, rubbish, 10.0.0.2", "10.0.0.2", id="malformed-further-left"),
        pytest.param(b"203.0.113.7, unknown", "10.1.1.1", id="malformed-at-the-end"),
        pytest.param(b" , 203.0.113.7 ,, ", "203.0.113.7", id="empty-members"),
        pytest.param(b"203.0.113.7:4711, [fd00::1]:80", "203.0.113.7", id="ports"),
        pytest.param(b"2001:DB8::0:1", "2001:db8::1", id="canonical"),
        pytest.param(b"::ffff:203.0.113.7", "203.0.113.7", id="mapped"),
        pytest.param(b"203.0.113.7, ::ffff:10.0.0.1", "203.0.113.7", id="mapped-and-trusted"),
        pytest.param(b"203.0.113.7, \xff\xfe", "10.1.1.1", id="not-ascii"),
    ],
)
def test_address_is_the_rightmost_that_no_trusted_proxy_has(header: bytes, expected: str) -> None:
    assert client_address("10.1.1.1", header, TRUSTED) == expected


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::9", "fe80::1%eth0", ""])
def test_word_of_a_peer_that_is_not_trusted_counts_for_nothing(peer: str) -> None:
    assert client_address(peer, b"203.0.113.7", TRUSTED) == peer


def test_mapped_peer_is_trusted_as_the_ipv4_address_that_it_is() -> None:
    assert client_address("::ffff:10.0.0.1", b"203.0.113.7", TRUSTED) == "203.0.113.7"


def test_peer_of_a_unix_socket_is_trusted_by_name_only() -> None:
    assert client_address("unix", b"203.0.113.7", TRUSTED) == "203.0.113.7"
    assert client_address("unix", b"203.0.113.7", TRUSTED._replace(unix=False)) == "unix"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:80", "203.0.113.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        *((text, None) for text in ("", "unix", "a", "[::1", "[::1]x", "[::1]:", "[203.0.113.7]", "::1]:80")),
        *((text, None) for text in ("1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:²", "1.2.3.4:000080")),
        *(
            (text, None)
            for text in ("010.0.0.1", "1.2.3", '"1.2.3.4"', "fe80::1%eth0", "1.2.3.4/8", "16909060")
        ),
    ],
)
def test_forms_of_an_address(text: str, expected: str | None) -> None:
    assert address_in(text) == (expected and ipaddress.ip_address(expected))


def test_no_more_than_so_many_hops_are_read() -> None:
    hops = ", ".join(["10.0.0.1"] * (MAX_HOPS - 1))
    assert client_address("::1", f"203.0.113.7, {hops}".encode(), TRUSTED) == "203.0.113.7"
    assert client_address("::1", f"203.0.113.7, {hops}, 10.0.0.1".encode(), TRUSTED) == "10.0.0.1"


def test_member_that_is_cut_where_reading_ends_is_no_address() -> None:
    """Reading ends within `108.8.8.8`, whose end alone would be an address too."""
    tail = b",10.0.0.1" + b" " * (MAX_HEADER_BYTES - len(b"8.8.8.8,10.0.0.1"))
    assert client_address("::1", b"203.0.113.7, 108.8.8.8" + tail, TRUSTED) == "10.0.0.1"


@given(
    peer=ADDRESSES | strategies.just("unix"),
    hops=strategies.lists(ADDRESSES | strategies.text(max_size=9), max_size=40),
    networks=strategies.lists(strategies.ip_addresses(), max_size=4),
)
def test_anything_in_the_header_gives_an_address_that_stands_there_or_the_peer(
    peer: str, hops: list[str], networks: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    wide = [ipaddress.ip_network((address, 1), strict=False) for address in networks]
    header = ", ".join(hops).encode()
    found = client_address(peer, header, TrustedProxies(tuple(wide), unix=True))
    named = {str(address) for hop in ",".join(hops).split(",") if (address := address_in(hop.strip(" \t")))}
    assert found == peer or found in named
    assert len(found) <= 45
    assert client_address(peer, header, TrustedProxies((), unix=False)) == peer


@given(client=ADDRESSES, made_up=strategies.lists(ADDRESSES, max_size=5))
def test_what_a_client_makes_up_never_counts(client: str, made_up: list[str]) -> None:
    """The proxy that it reaches has noted its true address behind that."""
    header = ", ".join([*made_up, client]).encode()
    only_ours = trusted_proxies("unix")
    assert address_in(client_address("unix", header, only_ours)) == address_in(client)


# ── in the record, and on the way upstream ──


def test_peer_is_recorded_and_the_header_passes_where_no_proxy_is_trusted(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(get(headers=FORWARDED)).status == 200
    assert gateway.entry().client_address == "127.0.0.1"
    assert all(len(upstream.requests[0].values(name)) == 1 for name in NAMES)


@pytest.mark.parametrize(("trusted", "expected"), [("127.0.0.1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")])
def test_client_of_a_trusted_proxy_is_recorded_and_goes_no_further(
    line: Bench, trusted: str, expected: str
) -> None:
    gateway, upstream = line.pair(trusted_proxies=trusted)
    with RawClient(gateway.port) as client:
        assert client.ask(get(headers=FORWARDED + b"X-Other: 1\r\n")).status == 200
    assert gateway.entry().client_address == expected
    assert [upstream.requests[0].values(name) for name in NAMES] == [[]] * 5
    assert upstream.requests[0].values(b"x-other") == [b"1"]


def test_each_request_of_a_proxys_connection_has_its_own_client(line: Bench) -> None:
    gateway, _ = line.pair(trusted_proxies="127.0.0.1")
    hops = [b"203.0.113.7", b"203.0.113.8", b"203.0.113.7", b""]
    with RawClient(gateway.port) as client:
        for hop in hops:
            assert client.ask(get(headers=b"X-Forwarded-For: %b\r\n" % hop if hop else b"")).status == 200
    entries = [gateway.entry(number + 1) for number in range(4)]
    assert [entry.client_address for entry in entries] == [*(hop.decode() for hop in hops[:3]), "127.0.0.1"]


def test_lines_of_the_header_are_read_as_one(line: Bench) -> None:
    gateway, _ = line.pair(trusted_proxies="127.0.0.0/8")
    lines = b"X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nx-forwarded-for: 127.0.0.2\r\n"
    with RawClient(gateway.port) as client:
        assert client.ask(get(headers=lines)).status == 200
    assert gateway.entry().client_address == "203.0.113.7"


def test_header_cannot_be_hidden_by_naming_it_a_hop_by_hop_one(line: Bench) -> None:
    gateway, _ = line.pair(trusted_proxies="127.0.0.1")
    with RawClient(gateway.port) as client:
        client.ask(get(headers=b"Connection: x-forwarded-for\r\n" + FORWARDED))
    assert gateway.entry().client_address == "203.0.113.7"
