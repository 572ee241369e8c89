"""An entry as a row of the table, and back. The only place that knows both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any
from zlib import crc32

import msgspec

from ferryman.ledger.records import decode_entry, encode
from ferryman.model import (
    CacheCreation,
    Cost,
    Ended,
    Entry,
    OutputTokensDetails,
    ServerToolUse,
    Usage,
)
from ferryman.store.flat import (
    ABSENT,
    MAX_COUNT,
    MAX_NANOUSD,
    NOTHING,
    CostRest,
    Flat,
    More,
    Rest,
    decode,
    decode_rest,
)
from ferryman.store.place import EPOCH, hour_of, place_of
from ferryman.store.schema import COLUMNS, TOKENS

Key = tuple[int, str, str, str, int, str]
"""Under what an entry is added up: its UTC day, as days since 1970, model, principal, end user, class of
status and way of ending; `''` is what it does not have."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An entry on its way into the database.

    Attributes:
        values: one for each of `COLUMNS` as the drivers take it fast: an int for a bool, and `''` for what is
            not there (SQLite's takes ten times as long for a None as for a text).
        key: under what it is added up.
        measures: what is added up: one for each of `MEASURES`, `''` for what is not there.
        tags: each once.
        entry: of an exchange that tells of a batch, or of what it has made.
        flat: what it was made of.
    """

    values: tuple[Any, ...]
    key: Key
    measures: tuple[Any, ...]
    tags: list[str] | None
    entry: Entry | None
    flat: Flat


_SAME = ("id", "principal", "end_user", "session_id", "model", "status")
"""Columns that are fields of `Entry` as they stand."""

_SAME_REST = (
    "method",
    "path",
    "stream",
    "attempts",
    "usage_complete",
    "request_bytes",
    "response_bytes",
    "tags",
)
"""The same of `Rest`."""

_OR_NONE = (
    *("credential", "user_id", "team_id", "client_address", "upstream_request_id", "error"),
    *("time_to_first_byte_seconds", "overhead_seconds"),
)
"""The same, but for what is not there."""

_SAME_MORE = (
    "agent_id",
    "parent_agent_id",
    "request_class",
    "agent_type",
    "spend_logs_metadata",
    "traceparent",
    "mutations",
)
"""The same of `More`."""

# All of one at once: an entry of a page is read in half the time.
_same, _same_rest, _maybe, _same_more = (
    itemgetter(*_SAME),
    attrgetter(*_SAME_REST),
    attrgetter(*_OR_NONE),
    attrgetter(*_SAME_MORE),
)
_how = attrgetter(*CostRest.__struct_fields__)

_NO_CACHE, _NO_TOOLS, _NO_DETAILS = CacheCreation(), ServerToolUse(), OutputTokensDetails()
_NO_MORE = More()
_BACKSLASH = ord("\\")  # as a number it is found in a fifth of the time
_NUL_ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


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
    if _BACKSLASH in payload and b"\\u0000" in payload:  # which PostgreSQL does not store in its texts
        payload = _NUL_ESCAPE.sub(rb"\1\\ufffd", payload)
    try:
        flat = decode(payload)
    except msgspec.ValidationError:
        flat = decode(_bounded(payload))
    usage, outcome, status, tags, cost = flat.usage, flat.ended, flat.status, flat.tags, flat.cost
    model, principal, end_user, session_id = flat.model, flat.principal, flat.end_user, flat.session_id
    entry_id, cache, tools, nanousd = flat.id, usage.cache_creation, usage.server_tool_use, cost.nanousd
    place = place_of(entry_id)
    hour = hour_of(place) << 32  # and below it as in `key_of`, whose calls cost more than what they do
    since = flat.started_at - EPOCH
    day = since.days
    status_class = status // 100 if status else 0
    failed = 1 if has_failed(outcome, status or None) else 0
    counts = (
        usage.input_tokens, usage.output_tokens,
        usage.cache_creation_input_tokens, usage.cache_read_input_tokens,
        cache.ephemeral_5m_input_tokens, cache.ephemeral_1h_input_tokens,
        tools.web_search_requests, tools.web_fetch_requests,
        usage.output_tokens_details.thinking_tokens,
    )  # fmt: skip
    tags = list(dict.fromkeys(tags)) if tags else tags
    return Row(
        (
            place,
            entry_id,
            (day * 86_400 + since.seconds) * 1_000_000 + since.microseconds,
            int(flat.duration_seconds * 1_000_000 + 0.5),
            outcome,
            status,
            status_class,
            failed,
            model,
            principal,
            end_user,
            session_id,
            model and hour | crc32(model.encode()),
            principal and hour | crc32(principal.encode()),
            end_user and hour | crc32(end_user.encode()),
            session_id and hour | crc32(session_id.encode()),
            nanousd,
            _rest(flat, counts, tags),
        ),
        (day, model, principal, end_user, status_class, outcome),
        (1, failed, *counts, nanousd),
        tags,
        None if flat.batch is flat.settles is flat.made is NOTHING else decode_entry(payload),
        flat,
    )  # fmt: skip


def cost_columns(entry: Entry, cost: Cost) -> dict[str, Any]:
    """The columns of `entry` that are others if it costs `cost`."""
    values = dict(zip(COLUMNS, row_of(encode(msgspec.structs.replace(entry, cost=cost))).values, strict=True))
    return {name: values[name] for name in ("cost_nanousd", "rest")}


def id_of(row: Row) -> str:
    """The id of the entry."""
    found: str = row.values[1]
    return found


def _bounded(payload: bytes) -> bytes:
    """`payload` with no count out of bounds; as it is if it is no entry.

    Raises:
        ValueError: it is no entry.
    """
    entry = decode_entry(payload)
    usage, cost = entry.usage, entry.cost
    if cost is not None:
        cost = msgspec.structs.replace(cost, nanousd=min(cost.nanousd, MAX_NANOUSD))
    return encode(msgspec.structs.replace(entry, usage=_cut(usage), cost=cost))


def _cut(value: Any) -> Any:  # noqa: ANN401  # of a usage
    if isinstance(value, msgspec.Struct):
        fields = {name: _cut(getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return min(value, MAX_COUNT) if isinstance(value, int) else value


def _rest(flat: Flat, counts: tuple[Any, ...], tags: list[str] | None) -> str:
    """The JSON of a `Rest`; a tuple takes less time than the struct itself."""
    usage, cost = flat.usage, flat.cost
    how = None
    if cost.nanousd != ABSENT:
        how = (
            cost.price_source, cost.estimated, cost.price_revision, cost.parts,
            cost.model, cost.batch, cost.refusal, cost.declined,
        )  # fmt: skip
    rest = (
        flat.method, flat.path, flat.stream, flat.attempts, flat.usage_complete,
        flat.request_bytes, flat.response_bytes,
        flat.time_to_first_byte_seconds, flat.overhead_seconds,
        flat.credential, flat.user_id, flat.team_id, flat.client_address,
        flat.upstream_request_id, flat.error,
        tags, counts, usage.service_tier, usage.inference_geo, _more(flat), how,
    )  # fmt: skip
    return encode(rest).decode()


def _more(flat: Flat) -> More | None:
    usage = flat.usage
    if (
        flat.agent_id is flat.parent_agent_id is flat.request_class is flat.agent_type is usage.speed is None
        and flat.traceparent is flat.mutations is None
        and flat.spend_logs_metadata is None
        and usage.iterations is None
    ):
        return None
    return More(
        flat.agent_id, flat.parent_agent_id, flat.request_class, flat.agent_type,
        flat.spend_logs_metadata, usage.speed, usage.iterations, flat.traceparent, flat.mutations,
    )  # fmt: skip


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a row as the database returns it, columns by name.

    Start and length come back to the microsecond. Parts of the usage that held nothing are `None`.
    """
    rest = decode_rest(row["rest"])
    more = rest.more or _NO_MORE
    return Entry(
        **dict(zip(_SAME, _same(row), strict=True)),
        **dict(zip(_SAME_REST, _same_rest(rest), strict=True)),
        **dict(zip(_OR_NONE, _there(_maybe(rest)), strict=True)),
        **dict(zip(_SAME_MORE, _same_more(more), strict=True)),
        started_at=moment(row["started_at_microseconds"]),
        ended=Ended(row["ended"]),
        usage=_usage_of(rest, more),
        cost=_cost_of(row["cost_nanousd"], rest),
        duration_seconds=row["duration_microseconds"] / 1_000_000,
    )


def entry_of_row(row: Row) -> Entry:
    """The entry of a row on its way into the database, without what it tells of batches and of files."""
    named = zip(COLUMNS, row.values, strict=True)
    return entry_of({name: None if value == ABSENT else value for name, value in named})


def counts_in(rest: str) -> list[int]:
    """What the column `rest` has of each of `ferryman.store.schema.TOKENS`."""
    return [count if isinstance(count, int) else 0 for count in decode_rest(rest).counts]


def _there(values: Iterable[Any]) -> list[Any]:
    return [None if value == ABSENT else value for value in values]


def _cost_of(nanousd: int | None, rest: Rest) -> Cost | None:
    how = rest.cost
    if nanousd is None or how is None:
        return None
    return Cost(nanousd=nanousd, **dict(zip(CostRest.__struct_fields__, _how(how), strict=True)))


def _usage_of(rest: Rest, more: More) -> Usage | None:
    counts = _there(rest.counts)
    cache, tools = CacheCreation(*counts[4:6]), ServerToolUse(*counts[6:8])
    details = OutputTokensDetails(*counts[8:])
    usage = Usage(
        **dict(zip(TOKENS[:4], counts, strict=False)),
        cache_creation=None if cache == _NO_CACHE else cache,
        server_tool_use=None if tools == _NO_TOOLS else tools,
        output_tokens_details=None if details == _NO_DETAILS else details,
        service_tier=rest.service_tier or None,
        inference_geo=rest.inference_geo or None,
        speed=more.speed,
        iterations=more.iterations,
    )
    return None if usage == Usage() else usage
