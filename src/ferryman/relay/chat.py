"""Chat completions: a request in OpenAI's format goes on as one for a message, and its answer back.

Everything between, from the gate to the record, knows only the Messages request and its answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ferryman.errors import BodyTooLarge, InternalError, InvalidRequest, RelayError, UpstreamInvalid
from ferryman.http1.client import Body
from ferryman.http1.fields import without
from ferryman.http1.message import ResponseHead
from ferryman.relay.held import MAX_ANSWER_BYTES, put, text_of
from ferryman.relay.meter import Meter
from ferryman.relay.read import SMALL_BODY_BYTES
from ferryman.relay.values import Reading
from ferryman.translate.chat_answer import chat_completion
from ferryman.translate.chat_error import chat_error, chat_error_of
from ferryman.translate.chat_request import ChatCall, messages_call
from ferryman.translate.chat_stream import ChatStream
from ferryman.wire.names import CODING
from ferryman.wire.request import decoded
from ferryman.wire.splice import Splice

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

log = structlog.get_logger("ferryman.relay")

TRANSLATED = Splice(0, 0, b"", "openai")
"""Names the change in `x-ferryman-mutations`: the body is another one already."""

_TYPE = b"content-type"
_TYPES = frozenset({_TYPE})
_JSON = b"application/json"
_REQUEST_ID = frozenset({b"x-request-id"})  # where OpenAI's clients look for it
_PLAIN = frozenset({b"", b"identity"})
_BROKEN = UpstreamInvalid("The upstream's answer ended before it was whole; try again.")


class Chat:
    """The chat completion that an exchange serves.

    Attributes:
        stream: makes the chunks of its answer, `None` until a stream has begun.
    """

    __slots__ = ("_tells_usage", "stream")

    def __init__(self, *, tells_usage: bool) -> None:
        """`tells_usage`: a stream ends with the usage."""
        self._tells_usage = tells_usage
        self.stream: ChatStream | None = None

    def begin(self, created_at: int) -> None:
        """The answer is a stream."""
        self.stream = ChatStream(created_at, tells_usage=self._tells_usage)

    def passed(self, data: bytes, *, end: bool) -> bytes:
        """What the client gets for the next bytes of the answer; with `end` they are the last."""
        stream = self.stream
        if stream is None:
            return data
        made = stream.feed(data)
        if end and not stream.over:
            made += stream.error(chat_error(_BROKEN))
        return made

    def broken(self, error: RelayError) -> bytes:
        """The event that ends a stream with `error`; empty where there is no room for one."""
        stream = self.stream
        return b"" if stream is None or stream.over else stream.error(chat_error(error))


class WholeMeter:
    """For an answer that is translated whole: it is held, and another meter looks at it."""

    __slots__ = ("_bytes", "_inner")
    over = False
    at_boundary = False
    failed = False

    def __init__(self, inner: Meter) -> None:
        self._inner = inner
        self._bytes = 0

    @property
    def holds(self) -> bool:
        """Until it is too long."""
        return self._bytes <= MAX_ANSWER_BYTES

    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the body."""
        self._bytes += len(data)
        self._inner.feed(data)

    def reading(self) -> Reading:
        """The inner meter's."""
        return self._inner.reading()


def read_chat(exchange: Exchange) -> None:
    """Translate the whole body of `exchange`, and go on with it; a large one on a thread."""
    coding = exchange.request.fields.found.get(CODING)
    if coding is None and len(exchange.body) <= SMALL_BODY_BYTES:
        _take(exchange, _call_in(exchange.body))
    else:
        exchange.line.tasks.spawn(_aside(exchange, coding), "translate")


async def _aside(exchange: Exchange, coding: bytes | None) -> None:
    limit_bytes = exchange.line.limits.body_bytes
    try:
        made = await asyncio.to_thread(_decoded_call, exchange.body, coding, limit_bytes)
    except Exception:  # whatever it is, the client must not wait for ever because of it
        log.exception("translation failed", id=exchange.id)
        made = InternalError("Ferryman failed at the translation of the request; its log says why.")
    _take(exchange, made)


def _take(exchange: Exchange, made: ChatCall | RelayError) -> None:
    if exchange.settled:  # the client has left meanwhile
        return
    if isinstance(made, RelayError):
        exchange.fail(made)
    else:
        exchange.go_on_with(made.body, Chat(tells_usage=made.tells_usage))


def _decoded_call(body: Body, coding: bytes | None, limit_bytes: int) -> ChatCall | RelayError:
    text: Body | None = body
    if coding is not None and (text := decoded(body, coding, limit_bytes)) is None:
        return InvalidRequest("The request body's `content-encoding` cannot be read; send it without one.")
    if text is None or len(text) > limit_bytes:
        return BodyTooLarge(
            f"The decoded request body is larger than {limit_bytes} bytes (`max_body_bytes`)."
        )
    return _call_in(text)


def _call_in(body: Body) -> ChatCall | RelayError:
    try:
        return messages_call(body)
    except RelayError as error:
        return error.with_traceback(None)


def chat_meter(exchange: Exchange, head: ResponseHead, meter: Meter) -> Meter:
    """What looks at the answer, whose head is made to agree with the translation.

    Args:
        exchange: that serves a chat completion.
        head: of the answer.
        meter: for a Messages answer with this head.
    """
    fields = head.fields
    kind = fields.found.get(_TYPE, b"").partition(b";")[0].strip().lower()
    fields.kept = without(fields.kept, _REQUEST_ID) + b"\r\nx-request-id: " + exchange.id.encode()
    plain = b",".join(fields.values(CODING)).lower() in _PLAIN
    if head.status == 200 and kind == b"text/event-stream" and plain and exchange.chat is not None:
        exchange.chat.begin(int(exchange.started_at))
        head.length = None
        return meter
    if kind != _JSON:
        fields.kept = without(fields.kept, _TYPES) + b"\r\ncontent-type: " + _JSON
    return WholeMeter(meter)


def put_answer(exchange: Exchange, held: bytearray, *, end: bool) -> bool:
    """Put the chat completion, or the error, in the place of a whole answer.

    Args:
        exchange: whose answer it is.
        held: the body so far, edited in place.
        end: it is whole.

    Returns:
        Whether there is one; without, the exchange has failed.
    """
    head = exchange.response_head
    assert head is not None  # noqa: S101  # its meter was made of it
    text = text_of(head, held) if end else None
    told: bytes | None = None
    if text is not None and head.status == 200:
        told = chat_completion(text, int(exchange.started_at))
    elif text is not None:
        told = chat_error_of(text, head.status)
    if told is None:
        exchange.fail(UpstreamInvalid("The upstream's answer cannot be read as a message, nor translated."))
        return False
    put(head, held, told)
    return True
