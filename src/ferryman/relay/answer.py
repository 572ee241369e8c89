"""How an answer is looked at as it goes by: with which meter, and what is edited of one that is held."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ferryman.errors import RelayError
from ferryman.http1.message import ResponseHead
from ferryman.relay.batch import batch_meter, edit_answer
from ferryman.relay.chat import chat_meter, put_answer
from ferryman.relay.meter import Meter, meter_for
from ferryman.relay.respond import error_event

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange


def meter_of(exchange: Exchange, head: ResponseHead) -> Meter:
    """The meter for the answer of `exchange`, which has this head."""
    line, route, claim = exchange.line, exchange.route, exchange.claim
    if route.metered:
        on_made = claim.note if claim is not None else None
        seen = meter_for(head, partial(line.recorder.seen, exchange.id), on_made)
        return seen if exchange.chat is None else chat_meter(exchange, head, seen)
    meter = batch_meter(exchange, head, exchange.meter) if route.batch else exchange.meter
    return meter if line.ownership is None else line.ownership.meter(exchange, head, meter)


def last_event(exchange: Exchange, error: RelayError) -> bytes:
    """The event that ends the answer of `exchange`, which has begun; empty where there is no room for one."""
    if exchange.chat is not None:
        return exchange.chat.broken(error)
    return error_event(error, exchange.id) if exchange.meter.at_boundary else b""


def shows(exchange: Exchange, held: bytearray, *, end: bool) -> bool:
    """Whether an answer that is held goes on to its client; what is edited of it, is now.

    If not, the exchange has failed, or waits, and its `show` is called again.

    Args:
        exchange: whose.
        held: the body so far, edited in place.
        end: it is whole.
    """
    ownership = exchange.line.ownership
    if ownership is not None and not ownership.shows(exchange, held, end=end):
        return False
    if exchange.chat is not None:
        return put_answer(exchange, held, end=end)
    return not exchange.route.batch or edit_answer(exchange, held, end=end)
