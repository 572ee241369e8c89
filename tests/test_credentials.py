"""Which credential goes upstream."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, Bench
from tests.support.raw import RawClient, post

CLIENT_CREDENTIALS = [
    pytest.param(b"x-api-key: secret-of-mine\r\n", "x-api-key", id="x-api-key"),
    pytest.param(b"Authorization: Bearer secret-of-mine\r\n", "bearer", id="bearer"),
    pytest.param(b"authorization: bearer secret-of-mine\r\n", "bearer", id="bearer-lower"),
    pytest.param(
        b"X-API-Key: secret-of-mine\r\nAuthorization: Bearer secret-of-mine2\r\n", "both", id="both"
    ),
    pytest.param(b"x-api-key: secret-of-mine\r\nx-api-key: secret-of-mine\r\n", "x-api-key", id="twice"),
    pytest.param(b"x-ferryman-key: secret-of-mine\r\n", "x-api-key", id="own-name"),
    pytest.param(b"x-litellm-api-key: Bearer secret-of-mine\r\n", "x-api-key", id="litellm-name"),
    pytest.param(b"", "none", id="none"),
]


@pytest.mark.parametrize(("headers", "kind"), CLIENT_CREDENTIALS)
def test_open_replaces_the_credential_of_the_client(line: Bench, headers: bytes, kind: str) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"{}", headers=headers)).status == 200
    (request,) = upstream.requests
    assert request.values(b"x-api-key") == [KEY.encode()]
    assert request.values(b"authorization") == []
    assert b"secret-of-mine" not in repr(request).encode()
    assert (gateway.entry().principal, gateway.entry().credential) == ("open", kind)


def test_passthrough_keeps_the_credential_of_the_client_where_it_stood(line: Bench) -> None:
    gateway, upstream = line.pair(anthropic_api_key=None)
    sent = b"X-Api-Key: sk-ant-mine\r\nAuthorization: Bearer sk-ant-oat\r\nx-ferryman-key: sk-ours\r\n"
    with RawClient(gateway.port) as client:
        assert client.ask(post(b"{}", headers=sent)).status == 200
    (request,) = upstream.requests
    assert request.values(b"x-api-key") == [b"sk-ant-mine"]
    assert request.values(b"authorization") == [b"Bearer sk-ant-oat"]
    assert request.values(b"x-ferryman-key") == []
    assert gateway.entry().principal == "passthrough"


def test_passthrough_does_not_send_the_key_of_the_server(line: Bench) -> None:
    gateway, upstream = line.pair(auth="passthrough")
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=b"x-api-key: mine\r\n"))
    assert upstream.requests[0].values(b"x-api-key") == [b"mine"]
    assert KEY.encode() not in repr(upstream.requests).encode()


def test_own_credential_named_as_hop_by_hop_still_stays_behind(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.ask(post(b"{}", headers=b"Connection: x-api-key\r\nx-api-key: secret-of-mine\r\n"))
    assert upstream.requests[0].values(b"x-api-key") == [KEY.encode()]
