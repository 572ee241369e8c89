"""A sink that sends entries as OpenTelemetry log records, in JSON over HTTP.

Sources: https://opentelemetry.io/docs/specs/otlp/ for the envelope and
https://opentelemetry.io/docs/specs/semconv/gen-ai/ for the names that begin with `gen_ai.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from ferryman import __version__
from ferryman.model import Entry
from ferryman.telemetry.sinks.post import Poster
from ferryman.telemetry.sinks.sink import Batch

INFO, WARN, ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")
"""Severity numbers and texts of OpenTelemetry's log data model."""


class OtlpLogs:
    """Sends to a collector, or to whatever speaks its protocol."""

    name = "otlp"

    def __init__(self, url: str, headers: Mapping[str, str], *, host: str) -> None:
        """Connect to nobody yet; `host` is the name of this machine."""
        self._poster = Poster(url, headers)
        resource = {"service.name": "ferryman", "service.version": __version__, "host.name": host}
        self._resource = {"attributes": _attributes(resource.items())}

    def __repr__(self) -> str:
        return f"<OtlpLogs {self._poster.host}>"

    def deliver(self, batch: Batch) -> None:
        """See `Sink`."""
        pairs = zip(batch.entries, batch.records, strict=True)
        records = [log_record(entry, record) for entry, record in pairs]
        scope = {"scope": {"name": "ferryman", "version": __version__}, "logRecords": records}
        self._poster.post(
            msgspec.json.encode({"resourceLogs": [{"resource": self._resource, "scopeLogs": [scope]}]}), {}
        )

    def close(self) -> None:
        """See `Sink`."""
        self._poster.close()


def log_record(entry: Entry, record: bytes) -> dict[str, Any]:
    """An entry as a log record: all of it in the body, and what is looked for as attributes."""
    ended_at = entry.started_at + timedelta(seconds=entry.duration_seconds)
    number, text = _severity(entry)
    nanoseconds = str(int(ended_at.timestamp() * 1_000_000) * 1_000)
    return {
        "timeUnixNano": nanoseconds,
        "observedTimeUnixNano": nanoseconds,
        "severityNumber": number,
        "severityText": text,
        "eventName": "ferryman.exchange",
        "body": {"stringValue": record.decode()},
        "attributes": _attributes(_told(entry)),
    }


def _severity(entry: Entry) -> tuple[int, str]:
    if entry.ended != "done" or entry.status is None or entry.status >= 500:
        return ERROR
    return WARN if entry.status >= 400 else INFO


def _told(entry: Entry) -> Iterator[tuple[str, object]]:
    usage, cost = entry.usage, entry.cost
    yield "gen_ai.provider.name", "anthropic"
    yield "gen_ai.request.model", entry.model
    yield "gen_ai.conversation.id", entry.session_id
    yield "http.request.method", entry.method
    yield "url.path", entry.path
    yield "http.response.status_code", entry.status
    yield "enduser.id", entry.end_user
    yield "ferryman.id", entry.id
    yield "ferryman.ended", str(entry.ended)
    yield "ferryman.stream", entry.stream
    yield "ferryman.key", entry.principal
    yield "ferryman.user_id", entry.user_id
    yield "ferryman.team_id", entry.team_id
    yield "ferryman.duration_seconds", entry.duration_seconds
    yield "ferryman.time_to_first_byte_seconds", entry.time_to_first_byte_seconds
    yield "ferryman.overhead_seconds", entry.overhead_seconds
    if usage is not None:
        read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        yield "gen_ai.usage.input_tokens", (usage.input_tokens or 0) + (read or 0) + (written or 0)
        yield "gen_ai.usage.output_tokens", usage.output_tokens
        yield "gen_ai.usage.cache_read.input_tokens", read
        yield "gen_ai.usage.cache_creation.input_tokens", written
    if cost is not None:
        yield "gen_ai.response.model", cost.model or None
        yield "ferryman.cost_usd", cost.nanousd / 1e9


def _attributes(pairs: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # names and values of several types
    return [{"key": name, "value": _value(value)} for name, value in pairs if value is not None]


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits are texts in protobuf's JSON
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
