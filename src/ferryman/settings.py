"""Every setting in one table: name, type, default, environment names, help.

Where the values come from is in `ferryman.settings_load`.
"""

from __future__ import annotations

import ipaddress
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from ferryman.hosts import is_loopback
from ferryman.wording import MASK

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_BEFORE_AT = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.DOTALL)


def _setting(  # noqa: PLR0913  # a row of a table has many columns
    default: Any,  # noqa: ANN401  # of the field's own type, which the checker sees at the field
    text: str,
    *,
    env: tuple[str, ...] = (),
    secret: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
    flags: tuple[str, ...] = (),
    many: bool = False,
    credentials: bool = False,
    example: str | None = None,
) -> Any:  # noqa: ANN401  # as dataclasses.field
    """A row of the table.

    Args:
        default: used when no source has a value.
        text: one or two sentences of help.
        env: further names in the environment, behind `FERRYMAN_<NAME>`.
        secret: never shown.
        at_least: lower bound of a number.
        at_most: upper bound of a number.
        flags: further names on the command line, beside `--<name>`.
        many: a text with commas between its members, for which the file may have a list.
        credentials: a URL that may hold a user name and a password, which are never shown.
        example: of a block of `name: value` lines, on one line.
    """
    metadata = {
        "help": text,
        "env": env,
        "secret": secret,
        "at_least": at_least,
        "at_most": at_most,
        "flags": flags,
        "many": many,
        "credentials": credentials,
        "example": example,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings in force. Units are in the names."""

    host: str = _setting("127.0.0.1", "Address to listen on.", flags=("-H",))
    port: int = _setting(
        4000,
        "Port to listen on; 0 takes a free one.",
        env=("PORT",),
        at_least=0,
        at_most=65535,
        flags=("-p",),
    )
    unix_socket: str | None = _setting(
        None, "Path of a Unix socket to listen on, in place of `host` and `port`."
    )
    unix_socket_mode: str = _setting("660", "Permissions of the Unix socket, in octal digits.")
    tls_cert_file: str | None = _setting(
        None,
        "Certificate for TLS with its chain, in PEM form; the key may stand in the same file. "
        "SIGHUP reads it again.",
    )
    tls_key_file: str | None = _setting(None, "The certificate's private key, in PEM form.")
    public_url: str | None = _setting(
        None, "URL under which clients reach Ferryman, if something stands in front of it."
    )
    trusted_proxies: str | None = _setting(
        None,
        "Proxies whose `X-Forwarded-For` names the client: addresses and networks with commas between them "
        "(in the file also a list), `unix` for whoever uses the Unix socket.",
        many=True,
    )
    upstream_url: str = _setting(
        "https://api.anthropic.com",
        "Base URL of the API to relay to; a path in it is kept.",
        env=("ANTHROPIC_API_BASE",),
    )
    anthropic_api_key: str | None = _setting(
        None, "The key for the upstream. Clients never see it.", env=("ANTHROPIC_API_KEY",), secret=True
    )
    master_key: str | None = _setting(
        None,
        "The operator's key for Ferryman's own paths: `/control/*`, `/key/*`, `/metrics` and the like. "
        "Until virtual keys are built it changes nothing else.",
        env=("LITELLM_MASTER_KEY",),
        secret=True,
    )
    auth: Literal["auto", "open", "passthrough"] = _setting(
        "auto",
        "Who may call: `open` (anybody, with the server's key), `passthrough` (with a key of their own), "
        "or `auto`: `open` if there is a server's key, else `passthrough`.",
    )
    allow_open: bool = _setting(
        False, "Let `auth: open` listen beyond this machine, where anybody could spend the server's key."
    )
    max_connections: int = _setting(
        16_384, "Client connections at once; the next ones are told to try again.", at_least=1
    )
    max_connections_per_address: int = _setting(
        1_024,
        "Client connections at once from one address; `trusted_proxies` and Unix sockets are not held to it.",
        at_least=1,
    )
    max_body_bytes: int = _setting(
        33_554_432, "Largest request body; Anthropic's own bound for messages is 32 MB.", at_least=1024
    )
    max_batch_bytes: int = _setting(
        268_435_456, "Largest request that makes a batch; Anthropic's own bound is 256 MB.", at_least=1024
    )
    max_upload_bytes: int = _setting(
        536_870_912,
        "Largest body of any other request, which is passed on as it comes; Anthropic takes files of 500 MB.",
        at_least=1024,
    )
    max_held_bytes: int = _setting(
        1_073_741_824,
        "Request bodies in memory at once; beyond that a client is told to try again.",
        at_least=1_048_576,
    )
    max_header_bytes: int = _setting(
        32_768, "Largest request head: request line and headers.", at_least=1024, at_most=1_048_576
    )
    client_idle_seconds: float = _setting(
        75.0, "How long a client connection may rest between requests.", at_least=1
    )
    client_read_timeout_seconds: float = _setting(
        60.0,
        "Time for a TLS handshake, for a whole request head, and between two parts of a body.",
        at_least=0.1,
    )
    client_stall_timeout_seconds: float = _setting(
        300.0, "How long a client may read nothing of an answer before it is cut.", at_least=0.1
    )
    connect_timeout_seconds: float = _setting(
        10.0, "Time for a new upstream connection: name lookup, TCP and TLS.", at_least=0.1
    )
    first_byte_timeout_seconds: float = _setting(
        660.0, "Time until the upstream begins to answer; Anthropic itself gives up after 600.", at_least=0.1
    )
    stream_idle_timeout_seconds: float = _setting(
        660.0, "How long the upstream may pause within an answer.", at_least=0.1
    )
    upstream_idle_seconds: float = _setting(
        50.0, "How long an upstream connection is kept for the next request.", at_least=1
    )
    upstream_max_connections: int = _setting(
        4096, "Upstream connections at once; beyond that a client is told to try again.", at_least=1
    )
    upstream_max_age_seconds: float = _setting(
        300.0,
        "An upstream connection takes no new request beyond this age, so that a changed address is taken up.",
        at_least=1,
    )
    dns_refresh_seconds: float = _setting(
        30.0,
        "How long the upstream's addresses are used before its name is looked up again; 0 is always.",
        at_least=0,
    )
    upstream_proxy: str = _setting(
        "auto",
        "HTTP proxy on the way upstream: an `http://` URL, `none`, or `auto` for that of `HTTPS_PROXY`, "
        "`HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. An upstream on this machine is always reached directly.",
        credentials=True,
    )
    upstream_ca_file: str | None = _setting(
        None, "Certificates (PEM) of authorities to trust for the upstream, beside this machine's."
    )
    upstream_client_cert_file: str | None = _setting(
        None, "Certificate (PEM) to show to the upstream, with its chain and perhaps its key."
    )
    upstream_client_key_file: str | None = _setting(
        None, "Private key (PEM, not encrypted) of that certificate, if it is a file of its own."
    )
    data_dir: str | None = _setting(
        None,
        "Directory for what Ferryman keeps, made with mode 700 when it is first used. Without one: "
        "`$XDG_DATA_HOME/ferryman`, else `~/.local/share/ferryman`.",
    )
    database_url: str | None = _setting(
        None,
        "The database: `sqlite:///ferryman.db` (from the working directory), `sqlite:////srv/ferryman.db` "
        "or `postgresql://user:password@host/name`. Without one: SQLite, `ferryman.db` in `data_dir`.",
        env=("DATABASE_URL",),
        credentials=True,
    )
    on_ledger_failure: Literal["refuse", "allow"] = _setting(
        "refuse",
        "What becomes of requests while the journal cannot be written: `refuse` turns them away, `allow` "
        "lets them pass; their records are kept in memory as far as there is room.",
    )
    entries_retention_days: int | None = _setting(
        None,
        "Entries are deleted when they are this many days old; sums by day stay. Without a number nothing is "
        "deleted.",
        at_least=1,
        at_most=36_500,
    )
    batch_poll_seconds: float = _setting(
        60.0, "How often the upstream is asked for message batches whose results nobody reads.", at_least=0.1
    )
    prices: Mapping[str, Mapping[str, str]] | None = _setting(
        None,
        "Your own prices, by model (`*` stands for anything): dollars per million tokens for `input`, "
        "`output`, `cache_write_5m`, `cache_write_1h`, `cache_read`, or LiteLLM's names, per token. "
        "What is not named keeps its price.",
        example="{claude-opus-5-5: {input: 4, output: 20}}",
    )
    price_multipliers: Mapping[str, str] | None = _setting(
        None,
        "Discounts and surcharges, by model (`*` stands for anything): `0.85` is 15 % off.",
        example="{claude-*: 0.85}",
    )
    on_disconnect: Literal["auto", "cancel", "drain"] = _setting(
        "auto",
        "What becomes of a paid request whose client leaves: `cancel` ends it, `drain` lets it finish "
        "unseen so that its usage is known, `auto` cancels streams and drains the rest.",
    )
    drain_timeout_seconds: float = _setting(
        600.0, "How long a request may go on without its client.", at_least=0.1
    )
    max_drains: int = _setting(
        100, "Requests that go on without their clients at once; the next ones are cancelled.", at_least=0
    )
    workers: int = _setting(
        1, "Worker processes, which share the port; as many as there are cores.", at_least=1, at_most=256
    )
    admin_port: int | None = _setting(
        None,
        "Port on 127.0.0.1 where Ferryman's own paths are served as well, without passing a worker.",
        at_least=1,
        at_most=65535,
    )
    runtime_directory: str | None = _setting(
        None,
        "Where the processes meet: each Ferryman makes a private directory below it. Default: `ferryman` in "
        "`XDG_RUNTIME_DIR`, else `/tmp/ferryman-<user id>`.",
        env=("RUNTIME_DIRECTORY",),
    )
    shutdown_grace_seconds: float = _setting(
        30.0, "How long running requests may go on after SIGTERM.", at_least=0
    )
    log_format: Literal["auto", "json", "text"] = _setting(
        "auto",
        "How log lines look: `text` for people, `json` for programs, `auto` by whether it is a terminal.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "The least that is logged; the line per request is `info`."
    )

    def __repr__(self) -> str:
        shown = (f"{f.name}={masked(f, getattr(self, f.name))!r}" for f in fields(self))
        return f"Settings({', '.join(shown)})"

    @property
    def effective_auth(self) -> Literal["open", "passthrough"]:
        """The `auth` in force, with `auto` decided."""
        if self.auth == "auto":
            return "open" if self.anthropic_api_key else "passthrough"
        return self.auth

    @property
    def trusted(self) -> TrustedProxies | None:
        """The proxies that `trusted_proxies` names, `None` if it is empty."""
        return trusted_proxies(self.trusted_proxies) if self.trusted_proxies else None

    @property
    def upstream(self) -> SplitResult:
        """The parts of `upstream_url`."""
        return urlsplit(self.upstream_url)

    @property
    def proxy(self) -> SplitResult | None:
        """The parts of the proxy's URL, `None` where the upstream is reached directly.

        A loopback upstream is never reached through a proxy, which would look for it on its own
        machine. Go's net/http has the same rule.
        """
        if self.upstream_proxy in {"auto", "none"} or is_loopback(self.upstream.hostname or ""):
            return None
        return urlsplit(self.upstream_proxy)


class TrustedProxies(NamedTuple):
    """Peers whose word on who the client is counts.

    Attributes:
        networks: of their addresses; one address is a network of its own.
        unix: whoever connects to the Unix socket.
    """

    networks: tuple[Network, ...]
    unix: bool


def trusted_proxies(text: str) -> TrustedProxies:
    """The proxies that `text` names, with commas between them.

    Raises:
        ValueError: with the first member that is no address, no network and not `unix`.
    """
    members = [member for part in text.split(",") if (member := part.strip())]
    return TrustedProxies(
        tuple(_network(member) for member in members if member != "unix"), unix="unix" in members
    )


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(text) from error
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is not None and network.prefixlen >= 96:  # clients are known by their IPv4 address
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def type_of(row: Field[Any]) -> Any:  # noqa: ANN401  # a type, or a Literal
    """The type of a row's values when they are not `None`."""
    kind = typing.get_type_hints(Settings)[row.name]
    if isinstance(kind, types.UnionType):
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    return kind


def rows() -> tuple[Field[Any], ...]:
    """The table itself, for command line, documentation and `config show`."""
    return fields(Settings)


def env_names(row: Field[Any]) -> tuple[str, ...]:
    """The environment variables of a row, the first that is set wins."""
    names: tuple[str, ...] = row.metadata["env"]
    return (f"FERRYMAN_{row.name.upper()}", *names)


def plain(value: object) -> str:
    """`value` of a setting as it is written in the file; `-` is none."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {plain(member)}" for name, member in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def masked(row: Field[Any], value: object) -> object:
    """`value`, with a mask in the place of what is secret in it."""
    if row.metadata["credentials"] and isinstance(value, str):
        return without_credentials(value)
    return MASK if row.metadata["secret"] and value else value


def without_credentials(url: str) -> str:
    """`url` with a mask in the place of a user name and a password, wherever their end may be."""
    return _BEFORE_AT.sub(lambda found: f"{found[1] or ''}{MASK}@", url)


def wanted(row: Field[Any]) -> str:
    """What a value of the row has to be, for people."""
    kind = type_of(row)
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if kind is bool:
        return "`true` or `false`"
    if row.metadata["example"] is not None:
        return f"a block such as `{row.metadata['example']}`"
    if kind in {int, float}:
        noun = "a whole number" if kind is int else "a number"
        if low is not None and high is not None:
            return f"{noun} from {low} to {high}"
        return noun if low is None else f"{noun}, {low} or more"
    return "a text of ASCII characters" + (", or a list of them" if row.metadata["many"] else "")
