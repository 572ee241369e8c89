"""An entry as a row of the table, and back. The only place that knows both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any, Final
from zlib import crc32

import msgspec
from msgspec.structs import astuple

from ferryman.ledger.records import decode_entry, encode
from ferryman.model import (
    SETTLEMENT,
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
    FlatCost,
    More,
    Rest,
    Row,
    decode,
    decode_rest,
)
from ferryman.store.place import EPOCH, hour_of, place_of
from ferryman.store.schema import COLUMNS, TOKENS

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
_explained = attrgetter(*CostRest.__struct_fields__)

_NO_CACHE, _NO_TOOLS, _NO_DETAILS = CacheCreation(), ServerToolUse(), OutputTokensDetails()
_NO_MORE = More()
_NO_FEW: Final = astuple(_NO_MORE)
# As names of our own compiled code finds these at once.
_fields: Final = astuple
_crc32: Final = crc32
_encode: Final = encode
_decode: Final = decode
_BACKSLASH: Final = ord("\\")  # as a number it is found in a fifth of the time
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
        flat = _decode(payload)
    except msgspec.ValidationError:
        flat = _decode(_bounded(payload))
    return _row(flat, payload)


def _row(flat: Flat, payload: bytes) -> Row:
    """The row of what was read from `payload`."""
    # All at once: one by one they take as long as all that is done with them.
    (
        entry_id, started_at, method, path, principal, credential, user_id, team_id, client_address,
        session_id, end_user, tags, notes, agent_id, parent_agent_id, request_class, agent_type, traceparent,
        model, stream, request_bytes, outcome, attempts, usage_complete, response_bytes, duration_seconds,
        status, error, upstream_request_id, usage, cost, batch, settles, made,
        first_byte_seconds, overhead_seconds, mutations,
    ) = _fields(flat)  # fmt: skip
    (
        input_tokens, output_tokens, written_tokens, read_tokens,
        cache, tools, details, service_tier, inference_geo, speed, iterations,
    ) = _fields(usage)  # fmt: skip
    counts = (
        input_tokens, output_tokens, written_tokens, read_tokens,
        *_fields(cache), *_fields(tools), *_fields(details),
    )  # fmt: skip
    few = (
        agent_id, parent_agent_id, request_class, agent_type, notes, speed, iterations, traceparent, mutations
    )  # fmt: skip
    nanousd, how = _how(cost)
    place = place_of(entry_id)
    hour = hour_of(place) << 32  # and below it as in `key_of`, whose calls cost more than what they do
    since = started_at - EPOCH
    day: int = since.days
    seconds: int = since.seconds
    rest_microseconds: int = since.microseconds
    status_class = status // 100 if status else 0
    failed = 1 if has_failed(outcome, status or None) else 0
    tags = list(dict.fromkeys(tags)) if tags else tags
    rest = (
        method, path, stream, attempts, usage_complete, request_bytes, response_bytes,
        first_byte_seconds, overhead_seconds, credential, user_id, team_id, client_address,
        upstream_request_id, error, tags, counts, service_tier, inference_geo,
        None if few == _NO_FEW else More(*few), how,
    )  # of a `Rest`; a tuple takes less time than the struct itself  # fmt: skip
    values = (
        place, entry_id, (day * 86_400 + seconds) * 1_000_000 + rest_microseconds,
        int(duration_seconds * 1_000_000 + 0.5), outcome, status, status_class, failed,
        model, principal, end_user, session_id,
        model and hour | _crc32(model.encode()), principal and hour | _crc32(principal.encode()),
        end_user and hour | _crc32(end_user.encode()), session_id and hour | _crc32(session_id.encode()),
        nanousd, _encode(rest).decode(),
    )  # fmt: skip
    return Row(
        values,
        (day, model, principal, end_user, status_class, outcome),
        (1, failed, *counts, nanousd),
        tags,
        (
            model, principal, user_id, team_id, end_user, session_id,
            tuple(tags) if tags else None, method != SETTLEMENT, (),
        ),
        None if batch is settles is made is NOTHING else decode_entry(payload),
        (SETTLEMENT if method == SETTLEMENT else path, model, status, outcome, stream),
        (duration_seconds, first_byte_seconds, overhead_seconds, cost.price_source),
    )  # fmt: skip


def _how(cost: FlatCost) -> tuple[Any, tuple[Any, ...] | None]:
    """What it costs, and what a `CostRest` says of that."""
    (
        nanousd, price_source, price_revision, parts, estimated, model, is_batch, refusal, declined
    ) = _fields(cost)  # fmt: skip
    if nanousd == ABSENT:
        return nanousd, None
    return nanousd, (price_source, estimated, price_revision, parts, model, is_batch, refusal, declined)


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
    return Cost(nanousd=nanousd, **dict(zip(CostRest.__struct_fields__, _explained(how), strict=True)))


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
