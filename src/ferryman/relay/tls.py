"""TLS for the listener: the certificate, and its renewal while we run."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.wording import shown

MAX_PEM_BYTES = 1 << 20
"""Of a certificate or key file: a chain of ten certificates has about 20 KB."""

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"  # PKCS #8, or `RSA` or `EC` in front of it


class _EncryptedKey(Exception):
    """The key asks for a passphrase, which nobody is there to type."""


class ServerTls:
    """The TLS of a listener. Its certificate can be renewed; running connections keep theirs.

    Attributes:
        context: for the listener, once and for all.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the files that `settings` name.

        Raises:
            SettingsError: they cannot be used.
        """
        self._settings = settings
        self.context = self._latest = certificate_context(settings)
        self.context.sni_callback = self._use_latest

    def __repr__(self) -> str:
        return f"<ServerTls {self._settings.tls_cert_file}>"

    def reload(self) -> None:
        """Read the files again, for new connections.

        Raises:
            SettingsError: they cannot be used; the certificate that was in use stays.
        """
        self._latest = certificate_context(self._settings)

    def _use_latest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # Called in each handshake, with or without a name. A context is changed as a whole: to load new
        # files into the one in use could leave it with a certificate and the key of another.
        connection.context = self._latest


def server_tls(settings: Settings) -> ServerTls | None:
    """The TLS that `settings` ask for, `None` if they ask for none.

    Raises:
        SettingsError: the files cannot be used.
    """
    return ServerTls(settings) if settings.tls_cert_file is not None else None


def certificate_context(settings: Settings) -> ssl.SSLContext:
    """A context with the certificate and key of `settings`: TLS 1.2 or newer, HTTP/1.1 only.

    Raises:
        SettingsError: a file cannot be read, does not hold what it has to, or the two do not belong together.
    """
    certificate = settings.tls_cert_file or ""
    key = settings.tls_key_file
    if _CERTIFICATE not in _content("tls_cert_file", certificate):
        raise _problem("tls_cert_file", certificate, "holds no certificate in PEM form")
    if key is None and _KEY not in _content("tls_cert_file", certificate):
        raise _problem("tls_cert_file", certificate, "holds no private key; add it, or set `tls_key_file`")
    if key is not None and _KEY not in _content("tls_key_file", key):
        raise _problem("tls_key_file", key, "holds no private key in PEM form")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    key_name, key_path = ("tls_cert_file", certificate) if key is None else ("tls_key_file", key)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except _EncryptedKey:
        reason = "is protected by a passphrase; wanted a key without one"
        raise _problem(key_name, key_path, reason) from None
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            owner = f"the certificate in {shown(certificate)}" if key is not None else "its certificate"
            raise _problem(key_name, key_path, f"holds a key that does not belong to {owner}") from error
        where = f" with the key in {shown(key)}" if key is not None else ""
        raise _problem("tls_cert_file", certificate, f"cannot be used{where}: {reason}") from error
    return context


def _content(name: str, path: str) -> bytes:
    try:
        file = Path(path)
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise _problem(name, path, "is not a file")
        with file.open("rb") as stream:
            content = stream.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise _problem(name, path, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_PEM_BYTES:
        raise _problem(name, path, f"is larger than {MAX_PEM_BYTES} bytes")
    return content


def _refuse_passphrase() -> str:
    raise _EncryptedKey


def _problem(name: str, path: str, what: str) -> SettingsError:
    return SettingsError([f"{name}: {shown(Path(path))} {what}."])
