"""The way upstream as a client of the gateway sees it: own authorities, client certificates, proxies."""

from __future__ import annotations

import base64
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from tests.conftest import Bench
from tests.support.edge import Connection, Upstream
from tests.support.gateway import Gateway, HeldClock
from tests.support.proxy import ESTABLISHED, saying, tunnel_to
from tests.support.raw import RawClient, RawResponse, get, post
from tests.test_upstream import message_of, type_of

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
NAME = "api.upstream.test"
SECRET = "do-not-tell"


class Tls:
    """An authority, its file, and the TLS of a server that it vouches for."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.file = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.file)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(NAME, "127.0.0.1").configure_cert(self.server)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


def ask(gateway: Gateway) -> RawResponse:
    with RawClient(gateway.port) as client:
        return client.ask(post(b"{}"))


def nothing_open(gateway: Gateway) -> None:
    gateway.until(lambda: gateway.worker.line.targets[0].pool.open_count == 0)


@LOOPS
def test_upstream_of_an_own_authority_is_trusted(line: Bench, tls: Tls, loop: str) -> None:
    upstream = line.upstream(tls=tls.server)
    assert "its certificate is not trusted" in message_of(ask(line.gateway(upstream.url, loop=loop)))
    assert ask(line.gateway(upstream.url, loop=loop, upstream_ca_file=tls.file)).status == 200


@LOOPS
def test_client_certificate_is_shown(line: Bench, tls: Tls, tmp_path: Path, loop: str) -> None:
    tls.server.verify_mode = ssl.CERT_REQUIRED
    tls.authority.configure_trust(tls.server)
    mine = tls.authority.issue_cert("gateway")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both: dict[str, Any] = {"upstream_client_cert_file": str(tmp_path / "both.pem")}
    two: dict[str, Any] = {
        "upstream_client_cert_file": str(tmp_path / "cert.pem"),
        "upstream_client_key_file": str(tmp_path / "key.pem"),
    }
    upstream = line.upstream(tls=tls.server)
    for files in (both, two):
        assert ask(line.gateway(upstream.url, loop=loop, upstream_ca_file=tls.file, **files)).status == 200
    gateway = line.gateway(upstream.url, loop=loop, upstream_ca_file=tls.file)
    answer = ask(gateway)
    assert (answer.status, type_of(answer)) == (502, "api_error")
    nothing_open(gateway)


def test_connection_of_age_takes_no_new_request(line: Bench, clock: HeldClock) -> None:
    gateway, upstream = line.pair(clock=clock, upstream_max_age_seconds=100.0, upstream_idle_seconds=90.0)
    with RawClient(gateway.port) as client:
        for seconds in (60, 39, 2):
            assert client.ask(get()).status == 200
            gateway.pass_time(seconds)
        assert upstream.accepted == 1
        nothing_open(gateway)
        assert client.ask(get()).status == 200
    assert upstream.accepted == 2


def through(line: Bench, proxy: Upstream, tls: Tls, loop: str = "asyncio", **settings: Any) -> Gateway:
    """A gateway whose upstream is known to nobody but the proxy."""
    url = proxy.url.replace("//", f"//user%40home:{SECRET}@")
    options: dict[str, Any] = {"upstream_proxy": url, "upstream_ca_file": tls.file} | settings
    return line.gateway(f"https://{NAME}", loop=loop, **options)


@LOOPS
def test_tls_upstream_is_reached_through_a_tunnel(line: Bench, tls: Tls, loop: str) -> None:
    upstream = line.upstream(tls=tls.server)
    proxy = line.upstream(tunnel_to(upstream.port))
    gateway = through(line, proxy, tls, loop)
    body = b"x" * 200_000
    with RawClient(gateway.port) as client:
        for _ in range(3):
            assert client.ask(post(body)).status == 200
    assert [request.body for request in upstream.requests] == [body] * 3
    assert upstream.requests[0].line == b"POST /v1/messages HTTP/1.1"
    assert upstream.requests[0].values(b"host") == [NAME.encode()]
    assert upstream.requests[0].values(b"proxy-authorization") == []
    (asked,) = proxy.requests
    assert asked.line == b"CONNECT %b:443 HTTP/1.1" % NAME.encode()
    assert asked.values(b"host") == [b"%b:443" % NAME.encode()]
    pair = base64.b64encode(f"user@home:{SECRET}".encode())
    assert asked.values(b"proxy-authorization") == [b"Basic " + pair]


def test_proxy_without_credentials_is_sent_none(line: Bench, tls: Tls) -> None:
    upstream = line.upstream(tls=tls.server)
    proxy = line.upstream(tunnel_to(upstream.port))
    assert ask(through(line, proxy, tls, upstream_proxy=proxy.url)).status == 200
    assert proxy.requests[0].values(b"proxy-authorization") == []


REFUSALS = [
    pytest.param(
        b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", "with status 407; check the user name", id="407"
    ),
    pytest.param(b"HTTP/1.1 403 No\r\n\r\n", "with status 403; check `upstream_proxy`", id="403"),
    pytest.param(b"HTTP/1.1 101 Other\r\nUpgrade: x\r\n\r\n", "with status 101", id="101"),
    pytest.param(b"HTTP/1.1 100 Go on\r\n\r\n" + ESTABLISHED, "with status 100", id="100"),
    pytest.param(ESTABLISHED + b"x", "1 bytes follow its answer", id="bytes-behind"),
    pytest.param(b"SSH-2.0-x\r\n\r\n", "is not valid HTTP/1.1", id="not-http"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "is not valid HTTP/1.1", id="odd-header"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 8192, "is larger than 8192 bytes", id="huge-head"),
    pytest.param(b"\r\n\r\n", "is not valid HTTP/1.1", id="blank"),
]


@pytest.mark.parametrize(("said", "told"), REFUSALS)
@LOOPS
def test_proxy_that_refuses_is_502_that_names_it(
    line: Bench, tls: Tls, said: bytes, told: str, loop: str
) -> None:
    proxy = line.upstream(saying(said))
    gateway = through(line, proxy, tls, loop)
    answer = ask(gateway)
    assert (answer.status, type_of(answer)) == (502, "api_error")
    assert told in message_of(answer)
    assert f"proxy {proxy.url}" in message_of(answer)
    assert f"https://{NAME}" in message_of(answer)
    assert SECRET not in message_of(answer)
    nothing_open(gateway)


@pytest.mark.parametrize("lines", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"A: b\r\n"])
@pytest.mark.parametrize("status", [b"1.1 200", b"1.0 299"])
def test_length_in_the_answer_of_a_proxy_means_nothing(
    line: Bench, tls: Tls, status: bytes, lines: bytes
) -> None:
    """RFC 9110, section 9.3.6."""
    upstream = line.upstream(tls=tls.server)
    proxy = line.upstream(tunnel_to(upstream.port, b"HTTP/%b OK\r\n%b\r\n" % (status, lines)))
    assert ask(through(line, proxy, tls)).status == 200


def test_proxy_that_closes_is_502(line: Bench, tls: Tls) -> None:
    def half(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nA")

    gateway = through(line, line.upstream(half), tls)
    assert "it closed the connection without a whole answer" in message_of(ask(gateway))
    gateway = through(line, line.upstream(lambda connection: connection.reset()), tls)
    answer = ask(gateway)
    assert (answer.status, "No connection to the proxy" in message_of(answer)) == (502, True)
    nothing_open(gateway)


def test_proxy_that_is_not_there_is_502_that_names_it(line: Bench, tls: Tls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for scheme in ("https", "http"):
        answer = ask(line.gateway(f"{scheme}://{NAME}", upstream_proxy=url))
        assert answer.status == 502
        assert f"No connection to the proxy {url} on the way to" in message_of(answer)
        assert "refused; check `upstream_proxy`" in message_of(answer)
    answer = ask(line.gateway(f"https://{NAME}", upstream_proxy="http://no-such-host.invalid"))
    assert "the name `no-such-host.invalid` does not resolve" in message_of(answer)


@LOOPS
def test_proxy_that_is_silent_is_504_that_names_it(line: Bench, tls: Tls, loop: str) -> None:
    proxy = line.upstream(lambda connection: connection.wait_closed())
    gateway = through(line, proxy, tls, loop, connect_timeout_seconds=0.2)
    answer = ask(gateway)
    assert (answer.status, type_of(answer)) == (504, "timeout_error")
    assert f"https://{NAME} through the proxy {proxy.url} within 0.2 s" in message_of(answer)
    nothing_open(gateway)


def test_upstream_behind_a_proxy_is_verified_too(line: Bench, tls: Tls, tmp_path: Path) -> None:
    upstream = line.upstream(tls=tls.server)
    proxy = line.upstream(tunnel_to(upstream.port))
    (tmp_path / "other").mkdir()
    gateway = through(line, proxy, Tls(tmp_path / "other"))
    assert "its certificate is not trusted" in message_of(ask(gateway))
    nothing_open(gateway)


def test_plain_upstream_is_asked_for_in_absolute_form(line: Bench) -> None:
    proxy = line.upstream()
    url = proxy.url.replace("//", f"//user:{SECRET}@")
    gateway = line.gateway(f"http://{NAME}:8080/base", upstream_proxy=url)
    with RawClient(gateway.port) as client:
        for _ in range(2):
            client.ask(get(b"/v1/models?a=b", headers=b"Proxy-Authorization: Basic eDp5\r\n"))
    assert [request.line for request in proxy.requests] == [
        b"GET http://api.upstream.test:8080/base/v1/models?a=b HTTP/1.1"
    ] * 2
    assert proxy.requests[0].values(b"host") == [b"api.upstream.test:8080"]
    pair = base64.b64encode(f"user:{SECRET}".encode())
    assert proxy.requests[0].values(b"proxy-authorization") == [b"Basic " + pair]
    assert proxy.accepted == 1


def test_upstream_on_this_machine_is_reached_without_a_proxy(line: Bench) -> None:
    proxy, upstream = line.upstream(), line.upstream()
    gateway = line.gateway(upstream.url, upstream_proxy=proxy.url)
    assert ask(gateway).status == 200
    assert (len(upstream.requests), proxy.accepted) == (1, 0)


def test_start_tells_of_the_proxy_without_its_credentials(line: Bench) -> None:
    with capture_logs() as logged:
        line.gateway(f"https://{NAME}", upstream_proxy=f"http://user:{SECRET}@127.0.0.1:3128")
    (told,) = (each for each in logged if "proxy" in each)
    assert (told["upstream"], told["proxy"]) == (f"https://{NAME}", "http://127.0.0.1:3128")
    assert SECRET not in str(logged)
