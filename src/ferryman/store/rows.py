"""An entry as a row of the table, and back. The only place that knows both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ferryman.model import CacheCreation, Ended, Entry, OutputTokensDetails, ServerToolUse, Usage
from ferryman.store.schema import COLUMNS, TOKENS

Row = tuple[Any, ...]
"""A value for each of `COLUMNS`; JSON as text, never a bool (an int is what SQLite's driver takes fast)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS_PER_DAY = 86_400_000_000

CHARGED_TO = (
    "agent_id",
    "parent_agent_id",
    "request_class",
    "agent_type",
    "end_user",
    "tags",
    "spend_logs_metadata",
)
"""Fields of `Entry` for who is charged. One that the class does not have is `None` in the row."""

POSITION = {name: position for position, name in enumerate(COLUMNS)}
TOKENS_FROM, TOKENS_TO = POSITION[TOKENS[0]], POSITION[TOKENS[-1]] + 1

MAX_COUNT = 10**12
"""Tokens of one exchange: beyond what can be, and a million of it still fits into 64 bits."""

_SAME = (
    *("id", "method", "path", "principal", "credential", "client_address", "session_id", "model", "status"),
    *("error", "upstream_request_id", "attempts", "request_bytes", "response_bytes"),
)
"""Columns that are fields of `Entry` as they stand."""

_NO_USAGE: tuple[Any, ...] = (None,) * (len(TOKENS) + 4)
_NO_CACHE, _NO_TOOLS, _NO_DETAILS = CacheCreation(), ServerToolUse(), OutputTokensDetails()
_NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970 of an aware `moment`."""
    return round(moment.timestamp() * 1_000_000)


def moment(at_microseconds: int) -> datetime:
    """The UTC time of a count of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=at_microseconds)


def has_failed(ended: str, status: int | None) -> bool:
    """Whether an entry counts as an error: it did not run to its end, or was answered with one."""
    return ended != "done" or status is None or status >= 400


def row_of(entry: Entry) -> Row:
    """The row of `entry`."""
    agent_id, parent_agent_id, request_class, agent_type, end_user, tags, metadata = [
        getattr(entry, name, None) for name in CHARGED_TO
    ]
    status, ended = entry.status, entry.ended.value
    first_byte, overhead, model = entry.time_to_first_byte_seconds, entry.overhead_seconds, entry.model
    return (
        entry.id,
        round(entry.started_at.timestamp() * 1_000_000),
        entry.method,
        entry.path,
        ended,
        entry.principal,
        entry.credential,
        entry.client_address,
        entry.session_id and _clean(entry.session_id),
        agent_id and _clean(agent_id),
        parent_agent_id and _clean(parent_agent_id),
        request_class,
        agent_type and _clean(agent_type),
        end_user and _clean(end_user),
        _json(list(dict.fromkeys(map(_clean, tags)))) if tags else None,
        None if metadata is None else _json(metadata),
        model and _clean(model),
        1 if entry.stream else 0,
        status,
        0 if status is None else status // 100,
        1 if has_failed(ended, status) else 0,
        entry.error and _clean(entry.error),
        entry.upstream_request_id,
        entry.attempts,
        *(_NO_USAGE if entry.usage is None else _usage(entry.usage)),
        1 if entry.usage_complete else 0,
        entry.request_bytes,
        entry.response_bytes,
        round(entry.duration_seconds * 1_000_000),
        None if first_byte is None else round(first_byte * 1_000_000),
        None if overhead is None else round(overhead * 1_000_000),
    )


def _usage(usage: Usage) -> tuple[Any, ...]:
    cache = usage.cache_creation or _NO_CACHE
    tools = usage.server_tool_use or _NO_TOOLS
    details = usage.output_tokens_details or _NO_DETAILS
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        cache.ephemeral_5m_input_tokens,
        cache.ephemeral_1h_input_tokens,
        tools.web_search_requests,
        tools.web_fetch_requests,
        details.thinking_tokens,
    )
    return (
        *(counts if max(filter(None, counts), default=0) <= MAX_COUNT else map(_bounded, counts)),
        usage.service_tier and _clean(usage.service_tier),
        usage.inference_geo and _clean(usage.inference_geo),
        usage.speed and _clean(usage.speed),
        None if usage.iterations is None else _json(usage.iterations),
    )


def _bounded(count: int | None) -> int | None:
    return None if count is None else min(count, MAX_COUNT)


def _clean(text: str) -> str:
    """`text` without what PostgreSQL does not store: NUL, and halves of surrogate pairs."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _json(value: object) -> str:
    """`value` as JSON text that both databases take; text with an escape is spelled anew."""
    text = msgspec.json.encode(value).decode()
    if "\\u" not in text:
        return text
    plain = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    return _NUL_ESCAPE.sub(r"\1\\ufffd", plain.encode("utf-8", "replace").decode())


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a row as the database returns it, columns by name and JSON decoded.

    Times come back to the microsecond. Parts of the usage that held nothing are `None`.
    """
    own = {"agent_id", "parent_agent_id", "request_class", "agent_type", "end_user", "tags"}
    notes = row["spend_logs_metadata"]
    raw = None if notes is None else {name: _raw(value) for name, value in notes.items()}
    later = {name: row[name] for name in own} | {"spend_logs_metadata": raw}
    known = {name: value for name, value in later.items() if name in Entry.__struct_fields__}
    first_byte, overhead = row["time_to_first_byte_microseconds"], row["overhead_microseconds"]
    return Entry(
        **{name: row[name] for name in _SAME},
        **known,
        started_at=moment(row["started_at_microseconds"]),
        ended=Ended(row["ended"]),
        stream=bool(row["stream"]),
        usage=_usage_of(row),
        usage_complete=bool(row["usage_complete"]),
        duration_seconds=row["duration_microseconds"] / 1_000_000,
        time_to_first_byte_seconds=None if first_byte is None else first_byte / 1_000_000,
        overhead_seconds=None if overhead is None else overhead / 1_000_000,
    )


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _usage_of(row: Mapping[str, Any]) -> Usage | None:
    cache = CacheCreation(row["ephemeral_5m_input_tokens"], row["ephemeral_1h_input_tokens"])
    tools = ServerToolUse(row["web_search_requests"], row["web_fetch_requests"])
    details = OutputTokensDetails(row["thinking_tokens"])
    iterations = row["iterations"]
    usage = Usage(
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_creation_input_tokens=row["cache_creation_input_tokens"],
        cache_read_input_tokens=row["cache_read_input_tokens"],
        cache_creation=None if cache == _NO_CACHE else cache,
        server_tool_use=None if tools == _NO_TOOLS else tools,
        output_tokens_details=None if details == _NO_DETAILS else details,
        service_tier=row["service_tier"],
        inference_geo=row["inference_geo"],
        speed=row["speed"],
        iterations=None if iterations is None else [_raw(each) for each in iterations],
    )
    return None if usage == Usage() else usage
