"""`usage` out of a JSON answer or out of the events of a stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from ferryman.model import CacheCreation, OutputTokensDetails, ServerToolUse, Usage
from ferryman.wire.scan import TopLevelObject
from ferryman.wire.shapes import Answer, Event, LooseAnswer, LooseEvent, Typed

_T = TypeVar("_T")

_ESCAPE = re.compile(rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)


class Report(NamedTuple):
    """What a `message_start` or `message_delta` reports.

    Attributes:
        kind: which of them it is.
        model: that answers; `message_delta` does not tell it.
        stop_reason: why the answer ended, `None` if it has not.
        category: of a refusal, from its `stop_details`.
    """

    kind: str
    usage: Usage
    model: str | None = None
    stop_reason: str | None = None
    category: str | None = None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises at hostile bytes; the last at deep nesting."""

_decode_answer: Final = msgspec.json.Decoder(Answer).decode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_type = msgspec.json.Decoder(Typed).decode
_decode_loose_answer = msgspec.json.Decoder(LooseAnswer).decode
_decode_loose_event = msgspec.json.Decoder(LooseEvent).decode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode
_decode_usage = msgspec.json.Decoder(Usage).decode
_NOTHING = Answer()


def readable(decode: Callable[[bytes | bytearray], _T], data: bytes | bytearray) -> _T:
    """What `decode` makes of `data`, with texts in it that are none put right.

    JSON may escape one half of a character of UTF-16 (RFC 8259, section 8.2), and an answer that is cut
    within an emoji does; the decoder then refuses all of it. What is not UTF-8 it refuses where it looks.

    Raises:
        UNREADABLE: as `decode` does.
    """
    try:
        return decode(data)
    except msgspec.ValidationError:
        raise
    except UnicodeDecodeError:
        return decode(data.decode(errors="replace").encode())
    except msgspec.DecodeError:
        mended = _ESCAPE.sub(lambda found: b"\\ufffd" if len(found[0]) > 2 else found[0], data)
        if mended == data:
            raise
        return decode(mended)


def answer_of(body: bytes | bytearray) -> Answer:
    """What a JSON answer tells; nothing if it isn't a JSON object."""
    try:
        answer = readable(_decode_answer, body)
    except UNREADABLE:
        pass
    else:
        if answer.usage is None or not answer.usage.iterations:
            return answer
        return msgspec.structs.replace(answer, usage=_in_utf8(answer.usage))
    try:
        loose = readable(_decode_loose_answer, body)
    except RecursionError:
        return Answer(usage=_usage_below_deep_nesting(body))
    except UNREADABLE:
        return _NOTHING
    return Answer(
        loose.model if isinstance(loose.model, str) else None,
        _salvage(loose.usage) if isinstance(loose.usage, dict) else None,
        loose.stop_reason if isinstance(loose.stop_reason, str) else None,
    )


def _in_utf8(usage: Usage) -> Usage:
    """`usage` with `iterations` that are text: the decoder does not look into what is kept as it came."""
    if not usage.iterations:
        return usage
    kept = []
    for raw in usage.iterations:
        data = bytes(raw)
        try:
            data.decode()
        except UnicodeDecodeError:
            raw = msgspec.Raw(data.decode(errors="replace").encode())  # noqa: PLW2901  # in its place
        kept.append(raw)
    return msgspec.structs.replace(usage, iterations=kept)


def _usage_below_deep_nesting(body: bytes | bytearray) -> Usage | None:
    """The top-level `usage` of an answer that is nested more deeply than the decoder goes."""
    scan = TopLevelObject(b"usage")
    scan.feed(bytes(body))
    return None if scan.value is None else usage_of_object(scan.value)


def report_of_event(data: bytes) -> Report | None:
    """What a `message_start` or `message_delta` reports; `None` for every other event."""
    try:
        event = readable(_decode_event, data)
    except UNREADABLE:
        return _report_of_odd_event(data)
    kind, usage = event.type, event.usage
    if kind == "message_start":
        message = event.message
        if message is None or message.usage is None:
            return None
        return Report(
            kind, _in_utf8(message.usage) if message.usage.iterations else message.usage, message.model
        )
    if kind != "message_delta" or usage is None:
        return None
    usage = _in_utf8(usage)
    delta = event.delta
    if delta is None:
        return Report(kind, usage)
    category = delta.stop_details.category if delta.stop_details is not None else None
    return Report(kind, usage, None, delta.stop_reason, category)


def _report_of_odd_event(data: bytes) -> Report | None:
    try:
        odd = readable(_decode_loose_event, data)
    except UNREADABLE:
        return None
    source = odd.message if odd.type == "message_start" else msgspec.structs.asdict(odd)
    if odd.type not in ("message_start", "message_delta") or not isinstance(source, dict):
        return None
    usage, model = source.get("usage"), source.get("model")
    if not isinstance(usage, dict):
        return None
    model = model if isinstance(model, str) else None
    return Report(str(odd.type), _salvage(usage), model, *_ending(odd.delta))


def _ending(delta: object) -> tuple[str | None, str | None]:
    """Stop reason and category in an odd `message_delta`; neither if the category is none that we know."""
    stop_reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    if not isinstance(delta, dict) or not isinstance(stop_reason, str):
        return None, None
    details = delta.get("stop_details")
    category = details.get("category") if isinstance(details, dict) else details
    if category is None or isinstance(category, str):
        return stop_reason, category
    return None, None


def type_of_event(data: bytes) -> str | None:
    """The `type` of an event's data, `None` if it has none."""
    try:
        return readable(_decode_type, data).type
    except UNREADABLE:
        return None


def usage_of_object(data: bytes) -> Usage | None:
    """A `usage` object by itself, `None` if it isn't one."""
    try:
        return _in_utf8(_decode_usage(data))
    except UNREADABLE:
        pass
    try:
        return _salvage(_decode_object(data))
    except UNREADABLE:
        return None


def _salvage(fields: dict[str, object]) -> Usage:
    """What can be used of a `usage` in which some field has a type that we don't know.

    A later API version may change one field; the tokens in the others must still be counted.
    """
    kept: dict[str, object] = {}
    for name in Usage.__struct_fields__:
        value = fields.get(name)
        try:
            if name == "iterations":
                kept[name] = [msgspec.Raw(_encode(v)) for v in value] if isinstance(value, list) else None
            else:
                kept[name] = msgspec.convert(value, _FIELD_TYPES[name])
        except msgspec.ValidationError:
            kept[name] = None
    return Usage(**kept)  # type: ignore[arg-type]  # converted to each field's type above


_FIELD_TYPES: dict[str, object] = {
    "input_tokens": int | None,
    "output_tokens": int | None,
    "cache_creation_input_tokens": int | None,
    "cache_read_input_tokens": int | None,
    "cache_creation": CacheCreation | None,
    "server_tool_use": ServerToolUse | None,
    "output_tokens_details": OutputTokensDetails | None,
    "service_tier": str | None,
    "inference_geo": str | None,
    "speed": str | None,
}
