"""The end of a TLS connection, which is the end of an answer only if the upstream said so."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.raw import RawClient, get
from tests.test_upstream import server_tls


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("said_goodbye", [True, False])
def test_tls_answer_without_a_length_needs_the_goodbye_of_tls(
    line: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said_goodbye: bool, loop: str
) -> None:
    """Whoever cuts the TCP connection between must not make a part look like the whole."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsome of it")
        tls = connection.sock
        assert isinstance(tls, ssl.SSLSocket)
        if said_goodbye:
            tls.unwrap()

    upstream = line.upstream(script, tls=server_tls(authority))
    gateway = line.gateway(upstream.url, loop=loop)
    with RawClient(gateway.port) as client:
        client.send(get())
        if said_goodbye:
            assert client.response().body == b"some of it"
        else:
            with pytest.raises(ConnectionError):
                client.response()
    assert gateway.entry().ended == ("done" if said_goodbye else "upstream_error")
