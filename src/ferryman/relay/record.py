"""The record of an exchange, made of what the exchange has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ferryman.errors import (
    InternalError,
    RelayError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ferryman.model import Ended, Principal, Usage
from ferryman.relay.attribute import MAX_TEXT, hints, traceparent_of
from ferryman.relay.batch import with_batch
from ferryman.relay.ownership import with_made
from ferryman.relay.route import shown
from ferryman.relay.shapes import Caller, Outcome
from ferryman.relay.values import Attribution
from ferryman.wire.names import REQUEST_ID
from ferryman.wording import without_keys

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange


class KnownCaller:
    """A `Caller` as JSON, for the next request with the same head and the same `charged`."""

    __slots__ = ("charged", "principal", "text")

    def __init__(self, charged: Attribution, principal: Principal | None, text: bytes) -> None:
        self.charged = charged
        self.principal = principal
        self.text = text


DONE: Final = Ended.DONE
"""A member of an enum is found by its metaclass, in Python; a constant at once."""


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
    if ended is DONE:
        if fault is not None:
            return Ended.UPSTREAM_ERROR, fault
        return (Ended.CLIENT_GONE if client_gone else ended), error
    if ended is Ended.UPSTREAM_ERROR and error is None:
        return ended, fault
    return ended, error


_UNSET: Final = msgspec.UNSET
_encode: Final = msgspec.json.Encoder().encode


def opening_of(exchange: Exchange, *, sends_whole: bool = False) -> bytes:
    """What is known of `exchange` when its request goes upstream: the JSON of an `Opened`.

    It is also the beginning of its entry's JSON, so that nothing is encoded twice.

    Args:
        exchange: whose.
        sends_whole: all of the request's body has come.
    """
    text = b'{"id":"%b","started_at":%b,%b' % (
        exchange.id.encode(),
        exchange.line.moments.json(exchange.started_at),
        _caller(exchange),
    )
    call = exchange.call
    if call.model is not None:
        text += b',"model":' + _encode(without_keys(call.model)[:MAX_TEXT])
    if call.stream is True:
        text += b',"stream":true'
    return b'%b,"request_bytes":%d}' % (text, exchange.body_bytes) if sends_whole else text + b"}"


def _caller(exchange: Exchange) -> bytes:
    fields = exchange.request.fields
    principal = exchange.caller.principal if exchange.caller is not None else None
    charged = exchange.attribution or hints(fields)
    known = fields.third_memo
    if isinstance(known, KnownCaller) and known.charged is charged and known.principal is principal:
        return known.text
    caller = Caller(
        method=exchange.request.method.decode(),
        path=exchange.route.path or shown(exchange.request.target),
        principal=principal.id if principal is not None else None,
        credential=principal.credential_kind if principal is not None else None,
        user_id=principal.user_id if principal is not None else None,
        team_id=principal.team_id if principal is not None else None,
        client_address=exchange.line.client_address(exchange.client.peer, fields),
        session_id=charged.session_id,
        end_user=charged.end_user,
        tags=charged.tags,
        spend_logs_metadata=charged.spend_logs_metadata,
        agent_id=charged.agent_id,
        parent_agent_id=charged.parent_agent_id,
        request_class=charged.request_class,
        agent_type=charged.agent_type,
        traceparent=traceparent_of(fields),
    )
    text = _encode(caller)[1:-1]
    fields.third_memo = KnownCaller(charged, principal, text)
    return text


def record_of(exchange: Exchange, ended: Ended, usage: Usage | None, *, complete: bool) -> bytes:
    """The JSON of the `Entry` of `exchange`, which has just ended, with the `usage` that is billed.

    Times are cut to microseconds (`round` costs more).
    """
    now = exchange.line.monotonic()
    head = exchange.response_head
    upstream_id = head.fields.text(REQUEST_ID) if head is not None else None
    opening = exchange.opening
    told = opening.endswith(b',"request_bytes":%d}' % exchange.body_bytes)
    outcome = Outcome(
        ended,
        exchange.attempts,
        complete,
        exchange.response_bytes,
        int((now - exchange.started) * 1e6) / 1e6,
        _UNSET if told else exchange.body_bytes,
        exchange.status,
        exchange.error,
        upstream_id and upstream_id[:MAX_TEXT],
        usage,
        exchange.cost,
        None if head is None else int((exchange.answered_at - exchange.started) * 1e6) / 1e6,
        int(exchange.overhead_seconds * 1e6) / 1e6 if exchange.attempts else None,
        None if exchange.mutations == "none" else exchange.mutations,
    )
    record = b"%b,%b" % ((opening or opening_of(exchange))[:-1], _encode(outcome)[1:])
    record = with_made(record, exchange.claim)
    return with_batch(record, exchange.meter, ended) if exchange.route.batch else record
