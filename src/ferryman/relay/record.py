"""The record of an exchange, made of what the exchange has seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ferryman.errors import (
    InternalError,
    RelayError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ferryman.model import Ended, Entry
from ferryman.relay.route import shown
from ferryman.relay.values import Reading
from ferryman.wire.names import REQUEST_ID, SESSION

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

MAX_TEXT = 200
"""Characters kept of what a client or an upstream chose: more than any real name or id has."""


def ended_by(error: RelayError) -> Ended:
    """How an exchange ends that ends with `error`."""
    if isinstance(error, UpstreamTimeout):
        return Ended.TIMEOUT
    if isinstance(error, UpstreamInvalid | UpstreamUnreachable):
        return Ended.UPSTREAM_ERROR
    return Ended.INTERNAL_ERROR if isinstance(error, InternalError) else Ended.REFUSED


def entry_of(exchange: Exchange, ended: Ended, reading: Reading) -> Entry:
    """The entry of `exchange`, which has just ended. Times are cut to microseconds (`round` costs more)."""
    now = exchange.line.clock.monotonic()
    head = exchange.response_head
    principal = exchange.principal
    session = exchange.request.fields.text(SESSION)
    upstream_id = head.fields.text(REQUEST_ID) if head is not None else None
    return Entry(
        id=exchange.id,
        started_at=datetime.fromtimestamp(exchange.started_at, UTC),
        method=exchange.request.method.decode(),
        path=exchange.route.path or shown(exchange.request.target),
        ended=ended,
        principal=principal.kind if principal is not None else None,
        credential=principal.credential_kind if principal is not None else None,
        client_address=exchange.line.client_address(exchange.client.peer, exchange.request.fields),
        session_id=session and session[:MAX_TEXT],
        model=exchange.call.model and exchange.call.model[:MAX_TEXT],
        stream=exchange.call.stream is True,
        status=exchange.status,
        error=exchange.error,
        upstream_request_id=upstream_id and upstream_id[:MAX_TEXT],
        attempts=exchange.attempts,
        usage=reading.usage,
        usage_complete=reading.complete,
        request_bytes=exchange.body_bytes,
        response_bytes=exchange.response_bytes,
        time_to_first_byte_seconds=None
        if head is None
        else int((exchange.answered_at - exchange.started) * 1e6) / 1e6,
        duration_seconds=int((now - exchange.started) * 1e6) / 1e6,
        overhead_seconds=int(exchange.overhead_seconds * 1e6) / 1e6 if exchange.attempts else None,
    )
