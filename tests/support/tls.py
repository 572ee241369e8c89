"""Certificates that a test makes, and clients that believe in them."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trustme

from tests.support.raw import DEADLINE_SECONDS, RawClient


class Authority:
    """Makes certificates for 127.0.0.1 in `directory`, and contexts that trust them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ca = trustme.CA()
        self._made = 0

    def issue(self) -> tuple[Path, Path]:
        """A new certificate and its key, each in a file."""
        self._made += 1
        made = self._ca.issue_cert("127.0.0.1", "localhost")
        certificate = self.directory / f"cert-{self._made}.pem"
        key = self.directory / f"key-{self._made}.pem"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def context(self) -> ssl.SSLContext:
        """For clients that trust us."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context


def tls_client(port: int, context: ssl.SSLContext, *, source: str = "127.0.0.1") -> RawClient:
    """A client with TLS on its connection, which comes from the address `source`."""
    plain = socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS, (source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock = context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        return RawClient(port, sock=sock)
    except BaseException:
        plain.close()
        raise


def serial_of(client: RawClient) -> object:
    """The serial number of the certificate that a client of ours was shown."""
    assert isinstance(client.sock, ssl.SSLSocket)
    shown = client.sock.getpeercert()
    assert shown is not None
    return shown["serialNumber"]
