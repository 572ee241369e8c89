"""An entry as a row of the table, and back. The only place that knows both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import msgspec
from msgspec.structs import replace

from ferryman.model import CacheCreation, Cost, Ended, Entry, OutputTokensDetails, ServerToolUse, Usage
from ferryman.store.flat import ABSENT, CostRest, Flat, FlatCost, FlatUsage, decode
from ferryman.store.place import EPOCH, hour_of, place_of
from ferryman.store.schema import COLUMNS, COUNTED, TOKENS

Row = tuple[Any, ...]
"""A value for each of `COLUMNS` as the drivers take it fast: JSON as text, an int for a bool, and `''` for
what is not there (SQLite's takes ten times as long for a None as for a text)."""

MICROSECONDS_PER_DAY = 86_400_000_000

MORE = (
    *("agent_id", "parent_agent_id", "request_class", "agent_type", "spend_logs_metadata"),
    *("speed", "iterations"),
)
"""What few entries have and nothing looks for: fields of `Entry` and of its usage, in the column `more`.
A column of its own would cost every row some tenths of a microsecond."""

POSITION = {name: position for position, name in enumerate(COLUMNS)}
_ID = POSITION["id"]
COUNTED_FROM, COUNTED_TO = POSITION[COUNTED[0]], POSITION[COUNTED[-1]] + 1
_TOKENS_TO = COUNTED_FROM + len(TOKENS)

MAX_COUNT = 10**12
"""Tokens of one exchange: beyond what can be, and a million of it still fits into 64 bits."""

MAX_NANOUSD = 10**15
"""Of one exchange, a million dollars: the same."""

_SAME = (
    *("id", "method", "path", "principal", "credential", "client_address", "session_id", "model", "status"),
    *("error", "upstream_request_id", "attempts", "request_bytes", "response_bytes", "end_user", "tags"),
)
"""Columns that are fields of `Entry` as they stand."""

_NO_CACHE, _NO_TOOLS, _NO_DETAILS = CacheCreation(), ServerToolUse(), OutputTokensDetails()
_OUTCOMES = {ended: ended.value for ended in Ended}
_NOTHING = (None,) * len(MORE)
_MICROSECOND = timedelta(microseconds=1)
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


def row_of(payload: bytes) -> Row:
    """The row of an entry as it is in the journal, at its place unless another has that.

    Raises:
        ValueError: it is no entry.
    """
    flat = decode(payload)
    if b"\\" in payload:
        flat = _cleaned(flat)
    usage, outcome, status, tags = flat.usage, _OUTCOMES[flat.ended], flat.status, flat.tags
    cache, tools = usage.cache_creation, usage.server_tool_use
    model, principal, end_user, session_id = flat.model, flat.principal, flat.end_user, flat.session_id
    first_byte, overhead, cost = flat.time_to_first_byte_seconds, flat.overhead_seconds, flat.cost
    nanousd = cost.nanousd
    place = place_of(flat.id)
    hour = hour_of(place) << 32  # and below it as in `key_of`, whose calls cost more than what they do
    row: Row = (
        place,
        flat.id,
        (flat.started_at - EPOCH) // _MICROSECOND,
        flat.method,
        flat.path,
        outcome,
        1 if flat.stream else 0,
        status // 100 if status else 0,
        1 if has_failed(outcome, status or None) else 0,
        flat.attempts,
        1 if flat.usage_complete else 0,
        flat.request_bytes,
        flat.response_bytes,
        int(flat.duration_seconds * 1_000_000 + 0.5),
        model,
        principal,
        end_user,
        session_id,
        model and hour | crc32(model.encode()),
        principal and hour | crc32(principal.encode()),
        end_user and hour | crc32(end_user.encode()),
        session_id and hour | crc32(session_id.encode()),
        flat.credential,
        flat.client_address,
        status,
        flat.error,
        flat.upstream_request_id,
        first_byte if first_byte == ABSENT else int(first_byte * 1_000_000 + 0.5),
        overhead if overhead == ABSENT else int(overhead * 1_000_000 + 0.5),
        usage.input_tokens, usage.output_tokens,
        usage.cache_creation_input_tokens, usage.cache_read_input_tokens,
        cache.ephemeral_5m_input_tokens, cache.ephemeral_1h_input_tokens,
        tools.web_search_requests, tools.web_fetch_requests,
        usage.output_tokens_details.thinking_tokens, nanousd,
        usage.service_tier, usage.inference_geo,
        cost.price_source,
        "" if nanousd == ABSENT else 1 if cost.estimated else 0,
        _json(list(dict.fromkeys(tags))) if tags else "",
        _more(flat),
        "" if nanousd == ABSENT else _cost(cost),
    )  # fmt: skip
    most = max(filter(None, row[COUNTED_FROM:_TOKENS_TO]), default=0)
    return row if most <= MAX_COUNT and (nanousd == ABSENT or nanousd <= MAX_NANOUSD) else _bounded(row)


def id_of(row: Row) -> str:
    """The id in a row made by `row_of`."""
    found: str = row[_ID]
    return found


def _bounded(row: Row) -> Row:
    bounds = [MAX_COUNT] * len(TOKENS) + [MAX_NANOUSD]
    counts = [
        count if count == ABSENT else min(count, most)
        for count, most in zip(row[COUNTED_FROM:COUNTED_TO], bounds, strict=True)
    ]
    return (*row[:COUNTED_FROM], *counts, *row[COUNTED_TO:])


def _cost(cost: FlatCost) -> str:
    rest = CostRest(cost.price_revision, cost.parts, cost.model, cost.batch, cost.refusal, cost.declined)
    return _json(rest)


def _more(flat: Flat) -> str:
    usage = flat.usage
    found = (
        *(flat.agent_id, flat.parent_agent_id, flat.request_class, flat.agent_type),
        *(flat.spend_logs_metadata, usage.speed, usage.iterations),
    )
    if found == _NOTHING:
        return ""
    return _json({name: value for name, value in zip(MORE, found, strict=True) if value is not None})


def _cleaned(flat: Flat) -> Flat:
    """`flat` without what PostgreSQL does not store in its texts."""
    tags = None if flat.tags is None else [_clean(tag) for tag in flat.tags]
    return replace(flat, tags=tags, usage=replace(flat.usage, **_texts(flat.usage)), **_texts(flat))


def _texts(part: Flat | FlatUsage) -> dict[str, str]:
    values = ((name, getattr(part, name)) for name in part.__struct_fields__)
    return {name: _clean(value) for name, value in values if type(value) is str}


def _clean(text: str) -> str:
    """`text` without NUL."""
    return text.replace("\x00", "\ufffd")


def _json(value: object) -> str:
    """`value` as JSON text that both databases take; text with an escape is spelled anew."""
    text = msgspec.json.encode(value).decode()
    if "\\u" not in text:
        return text
    plain = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    return _NUL_ESCAPE.sub(r"\1\\ufffd", plain)


def tags_of(row: Row) -> list[str]:
    """The tags of a row made by `row_of`."""
    text = row[POSITION["tags"]]
    return json.loads(text) if text else []


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a row as the database returns it, columns by name and JSON decoded.

    Times come back to the microsecond. Parts of the usage that held nothing are `None`.
    """
    more = row["more"] or {}
    notes = more.get("spend_logs_metadata")
    later: dict[str, Any] = {name: more.get(name) for name in MORE[:4]}
    first_byte, overhead = row["time_to_first_byte_microseconds"], row["overhead_microseconds"]
    return Entry(
        **{name: row[name] for name in _SAME},
        **later,
        spend_logs_metadata=None if notes is None else {name: _raw(value) for name, value in notes.items()},
        started_at=moment(row["started_at_microseconds"]),
        ended=Ended(row["ended"]),
        stream=bool(row["stream"]),
        usage=_usage_of(row, more),
        cost=cost_in(row),
        usage_complete=bool(row["usage_complete"]),
        duration_seconds=row["duration_microseconds"] / 1_000_000,
        time_to_first_byte_seconds=None if first_byte is None else first_byte / 1_000_000,
        overhead_seconds=None if overhead is None else overhead / 1_000_000,
    )


def cost_in(row: Mapping[str, Any]) -> Cost | None:
    """The cost in a row as the database returns it, JSON decoded; `None` if it has none."""
    if row["cost_nanousd"] is None:
        return None
    sure = {"nanousd": row["cost_nanousd"], "price_source": row["price_source"]}
    return msgspec.convert(row["cost"] | sure | {"estimated": bool(row["estimated"])}, Cost)


def cost_columns(cost: Cost) -> dict[str, Any]:
    """The columns of a cost, JSON not yet encoded; `cost_in` is its inverse."""
    rest = msgspec.to_builtins(cost)
    sure = {name: rest.pop(name, False) for name in ("nanousd", "price_source", "estimated")}
    nanousd = min(sure.pop("nanousd"), MAX_NANOUSD)
    return {"cost_nanousd": nanousd, **sure, "cost": rest}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _usage_of(row: Mapping[str, Any], more: Mapping[str, Any]) -> Usage | None:
    cache = CacheCreation(row["ephemeral_5m_input_tokens"], row["ephemeral_1h_input_tokens"])
    tools = ServerToolUse(row["web_search_requests"], row["web_fetch_requests"])
    details = OutputTokensDetails(row["thinking_tokens"])
    iterations = more.get("iterations")
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
        speed=more.get("speed"),
        iterations=None if iterations is None else [_raw(each) for each in iterations],
    )
    return None if usage == Usage() else usage
