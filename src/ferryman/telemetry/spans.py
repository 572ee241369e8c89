"""The span of an exchange, by the conventions of OpenTelemetry; no library of it is needed here.

A message is a call of a model: https://opentelemetry.io/docs/specs/semconv/gen-ai/anthropic/. All else is a
request to a server: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. Prompts and answers are in
neither, and no credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ferryman.http1.origin import Origin
from ferryman.model import Ended, Entry, Usage

Value = str | int | float | bool | list[str]

MESSAGES = "/v1/messages"


class Span(NamedTuple):
    """What there is to say of an exchange.

    Attributes:
        id: of the entry.
        name: one of few: it has no id in it.
        calls_model: its kind is CLIENT, else SERVER.
        started_at_nanoseconds, ended_at_nanoseconds: since 1970.
        attributes: by name.
        error: what went wrong, in one sentence; `None` if nothing did.
        traceparent: of the client's span, `None` if it has told of none.
    """

    id: str
    name: str
    calls_model: bool
    started_at_nanoseconds: int
    ended_at_nanoseconds: int
    attributes: Mapping[str, Value]
    error: str | None
    traceparent: str | None


def span_of(entry: Entry, upstream: Origin) -> Span:
    """The span of `entry`, whose request was for `upstream`."""
    calls_model = entry.method == "POST" and entry.path.endswith(MESSAGES)
    given = _http(entry) | _ours(entry)
    if calls_model:
        given |= _model_call(entry, upstream)
    failure = _failure(entry, least_status=400 if calls_model else 500)
    error = None
    if failure is not None:
        given["error.type"] = failure
        error = entry.error or failure
    start = round(entry.started_at.timestamp() * 1_000_000) * 1_000
    return Span(
        entry.id,
        _name(entry, calls_model=calls_model),
        calls_model,
        start,
        start + round(entry.duration_seconds * 1e9),
        {name: value for name, value in given.items() if value is not None},
        error,
        entry.traceparent,
    )


def _name(entry: Entry, *, calls_model: bool) -> str:
    if calls_model:
        return f"chat {entry.model}" if entry.model else "chat"
    # What follows may be an id, and `v1` or `anthropic` alone tells nothing.
    parts = entry.path.split("/")[1:]
    return f"{entry.method} /{'/'.join(parts[: 3 if parts[0] == 'anthropic' else 2])}"


def _failure(entry: Entry, *, least_status: int) -> str | None:
    """The value of `error.type`, `None` for a success; 4xx are a server's success in refusing."""
    if entry.status is not None and entry.status >= least_status:
        return str(entry.status)
    refused = entry.ended is Ended.REFUSED and least_status == 500
    return None if entry.ended is Ended.DONE or refused else entry.ended.value


def _http(entry: Entry) -> dict[str, Value | None]:
    return {
        "http.request.method": entry.method,
        "http.response.status_code": entry.status,
        "url.path": entry.path,
        "client.address": entry.client_address,
    }


def _ours(entry: Entry) -> dict[str, Value | None]:
    cost = entry.cost
    return {
        "ferryman.request_id": entry.id,
        "ferryman.principal": entry.principal,
        "ferryman.user_id": entry.user_id,
        "ferryman.team_id": entry.team_id,
        "ferryman.end_user": entry.end_user,
        "ferryman.tags": entry.tags,
        "ferryman.ended": entry.ended.value,
        "ferryman.attempts": entry.attempts,
        "ferryman.cost_nanousd": cost.nanousd if cost is not None else None,
        "ferryman.cost_estimated": cost.estimated if cost is not None else None,
        "ferryman.overhead_seconds": entry.overhead_seconds,
        "ferryman.time_to_first_byte_seconds": entry.time_to_first_byte_seconds,
        "ferryman.upstream_request_id": entry.upstream_request_id,
        "ferryman.request_class": entry.request_class,
        "ferryman.parent_agent_id": entry.parent_agent_id,
    }


def _model_call(entry: Entry, upstream: Origin) -> dict[str, Value | None]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": entry.model,
        "gen_ai.request.stream": entry.stream or None,
        "gen_ai.response.model": entry.cost.model or None if entry.cost is not None else None,
        "gen_ai.response.time_to_first_chunk": entry.time_to_first_byte_seconds if entry.stream else None,
        "gen_ai.conversation.id": entry.session_id,
        "gen_ai.agent.id": entry.agent_id,
        "gen_ai.agent.name": entry.agent_type,
        "server.address": upstream.host,
        "server.port": upstream.port,
        **_usage(entry.usage or Usage()),
    }


def _usage(usage: Usage) -> dict[str, Value | None]:
    """By the conventions `input_tokens` has the whole prompt, where Anthropic's leaves out the cache."""
    prompt = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    known = [count for count in prompt if count is not None]
    details = usage.output_tokens_details
    return {
        "gen_ai.usage.input_tokens": sum(known) if known else None,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": details.thinking_tokens if details is not None else None,
    }
