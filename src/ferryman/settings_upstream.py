"""What the settings say about the way upstream: the proxy, and the files for TLS.

`ferryman.settings_load` checks them with what is here, before anything listens; the worker makes its
TLS context from the same code.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from ferryman.errors import SettingsError
from ferryman.hosts import is_listed, is_loopback, is_name
from ferryman.settings import Settings
from ferryman.settings_row import without_credentials
from ferryman.wording import shown

SUPPORTED = "only `http://` proxies are supported, such as `http://proxy.example:3128`"


class Variable(NamedTuple):
    """A variable of the environment that is set."""

    name: str
    value: str


def proxy_variable(environ: Mapping[str, str], settings: Settings) -> Variable | None:
    """The variable that names the proxy for the upstream of `settings`, `None` for a direct way.

    The names and their order are those of curl and of Python's `urllib.request`: lower case first,
    and an empty one switches off what comes behind it. `HTTP_PROXY` is left out in a CGI program,
    where a client can set it with a `Proxy` header (CVE-2016-1000110).
    """
    parts = settings.upstream
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if is_loopback(host):
        return None
    exempt = _first(environ, "no_proxy")
    if exempt is not None and is_listed(host, port, exempt.value):
        return None
    found = _first(environ, f"{parts.scheme}_proxy") or _first(environ, "all_proxy")
    if found is None or "://" in found.value:
        return found
    return found._replace(value=f"http://{found.value}")  # as curl and Go take it


def _first(environ: Mapping[str, str], name: str) -> Variable | None:
    names = [name, name.upper()]
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        names.pop()
    for each in names:
        if each in environ:
            value = environ[each].strip()
            return Variable(each, value) if value else None
    return None


def proxy_problem(value: str) -> str | None:
    """Why `value` cannot be `upstream_proxy`, `None` if it can."""
    if value in {"auto", "none"}:
        return None
    told = f"`{without_credentials(value).encode('unicode_escape').decode()[:200]}`"
    try:
        parts = urlsplit(value)
        port, host = parts.port, parts.hostname
    except ValueError:
        return f"{told} is not a URL; {SUPPORTED}."
    if parts.scheme != "http":
        return f"{told} cannot be used; {SUPPORTED}, beside `auto` and `none`."
    rest = parts.path.removeprefix("/") or parts.query or parts.fragment
    odd = not host or not is_name(host) or not (host.isascii() and host.isprintable())
    if odd or rest or port == 0:
        return f"{told} cannot be used; wanted a URL such as `http://user:password@proxy.example:3128`."
    return None


def tls_problems(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with the files for TLS: the settings each problem is about, and the problem."""
    if settings.upstream_client_key_file is not None and settings.upstream_client_cert_file is None:
        need = "a key needs its certificate: set `upstream_client_cert_file` too"
        yield {"upstream_client_key_file", "upstream_client_cert_file"}, need
    for load in (_load_ca, _load_client):
        try:
            load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)
        except _UnusableFile as error:
            yield {error.setting}, error.problem


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Verifies the upstream against this machine's CA store and `upstream_ca_file`.

    TLS 1.2 or newer, HTTP/1.1 only, with the client certificate if there is one.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load_ca(context, settings)
        _load_client(context, settings)
    except _UnusableFile as error:
        raise SettingsError([f"{error.setting}: {error.problem}."]) from error
    return context


class _UnusableFile(Exception):
    """A file that a setting names cannot be used."""

    def __init__(self, setting: str, path: str, reason: str) -> None:
        self.setting = setting
        self.problem = f"`{path}` {reason}"
        super().__init__(self.problem)


def _load_ca(context: ssl.SSLContext, settings: Settings) -> None:
    path = settings.upstream_ca_file
    if path is None:
        return
    _read("upstream_ca_file", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        why = f"holds no certificates in PEM format ({reason_of(error)})"
        raise _UnusableFile("upstream_ca_file", path, why) from error


def _load_client(context: ssl.SSLContext, settings: Settings) -> None:
    certificate, key = settings.upstream_client_cert_file, settings.upstream_client_key_file
    if certificate is None:
        return
    _read("upstream_client_cert_file", certificate)
    if key is not None:
        _read("upstream_client_key_file", key)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError as error:
        name = "upstream_client_cert_file" if key is None else "upstream_client_key_file"
        why = "has an encrypted private key, for which there is no password; decrypt it"
        raise _UnusableFile(name, key or certificate, why) from error
    except ssl.SSLError as error:
        what = "a certificate and its private key" if key is None else f"the certificate for the key `{key}`"
        why = f"does not hold {what} in PEM format ({reason_of(error)})"
        raise _UnusableFile("upstream_client_cert_file", certificate, why) from error


def _read(setting: str, path: str) -> None:
    """Have the system say why a file cannot be read: OpenSSL does not tell."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _UnusableFile(setting, path, f"cannot be read: {error.strerror}") from error


class _EncryptedKeyError(Exception):
    """OpenSSL asks for a password."""


def _no_password() -> NoReturn:
    raise _EncryptedKeyError  # without this OpenSSL asks on the terminal, and waits


def reason_of(error: ssl.SSLError) -> str:
    """What OpenSSL says, in lower case words."""
    return (error.reason or str(error)).replace("_", " ").lower()


def url_problem(
    url: str,
    advice: str = "put the key in `anthropic_api_key`",
    example: str = "https://api.anthropic.com",
) -> str | None:
    """Why `url` cannot be a base URL, `None` if it can; `advice` is for who has put a password into it."""
    if "@" in url:
        return f"it holds a user name or password; {advice}."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"{shown(url)} is not a URL."
    if parts.query or parts.fragment:
        bare = parts._replace(query="", fragment="").geturl()
        return f"what follows {shown(bare)} is a query or fragment; wanted scheme, host, port and path."
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or not is_name(host) or " " in url or port == 0:
        return f"{shown(url)} cannot be used; wanted a URL such as `{example}`."
    return None


def is_own_listener(settings: Settings) -> bool:
    """Whether the upstream is what we listen on ourselves."""
    parts = settings.upstream
    if settings.unix_socket is not None:
        return False  # an upstream has a host and a port
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return port == settings.port and _same_machine(parts.hostname or "", settings.host)


def _same_machine(upstream: str, listener: str) -> bool:
    """Whether a connection to `upstream` may reach what listens on `listener`."""
    anywhere = {"0.0.0.0", "::"}  # noqa: S104  # compared with, not listened on
    if upstream == listener.lower():
        return True
    local = is_loopback(upstream) or upstream in anywhere
    return local and (is_loopback(listener) or listener in anywhere)
