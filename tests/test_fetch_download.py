"""One file by its URL: what is had from real servers, and what is refused, each with its reason."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
import trustme
import uvloop

from ferryman import __version__
from ferryman.relay.fetch.values import Inlined
from tests.conftest import Bench
from tests.support.edge import Connection, Script, Upstream
from tests.support.fetching import PDF, PNG, Names, fetched, giving, reason

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
NUMBER = "its host is a number that is no IPv4 address in its usual spelling"
ELSEWHERE = "it redirects to a URL that is not fetched: "
NOT_PUBLIC = "its host has an address that is not public: "


def listed(*upstreams: Upstream) -> str:
    return ",".join(f"127.0.0.1:{upstream.port}" for upstream in upstreams)


def redirecting(location: bytes, status: int = 302) -> Script:
    return giving(b"", headers=b"Location: %b\r\n" % location, status=status)


@LOOPS
def test_file_is_had_and_its_server_is_told_nothing_of_us(line: Bench, loop: Callable[[], Any]) -> None:
    upstream = line.upstream(giving(PNG, headers=b"Content-Type: text/html\r\nSet-Cookie: a=b\r\n"))
    outcome = fetched(f"{upstream.url}/a.png?x=1#top", listed=listed(upstream), loop=loop)
    assert isinstance(outcome, Inlined)
    assert outcome.size_bytes == len(PNG)
    source = json.loads(outcome.text)
    assert source.keys() == {"type", "media_type", "data"}
    assert (source["type"], source["media_type"], b64decode(source["data"])) == ("base64", "image/png", PNG)
    (request,) = upstream.requests
    assert request.line == b"GET /a.png?x=1 HTTP/1.1"
    assert dict(request.headers) == {
        b"host": f"127.0.0.1:{upstream.port}".encode(),
        b"user-agent": f"ferryman/{__version__}".encode(),
        b"accept": b"image/png,image/jpeg,image/gif,image/webp,application/pdf",
        b"accept-encoding": b"identity",
        b"connection": b"close",
    }


def test_chunked_and_unframed_answers_are_had_as_well(line: Bench) -> None:
    def chunked(connection: Connection) -> None:
        connection.request()
        connection.begin_stream()
        for at in range(0, len(PNG), 5):  # no chunk holds a whole signature
            connection.chunk(PNG[at : at + 5])
        connection.chunk(b"")

    def unframed(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n" + PNG)

    for script in (chunked, unframed):
        upstream = line.upstream(script)
        assert isinstance(fetched(upstream.url, listed=listed(upstream)), Inlined)


def test_pdf_is_for_documents_and_images_are_for_images(line: Bench) -> None:
    pdf, png = line.upstream(giving(PDF)), line.upstream(giving(PNG))
    assert isinstance(fetched(pdf.url, kind="document", listed=listed(pdf)), Inlined)
    assert reason(pdf.url, listed=listed(pdf)) == "by its first bytes it is no PNG, JPEG, GIF or WEBP file"
    told = reason(png.url, kind="document", listed=listed(png))
    assert told == "by its first bytes it is no PDF file"


# ── addresses ──


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "IPv4 in IPv6"),
        ("[::ffff:7f00:1]", "IPv4 in IPv6"),
        ("[64:ff9b::7f00:1]", "IPv4 in IPv6 (NAT64)"),
        ("[2002:7f00:1::]", "IPv4 in IPv6 (6to4)"),
        ("169.254.169.254", "of a cloud's metadata service"),
        ("10.0.0.1", "private"),
        ("0.0.0.0", "this network"),
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
    ],
)
def test_server_on_this_machine_or_network_is_never_asked(line: Bench, host: str, kind: str) -> None:
    upstream = line.upstream(giving(PNG))
    # The machine's own resolver; the port is one that any host may have, so that the address decides.
    assert reason(f"http://{host}:8080/") == NOT_PUBLIC + kind
    assert reason(f"http://{host}:{upstream.port}/").startswith(("its port ", NOT_PUBLIC))
    assert upstream.accepted == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
def test_number_in_the_place_of_a_host_is_not_even_looked_up(host: str) -> None:
    names = Names()
    told = reason(f"http://{host}/", names=names)
    assert told == NUMBER
    assert names.asked == []


def test_name_of_a_private_address_is_refused_and_the_address_not_told() -> None:
    told = reason("http://intern.example/", names=Names(intern_example=["10.9.8.7"]))
    assert told == NOT_PUBLIC + "private"


def test_name_that_is_bound_anew_after_the_check_is_not_looked_up_again(line: Bench) -> None:
    """The name server tells a public address first and ours then: only the first is ever connected to."""
    upstream = line.upstream(giving(PNG))
    names = Names(rebind_example=["192.0.2.1", "127.0.0.1"])
    told = reason(f"http://rebind.example:{upstream.port}/", names=names, listed="rebind.example:1")
    assert told.startswith("its port ")
    assert reason("http://rebind.example:8080/", names=names) == NOT_PUBLIC + "reserved"
    assert names.asked == ["rebind.example"]
    # Where the first answer may be connected to, the connection goes there, whatever comes second.
    names = Names(rebind_example=["127.0.0.1", "127.0.0.2"])
    with socket.create_server(("127.0.0.2", upstream.port)) as other:
        other.setblocking(False)
        url = f"http://rebind.example:{upstream.port}/"
        outcome = fetched(url, names=names, listed=f"rebind.example:{upstream.port}")
        assert isinstance(outcome, Inlined)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert names.asked == ["rebind.example"]


def test_listed_name_is_looked_up_once_and_never_leads_to_metadata() -> None:
    names = Names(img_internal=["169.254.169.254"])
    told = reason("http://img.internal/latest/meta-data", names=names, listed="img.internal")
    assert told == NOT_PUBLIC + "of a cloud's metadata service"


def test_name_without_an_address_is_said_to_have_none() -> None:
    told = reason("https://gone.example/a", names=Names())
    assert told.startswith(
        "no connection to `https://gone.example`: the name `gone.example` does not resolve"
    )


def test_port_that_nobody_listens_on_is_said_to_refuse() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    told = reason(f"http://127.0.0.1:{port}/", listed=f"127.0.0.1:{port}")
    assert told == f"no connection to `http://127.0.0.1:{port}`: connection refused"


# ── redirects ──


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_three_times(line: Bench, status: int) -> None:
    last = line.upstream(giving(PNG))
    third = line.upstream(redirecting(f"{last.url}/a".encode(), status))
    second = line.upstream(redirecting(f"{third.url}/b".encode(), status))
    first = line.upstream(redirecting(f"//127.0.0.1:{second.port}/ü?ö".encode(), status))
    everyone = listed(first, second, third, last)
    assert isinstance(fetched(first.url, listed=everyone), Inlined)
    assert last.requests[0].line == b"GET /a HTTP/1.1"
    assert second.requests[0].line == b"GET /%C3%BC?%C3%B6 HTTP/1.1"
    before = line.upstream(redirecting(first.url.encode(), status))
    assert reason(before.url, listed=f"{everyone},{listed(before)}") == "it redirects more than 3 times"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (b"http://169.254.169.254/latest/meta-data", NOT_PUBLIC + "of a cloud's metadata service"),
        (b"http://127.0.0.1:8080/", NOT_PUBLIC + "loopback"),
        (b"http://[::ffff:10.0.0.1]/", NOT_PUBLIC + "IPv4 in IPv6"),
        (b"http://intern.example/", NOT_PUBLIC + "private"),
        (b"http://2130706433/", ELSEWHERE + NUMBER),
        (b"file:///etc/passwd", ELSEWHERE + "only `http` and `https` URLs are fetched"),
        (b"gopher://x/", ELSEWHERE + "only `http` and `https` URLs are fetched"),
    ],
)
def test_redirect_is_checked_like_the_first_url(line: Bench, location: bytes, why: str) -> None:
    upstream = line.upstream(redirecting(location))
    names = Names(intern_example=["192.168.7.7"])
    assert reason(upstream.url, listed=listed(upstream), names=names) == why


def test_redirect_to_another_port_of_a_listed_host_is_refused(line: Bench) -> None:
    other = line.upstream(giving(PNG))
    upstream = line.upstream(redirecting(other.url.encode()))
    assert f"its port {other.port} is not one of" in reason(upstream.url, listed=listed(upstream))
    assert other.accepted == 0


def test_redirect_without_a_place_to_go_is_refused(line: Bench) -> None:
    for headers in (b"", b"Location: /a\r\nLocation: /b\r\n"):
        upstream = line.upstream(giving(b"", headers=headers, status=302))
        told = reason(upstream.url, listed=listed(upstream))
        assert told == "its server answers with status 302 and no single `Location`"


# ── what comes ──


def sending(*parts: bytes, endless: bytes = b"") -> Script:
    """Sends `parts`, then `endless` for as long as somebody takes it."""

    def script(connection: Connection) -> None:
        connection.request()
        for part in parts:
            connection.send(part)
        while endless:
            connection.send(endless)

    return script


OK = b"HTTP/1.1 200 OK\r\n"
TOO_LARGE = "it is larger than 4096 bytes (`max_image_bytes`)"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param(sending(OK + b"\r\n" + PNG, endless=b"x" * 65536), TOO_LARGE, id="endless"),
        pytest.param(
            sending(OK + b"Transfer-Encoding: chunked\r\n\r\n6c\r\n" + PNG + b"\r\n", endless=b"1\r\nx\r\n"),
            TOO_LARGE,
            id="endless-chunks",
        ),
        pytest.param(sending(OK + b"Content-Length: 4097\r\n\r\n"), TOO_LARGE, id="announced"),
        pytest.param(sending(OK + b"Content-Length: 18446744073709551615\r\n\r\n"), TOO_LARGE, id="huge"),
        pytest.param(
            sending(OK + b"Content-Length: 184467440737095516160\r\n\r\n"),
            "its server's answer is not valid HTTP/1.1",
            id="beyond-all",
        ),
        pytest.param(
            sending(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
            "its server's answer is not valid HTTP/1.1",
            id="huge-chunk",
        ),
        pytest.param(
            sending(OK, endless=b"X-A: " + b"a" * 1000 + b"\r\n"),
            "its server's answer is not valid HTTP/1.1",
            id="endless-head",
        ),
        pytest.param(
            sending(OK + b"\r\n", endless=b"<html>" * 1000),
            "by its first bytes it is no PNG, JPEG, GIF or WEBP file",
            id="endless-page",
        ),
        pytest.param(
            giving(b"<svg onload=1>", headers=b"Content-Type: image/png\r\n"),
            "by its first bytes it is no PNG, JPEG, GIF or WEBP file",
            id="wrong-type",
        ),
        pytest.param(giving(b""), "by its first bytes it is no PNG, JPEG, GIF or WEBP file", id="empty"),
        pytest.param(giving(PNG, status=404), "its server answers with status 404", id="status"),
        pytest.param(giving(PNG, status=206), "its server answers with status 206", id="part"),
        pytest.param(
            giving(zlib.compress(PNG), headers=b"Content-Encoding: deflate\r\n"),
            "its server sends it compressed, though that was not asked for",
            id="bomb",
        ),
        pytest.param(
            giving(PNG, headers=b"Content-Encoding: identity\r\ncontent-encoding: gzip\r\n"),
            "its server sends it compressed, though that was not asked for",
            id="second-coding",
        ),
        pytest.param(
            sending(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
            "its server's answer is not valid HTTP/1.1",
            id="transfer-coding",
        ),
        pytest.param(
            sending(OK + b"Content-Length: 200\r\n\r\n" + PNG),
            "its server closed the connection before the end",
            id="cut",
        ),
        pytest.param(sending(), "its server closed the connection before the end", id="silent-end"),
        pytest.param(sending(b"SSH-2.0-x\r\n"), "its server's answer is not valid HTTP/1.1", id="ssh"),
        pytest.param(
            sending(b"HTTP/1.1 103 X\r\n\r\n" * 17), "its server's answer is not valid HTTP/1.1", id="interim"
        ),
    ],
)
def test_answer_that_is_not_wanted_is_refused_with_its_reason(line: Bench, script: Script, why: str) -> None:
    upstream = line.upstream(script)
    assert reason(upstream.url, listed=listed(upstream), max_image_bytes=4096) == why


def test_image_of_the_largest_size_is_had(line: Bench) -> None:
    upstream = line.upstream(giving(PNG.ljust(4096, b"\0")))
    outcome = fetched(upstream.url, listed=listed(upstream), max_image_bytes=4096)
    assert isinstance(outcome, Inlined)
    assert outcome.size_bytes == 4096


def test_pdf_is_only_held_to_what_a_request_may_have(line: Bench) -> None:
    upstream = line.upstream(giving(PDF.ljust(5000, b"\0")))
    limits: dict[str, Any] = {"max_image_bytes": 1024, "listed": listed(upstream), "kind": "document"}
    assert isinstance(fetched(upstream.url, max_images_bytes=5000, **limits), Inlined)
    told = reason(upstream.url, max_images_bytes=4999, **limits)
    assert told == "it is larger than 4999 bytes (`max_images_bytes`)"


@LOOPS
@pytest.mark.parametrize("drips", [b"", b"H", OK + b"X-A: ", OK + b"Content-Length: 4000\r\n\r\n" + PNG])
def test_slow_server_has_its_time_for_the_whole(line: Bench, loop: Callable[[], Any], drips: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(drips)
        connection.wait_closed()

    upstream = line.upstream(script)
    told = reason(upstream.url, listed=listed(upstream), image_timeout_seconds=0.2, loop=loop)
    assert told == "it has not come within 0.2 s (`image_timeout_seconds`)"


def test_name_server_that_never_answers_has_the_same_time() -> None:
    class Silent(Names):
        async def lookup(self, host: str, port: int) -> Any:
            await asyncio.Event().wait()

    told = reason("http://slow.example/", names=Silent(), image_timeout_seconds=0.2)
    assert told == "it has not come within 0.2 s (`image_timeout_seconds`)"


# ── TLS ──


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@LOOPS
def test_server_is_verified_by_its_name(line: Bench, authority: trustme.CA, loop: Callable[[], Any]) -> None:
    asked: list[str | None] = []
    context = serving(authority, "img.example")
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    upstream = line.upstream(giving(PNG), tls=context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    names = Names(img_example=["127.0.0.1"], other_example=["127.0.0.1"])
    hosts = f"img.example:{upstream.port},other.example:{upstream.port}"
    options: dict[str, Any] = {"names": names, "listed": hosts, "loop": loop}
    url = f"https://IMG.example.:{upstream.port}/"
    assert isinstance(fetched(url, tls=trusting, **options), Inlined)
    assert asked == ["img.example"]
    assert upstream.requests[0].values(b"host") == [f"img.example:{upstream.port}".encode()]
    wrong = reason(f"https://other.example:{upstream.port}/", tls=trusting, **options)
    assert "its certificate is not trusted (Hostname mismatch" in wrong
    assert "its certificate is not trusted" in reason(url, **options)
    assert len(upstream.requests) == 1


def test_server_that_speaks_no_tls_is_refused(line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 X\r\n\r\n")
        connection.wait_closed()

    upstream = line.upstream(script)
    told = reason(upstream.url.replace("http:", "https:"), listed=listed(upstream))
    assert told.startswith(f"no connection to `https://127.0.0.1:{upstream.port}`: TLS failed")
