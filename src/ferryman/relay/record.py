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
from ferryman.ledger.records import Opened
from ferryman.model import Ended, Entry
from ferryman.relay.attribute import MAX_TEXT, hints
from ferryman.relay.route import shown
from ferryman.relay.values import Reading
from ferryman.wire.names import REQUEST_ID

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange


def ended_by(error: RelayError) -> Ended:
    """How an exchange ends that ends with `error`."""
    if isinstance(error, UpstreamTimeout):
        return Ended.TIMEOUT
    if isinstance(error, UpstreamInvalid | UpstreamUnreachable):
        return Ended.UPSTREAM_ERROR
    return Ended.INTERNAL_ERROR if isinstance(error, InternalError) else Ended.REFUSED


def outcome(
    ended: Ended, error: str | None, fault: str | None, *, client_gone: bool
) -> tuple[Ended, str | None]:
    """How an exchange ended and what went wrong, all told.

    Args:
        ended: what ended it.
        error: what went wrong on the way, `None` if nothing did.
        fault: what the meter finds wrong with the answer.
        client_gone: it went on without its client.
    """
    if ended is Ended.DONE:
        if fault is not None:
            return Ended.UPSTREAM_ERROR, fault
        return (Ended.CLIENT_GONE if client_gone else ended), error
    if ended is Ended.UPSTREAM_ERROR and error is None:
        return ended, fault
    return ended, error


def opened_of(exchange: Exchange) -> Opened:
    """What is known of `exchange` when its request goes upstream."""
    principal = exchange.principal
    charged = exchange.attribution or hints(exchange.request.fields)
    return Opened(
        id=exchange.id,
        started_at=datetime.fromtimestamp(exchange.started_at, UTC),
        method=exchange.request.method.decode(),
        path=exchange.route.path,
        attempts=exchange.attempts + 1,
        request_bytes=exchange.body_bytes,
        stream=exchange.call.stream is True,
        principal=principal.kind if principal is not None else None,
        credential=principal.credential_kind if principal is not None else None,
        client_address=exchange.line.client_address(exchange.client.peer, exchange.request.fields),
        session_id=charged.session_id,
        end_user=charged.end_user,
        tags=charged.tags,
        spend_logs_metadata=charged.spend_logs_metadata,
        agent_id=charged.agent_id,
        parent_agent_id=charged.parent_agent_id,
        request_class=charged.request_class,
        agent_type=charged.agent_type,
        model=exchange.call.model and exchange.call.model[:MAX_TEXT],
    )


def entry_of(exchange: Exchange, ended: Ended, reading: Reading) -> Entry:
    """The entry of `exchange`, which has just ended. Times are cut to microseconds (`round` costs more)."""
    now = exchange.line.clock.monotonic()
    head = exchange.response_head
    principal = exchange.principal
    charged = exchange.attribution or hints(exchange.request.fields)
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
        session_id=charged.session_id,
        end_user=charged.end_user,
        tags=charged.tags,
        spend_logs_metadata=charged.spend_logs_metadata,
        agent_id=charged.agent_id,
        parent_agent_id=charged.parent_agent_id,
        request_class=charged.request_class,
        agent_type=charged.agent_type,
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
