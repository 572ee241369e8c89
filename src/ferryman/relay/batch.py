"""What Ferryman does with message batches: see that their results are read through it, and what they cost.

An answer that shows batches is held, so that its `results_url` can be edited: the official clients follow it
with the caller's credential. Results are read line by line as they go by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from ferryman.errors import UpstreamInvalid
from ferryman.hosts import TrustedProxies
from ferryman.http1.client import Body
from ferryman.http1.message import Fields, ResponseHead
from ferryman.http1.request import is_host
from ferryman.model import BatchResults, Ended, NewBatch
from ferryman.pricing.batch import Tally, held_nanousd
from ferryman.relay.address import is_proxy
from ferryman.relay.held import MAX_ANSWER_BYTES, noted, put, text_of
from ferryman.relay.route import batch_id_of
from ferryman.relay.values import Reading
from ferryman.wire.batch import REFUSED, Asked, asked_in, batch_id_in, with_results_urls
from ferryman.wire.names import CODING, FORWARDED_HOST, FORWARDED_PROTO
from ferryman.wire.request import decoded
from ferryman.wording import without_keys

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange
    from ferryman.relay.meter import Meter

log = structlog.get_logger("ferryman.relay")

MAX_DECODED_BODY_BYTES = 1 << 25
"""A compressed body of a creation is read this far: a tenth of a second. No official client compresses."""

RESULTS_URL = "results_url"

WATCHED = frozenset({FORWARDED_HOST, FORWARDED_PROTO})

BaseOf = Callable[[str, Fields], str]


def base_reader(public_url: str | None, trusted: TrustedProxies | None, *, over_tls: bool) -> BaseOf:
    """What tells under which URL a client has called us, from a connection's peer and a request's headers.

    Args:
        public_url: says so for all of them.
        trusted: proxies whose `X-Forwarded-Host` counts. `X-Forwarded-Proto: https` counts from everybody:
            all it can do is to keep a credential off an open line.
        over_tls: we listen with TLS.
    """

    def read(peer: str, fields: Fields) -> str:
        host = fields.found.get(b"host", b"")
        if is_proxy(peer, trusted):
            told = _first(fields, FORWARDED_HOST)
            host = told if told and is_host(told) else host
        if not host:  # HTTP/1.0: below our own root
            return ""
        scheme = "https" if over_tls or _first(fields, FORWARDED_PROTO).lower() == b"https" else "http"
        return f"{scheme}://{host.decode('ascii', 'replace')}"

    if public_url is None:
        return read
    base = public_url.rstrip("/")
    return lambda _peer, _fields: base


def _first(fields: Fields, name: bytes) -> bytes:
    return fields.found.get(name, b"").partition(b",")[0].strip()


class ShownMeter:
    """For an answer that shows batches or the like: it is held until it can be edited.

    Attributes:
        batch: that was created, once it is known.
    """

    __slots__ = ("_bytes", "batch", "holds")
    over = False
    at_boundary = False
    failed = False

    def __init__(self, batch: NewBatch | None) -> None:
        """`batch` is without an id, `None` where none is created."""
        self.holds = True
        self.batch = batch
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """See that it does not become too long."""
        self._bytes += len(data)
        self.holds = self._bytes <= MAX_ANSWER_BYTES

    def reading(self) -> Reading:
        """No usage."""
        return Reading(None, complete=True, fault=None)


class ResultsMeter:
    """For the results of a batch."""

    __slots__ = ("_tally",)
    over = False
    at_boundary = False
    failed = False
    holds = False

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def feed(self, data: bytes) -> None:
        """Add up the next results."""
        self._tally.feed(data)

    def reading(self) -> Reading:
        """None of it is the caller's to pay: see `results`."""
        return Reading(None, complete=True, fault=None)

    def results(self) -> BatchResults | None:
        """All results, once they have come."""
        return self._tally.results()


class BatchCall(NamedTuple):
    """The creation of a batch.

    Attributes:
        new: the batch, without an id yet.
        asked: what its requests ask for, `None` where the body cannot be read.
    """

    new: NewBatch
    asked: Asked | None

    @property
    def names(self) -> frozenset[str]:
        """Of all models that are asked for, as far as that can be read."""
        return self.asked.names if self.asked is not None else frozenset()


def batch_call(exchange: Exchange) -> BatchCall:
    """The batch that `exchange`, whose body is whole, is to create."""
    body: Body | None = exchange.body
    if (packed := exchange.request.fields.found.get(CODING)) is not None:
        body = decoded(exchange.body, packed, MAX_DECODED_BODY_BYTES)
    asked = asked_in(body) if body is not None else None  # what was cut cannot be read
    if body is None or asked is None:
        return BatchCall(NewBatch(""), None)
    return batch_of(exchange, asked, len(body))


def batch_of(exchange: Exchange, asked: Asked, body_bytes: int) -> BatchCall:
    """The batch that `exchange` is to create, of which is known what its requests ask for."""
    at = datetime.fromtimestamp(exchange.started_at, UTC)
    hold = held_nanousd(asked, body_bytes, at, exchange.line.catalog)
    models: dict[str, int] = {}
    for name, number in asked.models.items():
        kept = without_keys(name)
        models[kept] = models.get(kept, 0) + number
    return BatchCall(NewBatch("", asked.requests, models, hold), asked)


def batch_meter(exchange: Exchange, head: ResponseHead, otherwise: Meter) -> Meter:
    """The meter for an answer about batches.

    Args:
        exchange: on a route about batches.
        head: of the answer.
        otherwise: for an answer in which there is nothing for us.
    """
    if not 200 <= head.status < 300:
        return otherwise
    line, at = exchange.line, datetime.fromtimestamp(exchange.started_at, UTC)
    if exchange.route.batch == "results":
        batch_id = batch_id_of(exchange.route.target)
        coding = head.fields.found.get(CODING, b"identity").lower()
        if head.status != 200 or not batch_id or coding != b"identity":
            return otherwise
        return ResultsMeter(Tally(batch_id, line.catalog, at))
    return ShownMeter(exchange.batch.new if exchange.batch is not None else None)


def edit_answer(exchange: Exchange, held: bytearray, *, end: bool) -> bool:
    """Put each `results_url` of an answer below the URL that the client has called.

    The exchange's head of the answer and its list of changes are made to agree. With an answer that is too
    long, or cannot be read, the exchange has failed: it could send the client's credential elsewhere.

    Args:
        exchange: its meter is a `ShownMeter`.
        held: the body so far, edited in place.
        end: it is whole.

    Returns:
        Whether there is an answer.
    """
    head, meter = exchange.response_head, exchange.meter
    if (end and not held) or head is None or not isinstance(meter, ShownMeter):
        return True
    text = text_of(head, held) if end else None
    told = None
    if text is not None:
        with contextlib.suppress(*REFUSED):
            told = with_results_urls(text, _base(exchange))
    if text is None or told is None:
        problem = "The upstream's answer about batches cannot be read, so that its `results_url` cannot be "
        exchange.fail(UpstreamInvalid(problem + "edited; it would send the client's credential elsewhere."))
        return False
    if meter.batch is not None:
        meter.batch = msgspec.structs.replace(meter.batch, id=batch_id_in(text) or "")
    if told == text:
        return True
    put(head, held, told)
    exchange.mutations = noted(exchange.mutations, RESULTS_URL)
    return True


def _base(exchange: Exchange) -> str:
    base = exchange.line.base_of(exchange.client.peer, exchange.request.fields)
    return base + ("/anthropic" if exchange.route.path.startswith("/anthropic/") else "")


def created_by(meter: Meter) -> NewBatch | None:
    """The batch that an exchange has created, `None` if it has not, or nobody has told its id."""
    batch = meter.batch if isinstance(meter, ShownMeter) else None
    return batch if batch is not None and batch.id else None


def with_batch(record: bytes, meter: Meter, ended: Ended) -> bytes:
    """The JSON of an `Entry`, with what its exchange tells of a batch."""
    if (batch := created_by(meter)) is not None:
        return b'%b,"batch":%b}' % (record[:-1], msgspec.json.encode(batch))
    if isinstance(meter, ResultsMeter) and ended is Ended.DONE and (results := meter.results()) is not None:
        return b'%b,"settles":%b}' % (record[:-1], msgspec.json.encode(results))
    return record
