"""A Messages stream as chunks of a chat completion, as it goes by, in bounded memory.

Sources: anthropic 2.12.0, types/raw_*_event.py; openai 2.54.0, types/chat/chat_completion_chunk.py and
_streaming.py, which reads an `error` out of the data of any event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from ferryman.model import Usage
from ferryman.translate.chat_answer import (
    AnswerPart,
    arguments_of,
    chat_usage,
    finish_reason,
    refusal_of,
)
from ferryman.translate.chat_error import error_of_event
from ferryman.translate.terms import Block, encode
from ferryman.wire.sse import WholeEvents, data_of
from ferryman.wire.usage import UNREADABLE, readable, report_of_event

DONE = b"data: [DONE]\n\n"

PING = b": ping\n\n"
"""A comment, which every reader of event streams passes over: it keeps the connection in use."""


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: object = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    message: _Message | None = None
    content_block: AnswerPart | None = None
    delta: _Delta | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ChatStream:
    """Makes the chunks of one stream.

    Attributes:
        over: the stream has come to its end, with `[DONE]` or with an error.
    """

    __slots__ = (
        "_calls", "_created_at", "_events", "_given", "_id", "_in_call", "_model", "_tells_usage",
        "_told_input", "_usage", "over",
    )  # fmt: skip

    def __init__(self, created_at: int, *, tells_usage: bool) -> None:
        """Begin.

        Args:
            created_at: seconds since 1970.
            tells_usage: a last chunk tells it, and the others have a `usage` that is `null`.
        """
        self._events = WholeEvents()
        self._created_at = created_at
        self._tells_usage = tells_usage
        self._id = self._model = ""
        self._usage = Usage()
        self._calls = 0
        self._in_call = self._told_input = False
        self._given = ""  # the input of a call as its block began
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """The chunks for the next bytes of the Messages stream, as events; empty for none."""
        whole = self._events.cut(data)
        if not whole:
            return b""
        made = [self._of(data_of(event)) for event in whole.split(b"\n\n") if event]
        return b"".join(made)

    def error(self, body: bytes) -> bytes:
        """`body`, an error in OpenAI's shape, as the last event."""
        self.over = True
        return b"data: %b\n\n" % body

    def _of(self, data: bytes) -> bytes:
        if self.over or not data:
            return b""
        try:
            event = readable(_decode, data)
        except UNREADABLE:
            return b""  # one that is not known, or too deep: there is nothing in it for a chat
        read = self._READERS.get(event.type)
        return b"" if read is None else read(self, event, data)

    def _begin(self, event: _Event, data: bytes) -> bytes:
        message = event.message or _Message()
        self._id, self._model = message.id or "", message.model or ""
        self._count(data)
        return self._chunk({"role": "assistant", "content": ""})

    def _count(self, data: bytes) -> None:
        if (report := report_of_event(data)) is not None:
            self._usage = self._usage.updated(report.usage)

    def _of_start(self, event: _Event, _: bytes) -> bytes:
        block = event.content_block or AnswerPart()
        if block.type == "text" and block.text:
            return self._chunk({"content": block.text})
        if block.type == "thinking" and block.thinking:
            return self._chunk({"reasoning_content": block.thinking})
        self._in_call = block.type == "tool_use"
        if not self._in_call:
            return b""
        self._told_input, self._given = False, arguments_of(block.input)
        function = {"name": block.name or "", "arguments": ""}
        call = {"index": self._calls, "id": block.id, "type": "function", "function": function}
        self._calls += 1
        return self._chunk({"tool_calls": [call]})

    def _of_delta(self, event: _Event, _: bytes) -> bytes:
        delta = event.delta or _Delta()
        if delta.text and delta.type == "text_delta":
            return self._chunk({"content": delta.text})
        if delta.thinking and delta.type == "thinking_delta":
            return self._chunk({"reasoning_content": delta.thinking})
        if delta.partial_json and delta.type == "input_json_delta" and self._in_call:
            self._told_input = True
            return self._arguments(delta.partial_json)
        return b""

    def _of_stop(self, _: _Event, __: bytes) -> bytes:
        """The input of a call that came with the beginning of its block, as an empty one does."""
        if not self._in_call:
            return b""
        self._in_call = False
        return b"" if self._told_input else self._arguments(self._given)

    def _arguments(self, text: str) -> bytes:
        call = {"index": self._calls - 1, "function": {"arguments": text}}
        return self._chunk({"tool_calls": [call]})

    def _end(self, event: _Event, data: bytes) -> bytes:
        delta = event.delta or _Delta()
        self._count(data)
        if delta.stop_reason is None:
            return b""
        told: Block = {}
        if delta.stop_reason == "refusal":
            told["refusal"] = refusal_of(delta.stop_reason, delta.stop_details)
        return self._chunk(told, finish_reason(delta.stop_reason))

    def _close(self, _: _Event, __: bytes) -> bytes:
        self.over = True
        if not self._tells_usage:
            return DONE
        return _event({**self._head(), "choices": [], "usage": chat_usage(self._usage)}) + DONE

    def _broken(self, _: _Event, data: bytes) -> bytes:
        return self.error(error_of_event(data))

    def _ping(self, _: _Event, __: bytes) -> bytes:
        return PING

    def _chunk(self, delta: Block, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: Block = {**self._head(), "choices": [choice]}
        if self._tells_usage:
            chunk["usage"] = None
        return _event(chunk)

    def _head(self) -> Block:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created_at,
            "model": self._model,
        }

    _READERS: ClassVar[Mapping[str, Callable[[ChatStream, _Event, bytes], bytes]]] = {
        "content_block_delta": _of_delta,
        "content_block_start": _of_start,
        "content_block_stop": _of_stop,
        "error": _broken,
        "message_delta": _end,
        "message_start": _begin,
        "message_stop": _close,
        "ping": _ping,
    }


def _event(data: Block) -> bytes:
    return b"data: %b\n\n" % encode(data)
