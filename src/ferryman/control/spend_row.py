"""An entry as a row for LiteLLM's clients: its names for what it knows, ours for everything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ferryman.model import CacheCreation, Cost, Entry, OutputTokensDetails, ServerToolUse, Usage
from ferryman.pricing.explain import decimal
from ferryman.store.batches import NO_KEYS
from ferryman.store.rows import has_failed

RENAMED = {"status": "http_status"}
"""Our fields whose name means something else to LiteLLM."""

COST_FIELDS = ("cost_nanousd", "price_source", "price_revision", "estimated", "breakdown")

_OWN = tuple(name for name in Entry.__struct_fields__ if name not in {"usage", "cost", *RENAMED})
_PARTS = {
    "cache_creation": CacheCreation(),
    "server_tool_use": ServerToolUse(),
    "output_tokens_details": OutputTokensDetails(),
}


def key_id_in(principal: str | None) -> str | None:
    """The id of a virtual key, if it is one who called."""
    return None if principal is None or principal in NO_KEYS else principal


def row_of(entry: Entry) -> dict[str, Any]:
    """The row of `entry`: every field, `None` for what never came to be or is not built yet."""
    return litellm_fields(entry) | own_fields(entry)


def litellm_fields(entry: Entry) -> dict[str, Any]:
    """The fields of LiteLLM's table of spend logs that have a meaning here."""
    prompt, completion, total = sums_of(entry)
    first_byte, notes = entry.time_to_first_byte_seconds, entry.spend_logs_metadata
    began = None if first_byte is None else entry.started_at + timedelta(seconds=first_byte)
    return {
        "request_id": entry.id,
        "call_type": "anthropic_messages" if entry.path == "/v1/messages" else "pass_through_endpoint",
        "api_key": key_id_in(entry.principal),
        "user": entry.user_id,
        "team_id": entry.team_id,
        "spend": spend_of(entry),
        "total_tokens": total,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "startTime": entry.started_at,
        "endTime": entry.started_at + timedelta(seconds=entry.duration_seconds),
        "completionStartTime": began,
        "request_duration_ms": round(entry.duration_seconds * 1000),
        "custom_llm_provider": "anthropic",
        "request_tags": entry.tags or [],
        "requester_ip_address": entry.client_address,
        "metadata": {} if notes is None else {"spend_logs_metadata": notes},
        "status": "failure" if has_failed(entry.ended.value, entry.status) else "success",
    }


def own_fields(entry: Entry) -> dict[str, Any]:
    """Every field of the entry, of its usage as in the database's table, and of its cost."""
    row: dict[str, Any] = {name: getattr(entry, name) for name in _OWN}
    row |= {theirs: getattr(entry, ours) for ours, theirs in RENAMED.items()}
    usage = entry.usage if entry.usage is not None else Usage()
    for name in Usage.__struct_fields__:
        value = getattr(usage, name)
        if (empty := _PARTS.get(name)) is not None:
            part = value if value is not None else empty
            row |= {field: getattr(part, field) for field in part.__struct_fields__}
        else:
            row[name] = value
    return row | cost_fields(entry.cost)


def spend_of(entry: Entry) -> float | None:
    """Dollars; 0 where nothing was used, `None` where it is not known what was."""
    if entry.cost is not None:
        return dollars_of(entry.cost.nanousd)
    return 0.0 if entry.usage is None and entry.usage_complete else None


def dollars_of(nanousd: int) -> float:
    """Dollars as LiteLLM's clients take them; up to four million they have every nano-dollar."""
    return nanousd / 1_000_000_000


def cost_fields(cost: Cost | None) -> dict[str, Any]:
    """A cost with how it came to be; `None` in every field without one."""
    if cost is None:
        return dict.fromkeys(COST_FIELDS)
    parts = [
        {
            "model": part.model,
            "what": part.what,
            "units": part.units,
            "picousd_per_unit": part.picousd_per_unit,
            "multiplier": decimal(part.numerator, part.denominator),
            "picousd": part.picousd,
        }
        for part in cost.parts
    ]
    found = (cost.nanousd, cost.price_source, cost.price_revision, cost.estimated, parts)
    return dict(zip(COST_FIELDS, found, strict=True))


def sums_of(entry: Entry) -> tuple[int | None, int | None, int | None]:
    """LiteLLM's prompt, completion and total tokens; `None` where nothing of it is known.

    Its prompt includes what was read from and written to the cache, as in
    https://docs.litellm.ai/docs/completion/prompt_caching.
    """
    usage = entry.usage
    if usage is None:
        return (0, 0, 0) if entry.usage_complete else (None, None, None)
    parts = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    prompt = _sum(parts)
    return prompt, usage.output_tokens, _sum((prompt, usage.output_tokens))


def _sum(counts: tuple[int | None, ...]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
