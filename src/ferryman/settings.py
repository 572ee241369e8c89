"""Every setting in one table: name, type, default, environment names, help.

Where the values come from is in `ferryman.settings_load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from ferryman.hosts import TrustedProxies, is_loopback, trusted_proxies
from ferryman.settings_row import masked, setting
from ferryman.settings_telemetry import TelemetrySettings


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings(TelemetrySettings):
    """The settings in force. Units are in the names."""

    host: str = setting("127.0.0.1", "Address to listen on.", flags=("-H",))
    port: int = setting(
        4000,
        "Port to listen on; 0 takes a free one.",
        env=("PORT",),
        at_least=0,
        at_most=65535,
        flags=("-p",),
    )
    unix_socket: str | None = setting(
        None, "Path of a Unix socket to listen on, in place of `host` and `port`."
    )
    unix_socket_mode: str = setting("660", "Permissions of the Unix socket, in octal digits.")
    tls_cert_file: str | None = setting(
        None,
        "Certificate for TLS with its chain, in PEM form; the key may stand in the same file. "
        "SIGHUP reads it again.",
    )
    tls_key_file: str | None = setting(None, "The certificate's private key, in PEM form.")
    public_url: str | None = setting(
        None, "URL under which clients reach Ferryman, if something stands in front of it."
    )
    trusted_proxies: str | None = setting(
        None,
        "Proxies whose `X-Forwarded-For` names the client: addresses and networks with commas between them "
        "(in the file also a list), `unix` for whoever uses the Unix socket.",
        many=True,
    )
    upstream_url: str = setting(
        "https://api.anthropic.com",
        "Base URL of the API to relay to; a path in it is kept.",
        env=("ANTHROPIC_API_BASE",),
    )
    anthropic_api_key: str | None = setting(
        None, "The key for the upstream. Clients never see it.", env=("ANTHROPIC_API_KEY",), secret=True
    )
    profile: Literal["auto", "anthropic", "argo"] = setting(
        "auto",
        "What the upstream wants of requests: `anthropic` (no edits), `argo` (callers are users, and their "
        "names go upstream; no server's key is used), or `auto`: `argo` with `use_native_anthropic: true`, "
        "else `anthropic`.",
    )
    use_native_anthropic: bool | None = setting(
        None,
        "Serve `/v1/messages` in Anthropic's format before an Argo endpoint (`profile: argo`); `false` turns "
        "`/v1/messages` off.",
        env=("USE_NATIVE_ANTHROPIC",),
        flags=("--native-anthropic",),
    )
    argo_base_url: str = setting(
        "https://apps-dev.inside.anl.gov/argoapi",
        "Base URL of the Argo API, for `profile: argo`; with a value of your own it goes before "
        "`upstream_url`.",
        env=("ARGO_BASE_URL",),
    )
    native_anthropic_base_url: str | None = setting(
        None,
        "URL of Argo's native Anthropic endpoint, with or without `/v1/messages`, for `profile: argo`. "
        "Without one: `argo_base_url`.",
        env=("NATIVE_ANTHROPIC_BASE_URL",),
    )
    upstreams: Mapping[str, Mapping[str, object]] | None = setting(
        None,
        "Several upstreams, by a name of your own; the first one takes what names none of the `models` of "
        "another. Each has a `base_url` and any of `profile`, `credential`, `api_key`, `api_key_env`, "
        "`models`, `identity`, `images`, `tools`, `family`, `strip_betas` and `aliases`.",
        credentials=True,
        example="{main: {base_url: https://api.anthropic.com, api_key_env: ANTHROPIC_API_KEY}}",
    )
    master_key: str | None = setting(
        None,
        "The operator's key for Ferryman's own paths: `/control/*`, `/key/*`, `/metrics` and the like. "
        "With it, callers need virtual keys (`auth: keys`). It opens no relayed path itself.",
        env=("LITELLM_MASTER_KEY",),
        secret=True,
    )
    auth: Literal["auto", "keys", "open", "passthrough", "identity"] = setting(
        "auto",
        "Who may call: `keys` (who has a virtual key), `open` (anybody, with the server's key), "
        "`passthrough` (with a key of their own), `identity` (who gives a user name as the key), or `auto`: "
        "`identity` with `profile: argo`, else `keys` if there is a master key, else `open` if there is a "
        "server's key, else `passthrough`.",
    )
    allow_open: bool = setting(
        False,
        "Let `auth: open` and `auth: identity` listen beyond this machine, where anybody could spend the "
        "server's key, or call under another's name.",
    )
    max_connections: int = setting(
        16_384, "Client connections at once; the next ones are told to try again.", at_least=1
    )
    max_connections_per_address: int = setting(
        1_024,
        "Client connections at once from one address; `trusted_proxies` and Unix sockets are not held to it.",
        at_least=1,
    )
    max_body_bytes: int = setting(
        33_554_432, "Largest request body; Anthropic's own bound for messages is 32 MB.", at_least=1024
    )
    max_batch_bytes: int = setting(
        268_435_456, "Largest request that makes a batch; Anthropic's own bound is 256 MB.", at_least=1024
    )
    max_upload_bytes: int = setting(
        536_870_912,
        "Largest body of any other request, which is passed on as it comes; Anthropic takes files of 500 MB.",
        at_least=1024,
    )
    max_held_bytes: int = setting(
        1_073_741_824,
        "Request bodies in memory at once; beyond that a client is told to try again.",
        at_least=1_048_576,
    )
    max_header_bytes: int = setting(
        32_768, "Largest request head: request line and headers.", at_least=1024, at_most=1_048_576
    )
    client_idle_seconds: float = setting(
        75.0, "How long a client connection may rest between requests.", at_least=1
    )
    client_read_timeout_seconds: float = setting(
        60.0,
        "Time for a TLS handshake, for a whole request head, and between two parts of a body.",
        at_least=0.1,
    )
    client_stall_timeout_seconds: float = setting(
        300.0, "How long a client may read nothing of an answer before it is cut.", at_least=0.1
    )
    connect_timeout_seconds: float = setting(
        10.0, "Time for a new upstream connection: name lookup, TCP and TLS.", at_least=0.1
    )
    first_byte_timeout_seconds: float = setting(
        660.0, "Time until the upstream begins to answer; Anthropic itself gives up after 600.", at_least=0.1
    )
    stream_idle_timeout_seconds: float = setting(
        660.0, "How long the upstream may pause within an answer.", at_least=0.1
    )
    upstream_idle_seconds: float = setting(
        50.0, "How long an upstream connection is kept for the next request.", at_least=1
    )
    upstream_max_connections: int = setting(
        4096, "Upstream connections at once; beyond that a client is told to try again.", at_least=1
    )
    upstream_max_age_seconds: float = setting(
        300.0,
        "An upstream connection takes no new request beyond this age, so that a changed address is taken up.",
        at_least=1,
    )
    dns_refresh_seconds: float = setting(
        30.0,
        "How long the upstream's addresses are used before its name is looked up again; 0 is always.",
        at_least=0,
    )
    upstream_proxy: str = setting(
        "auto",
        "HTTP proxy on the way upstream: an `http://` URL, `none`, or `auto` for that of `HTTPS_PROXY`, "
        "`HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. An upstream on this machine is always reached directly.",
        credentials=True,
    )
    upstream_ca_file: str | None = setting(
        None, "Certificates (PEM) of authorities to trust for the upstream, beside this machine's."
    )
    upstream_client_cert_file: str | None = setting(
        None, "Certificate (PEM) to show to the upstream, with its chain and perhaps its key."
    )
    upstream_client_key_file: str | None = setting(
        None, "Private key (PEM, not encrypted) of that certificate, if it is a file of its own."
    )
    data_dir: str | None = setting(
        None,
        "Directory for what Ferryman keeps, made with mode 700 when it is first used. Without one: "
        "`$XDG_DATA_HOME/ferryman`, else `~/.local/share/ferryman`.",
    )
    database_url: str | None = setting(
        None,
        "The database: `sqlite:///ferryman.db` (from the working directory), `sqlite:////srv/ferryman.db` "
        "or `postgresql://user:password@host/name`. Without one: SQLite, `ferryman.db` in `data_dir`.",
        env=("DATABASE_URL",),
        credentials=True,
    )
    on_ledger_failure: Literal["refuse", "allow"] = setting(
        "refuse",
        "What becomes of requests while the journal cannot be written: `refuse` turns them away, `allow` "
        "lets them pass; their records are kept in memory as far as there is room.",
    )
    entries_retention_days: int | None = setting(
        None,
        "Entries are deleted when they are this many days old; sums by day stay. Without a number nothing is "
        "deleted.",
        at_least=1,
        at_most=36_500,
    )
    batch_poll_seconds: float = setting(
        60.0, "How often the upstream is asked for message batches whose results nobody reads.", at_least=0.1
    )
    aliases: Mapping[str, str] | None = setting(
        None,
        "Further names of models: of one that the upstream has, or of a name that its list makes.",
        example="{fast: claude-haiku-5-5}",
    )
    model_refresh_seconds: float = setting(
        3600.0, "How often the upstream's list of models is fetched, where aliases need it.", at_least=1
    )
    prices: Mapping[str, Mapping[str, str]] | None = setting(
        None,
        "Your own prices, by model (`*` stands for anything): dollars per million tokens for `input`, "
        "`output`, `cache_write_5m`, `cache_write_1h`, `cache_read`, or LiteLLM's names, per token. "
        "What is not named keeps its price.",
        example="{claude-opus-5-5: {input: 4, output: 20}}",
    )
    price_multipliers: Mapping[str, str] | None = setting(
        None,
        "Discounts and surcharges, by model (`*` stands for anything): `0.85` is 15 % off.",
        example="{claude-*: 0.85}",
    )
    max_budget: str | None = setting(
        None,
        "Dollars that may be spent through the gateway in each `budget_duration`, or ever.",
        env=("MAX_BUDGET",),
    )
    budget_duration: str | None = setting(
        None,
        "The window of `max_budget`: a duration such as `1d`, `30d` or `1mo`; without one it never ends.",
    )
    model_budgets: Mapping[str, Mapping[str, str]] | None = setting(
        None,
        "Budgets and limits of models, whoever asks: by a model's name (`*` stands for anything) any of "
        "`max_budget`, `budget_duration`, `rpm_limit`, `tpm_limit`, `max_parallel_requests`.",
        example="{claude-opus-*: {max_budget: 100, budget_duration: 1d}}",
    )
    max_session_budget: str | None = setting(
        None,
        "Dollars that each Claude Code session may spend; cooperative, since clients name their sessions.",
    )
    max_end_user_budget: str | None = setting(
        None,
        "Dollars that each end user who is not known as a customer may spend in each "
        "`end_user_budget_duration`, or ever; cooperative, since clients name their end users.",
    )
    end_user_budget_duration: str | None = setting(
        None, "The window of `max_end_user_budget`: a duration such as `1d`, `7d`, `30d` or `1mo`."
    )
    budget_hold: Literal["expected", "ceiling"] = setting(
        "expected",
        "What a call with a budget holds of it until its cost is known: `ceiling` (the most it can cost, so "
        "that no cap is passed) or `expected` (what such calls have cost).",
    )
    time_zone: str = setting(
        "UTC", "The time zone in which the windows of budgets begin, such as `Europe/Berlin`."
    )
    slice_wait_seconds: float = setting(
        1.0,
        "How long a call waits for the control plane where only that can tell what is left of a budget.",
        at_least=0.0,
        at_most=60.0,
    )
    share: Literal["key", "team", "all"] = setting(
        "key",
        "Who sees the files, batches, skills and sessions that a virtual key has made: that key, the keys of "
        "its team, or all keys.",
    )
    on_disconnect: Literal["auto", "cancel", "drain"] = setting(
        "auto",
        "What becomes of a paid request whose client leaves: `cancel` ends it, `drain` lets it finish "
        "unseen so that its usage is known, `auto` cancels streams and drains the rest.",
    )
    drain_timeout_seconds: float = setting(
        600.0, "How long a request may go on without its client.", at_least=0.1
    )
    max_drains: int = setting(
        100, "Requests that go on without their clients at once; the next ones are cancelled.", at_least=0
    )
    workers: int = setting(
        1, "Worker processes, which share the port; as many as there are cores.", at_least=1, at_most=256
    )
    admin_port: int | None = setting(
        None,
        "Port on 127.0.0.1 where Ferryman's own paths are served as well, without passing a worker.",
        at_least=1,
        at_most=65535,
    )
    runtime_directory: str | None = setting(
        None,
        "Where the processes meet: each Ferryman makes a private directory below it. Default: `ferryman` in "
        "`XDG_RUNTIME_DIR`, else `/tmp/ferryman-<user id>`.",
        env=("RUNTIME_DIRECTORY",),
    )
    shutdown_grace_seconds: float = setting(
        30.0, "How long running requests may go on after SIGTERM.", at_least=0
    )
    log_format: Literal["auto", "json", "text"] = setting(
        "auto",
        "How log lines look: `text` for people, `json` for programs, `auto` by whether it is a terminal.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The least that is logged; the line per request is `info`."
    )

    def __repr__(self) -> str:
        shown = (f"{f.name}={masked(f, getattr(self, f.name))!r}" for f in fields(self))
        return f"Settings({', '.join(shown)})"

    @property
    def is_argo(self) -> bool:
        """Whether the profile in force is `argo`; with `upstreams`, that of the first one."""
        return self.profile == "argo" or (self.profile == "auto" and self.use_native_anthropic is True)

    @property
    def effective_auth(self) -> Literal["keys", "open", "passthrough", "identity"]:
        """The `auth` in force, with `auto` decided."""
        if self.auth == "auto":
            if self.is_argo:
                return "identity"
            if self.master_key:
                return "keys"
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
        """The parts of the proxy's URL, `None` where the upstream is reached directly."""
        return self.proxy_to(self.upstream.hostname or "")

    def proxy_to(self, host: str) -> SplitResult | None:
        """The same for an upstream at `host`.

        A loopback upstream is never reached through a proxy, which would look for it on its own
        machine. Go's net/http has the same rule.
        """
        if self.upstream_proxy in {"auto", "none"} or is_loopback(host):
            return None
        return urlsplit(self.upstream_proxy)
