"""The settings about what is seen from outside: metrics, and where entries are sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ferryman.settings_row import setting
from ferryman.settings_traces import TraceSettings
from ferryman.wording import shown

END_USERS_OFF = "disable_end_user_cost_tracking_prometheus_only"
END_USERS_ON = "enable_end_user_cost_tracking_prometheus_only"


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header: RFC 9110, section 5.6.2."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TelemetrySettings(TraceSettings):
    """The part of `ferryman.settings.Settings` that is about them."""

    metrics_port: int | None = setting(
        None,
        "Port at `host` where `/metrics` is served as well, to anybody, without a key.",
        at_least=1,
        at_most=65535,
    )
    metrics_end_user: bool = setting(
        False, "Count requests and spend by end user in `/metrics`; of the first 1,000 end users."
    )
    litellm_settings: Mapping[str, str] | None = setting(
        None,
        "LiteLLM's block. Of its settings `disable_end_user_cost_tracking_prometheus_only` and "
        "`enable_end_user_cost_tracking_prometheus_only` are known here; the first decides.",
        example="{disable_end_user_cost_tracking_prometheus_only: true}",
    )
    log_file: str | None = setting(
        None, "File to which each entry is appended as a line of JSON; it is rotated by size."
    )
    log_file_max_bytes: int = setting(
        104_857_600, "Size from which on the file is rotated to `<name>.1`.", at_least=4096
    )
    log_file_keep: int = setting(10, "Rotated files that are kept.", at_least=1, at_most=10_000)
    webhook_url: str | None = setting(
        None, "URL to which entries are posted as JSON, some at a time.", credentials=True
    )
    webhook_secret: str | None = setting(
        None,
        "Secret with which these are signed, by the rules of Standard Webhooks; with `whsec_` in front it is "
        "base64.",
        secret=True,
    )
    otlp_logs_url: str | None = setting(
        None,
        "URL of an OpenTelemetry collector, such as `http://localhost:4318/v1/logs`, to which entries are "
        "sent as log records in JSON.",
        env=("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",),
        credentials=True,
    )
    otlp_logs_headers: str | None = setting(
        None,
        "Headers for it: `name=value` with commas between them, values percent-encoded.",
        env=("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
        secret=True,
    )
    callbacks: str | None = setting(
        None,
        "Python functions that get entries, some at a time: `module.function`, with commas between them (in "
        "the file also a list). They run within the control plane.",
        many=True,
    )

    @property
    def counts_end_users(self) -> bool:
        """Whether end users are told apart in metrics; who switches it off has the last word."""
        block = self.litellm_settings or {}
        on = self.metrics_end_user or _is_true(block.get(END_USERS_ON, ""))
        return on and not _is_true(block.get(END_USERS_OFF, ""))


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def telemetry_problems(settings: TelemetrySettings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with them: the settings it is about, and a sentence without its full stop."""
    for name, text in (settings.litellm_settings or {}).items():
        if name not in {END_USERS_OFF, END_USERS_ON}:
            known = f"`{END_USERS_OFF}` and `{END_USERS_ON}`"
            yield {"litellm_settings"}, f"`{name}` is not known here; of LiteLLM's settings {known} are"
        elif text.strip().lower() not in {"true", "false"}:
            yield {"litellm_settings"}, f"`{name}` has to be `true` or `false`"
    for name in ("webhook_url", "otlp_logs_url"):
        url = getattr(settings, name)
        if url is not None and not _is_url(url):
            yield {name}, "that is no URL of a server; wanted one such as `https://host/path`"
    for word in callback_names(settings):
        if not all(part.isidentifier() for part in word.split(".")) or "." not in word:
            yield {"callbacks"}, f"{shown(word)} names no function; wanted `module.function`"
    try:
        if settings.otlp_logs_url is not None:  # else OpenTelemetry's variable is about something else
            otlp_headers(settings)
    except ValueError:
        yield {"otlp_logs_headers"}, "that is no list such as `name=value,other=value`"


def callback_names(settings: TelemetrySettings) -> list[str]:
    """Each function of `callbacks`, once."""
    words = (word.strip() for word in (settings.callbacks or "").split(","))
    return list(dict.fromkeys(word for word in words if word))


def otlp_headers(settings: TelemetrySettings) -> dict[str, str]:
    """The headers of `otlp_logs_headers`.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/, where they are W3C baggage.

    Raises:
        ValueError: they cannot be read.
    """
    found = {}
    for pair in filter(None, (settings.otlp_logs_headers or "").split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        value = unquote(value)
        if not equals or not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ValueError
        found[name.lower()] = value
    return found


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.port != 0
    except ValueError:
        return False
    return usable and parts.scheme in {"http", "https"} and bool(parts.hostname) and " " not in text
