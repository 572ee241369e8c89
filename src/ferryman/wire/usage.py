"""`usage` out of a JSON answer or out of the events of a stream."""

from __future__ import annotations

import msgspec

from ferryman.model import CacheCreation, OutputTokensDetails, ServerToolUse, Usage
from ferryman.wire.scan import TopLevelObject


class _Answer(msgspec.Struct, gc=False):
    model: str | None = None
    usage: Usage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    message: _Answer | None = None
    usage: Usage | None = None


class _Type(msgspec.Struct, gc=False):
    type: str | None = None


class _LooseAnswer(msgspec.Struct, gc=False):
    usage: dict[str, object] | None = None


class _LooseEvent(msgspec.Struct, gc=False):
    type: object = None
    message: object = None
    usage: object = None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises at hostile bytes; the last at deep nesting."""

_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_type = msgspec.json.Decoder(_Type).decode
_decode_loose_answer = msgspec.json.Decoder(_LooseAnswer).decode
_decode_loose_event = msgspec.json.Decoder(_LooseEvent).decode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode
_decode_usage = msgspec.json.Decoder(Usage).decode


def usage_of_answer(body: bytes) -> Usage | None:
    """The top-level `usage` of a JSON answer, `None` if it has none or isn't a JSON object."""
    try:
        return _decode_answer(body).usage
    except UNREADABLE:
        pass
    try:
        loose = _decode_loose_answer(body).usage
    except RecursionError:
        return _usage_below_deep_nesting(body)
    except UNREADABLE:
        return None
    return None if loose is None else _salvage(loose)


def _usage_below_deep_nesting(body: bytes) -> Usage | None:
    """The top-level `usage` of an answer that is nested more deeply than the decoder goes."""
    scan = TopLevelObject(b"usage")
    scan.feed(body)
    return None if scan.value is None else usage_of_object(scan.value)


def usage_of_event(data: bytes) -> tuple[str, Usage] | None:
    """Type and `usage` of a `message_start` or `message_delta`; `None` for every other event."""
    try:
        event = _decode_event(data)
        kind, usage = event.type, event.usage
        if kind == "message_start":
            usage = event.message.usage if event.message is not None else None
    except UNREADABLE:
        return _usage_of_odd_event(data)
    if kind not in {"message_start", "message_delta"} or usage is None:
        return None
    return kind, usage


def _usage_of_odd_event(data: bytes) -> tuple[str, Usage] | None:
    try:
        odd = _decode_loose_event(data)
    except UNREADABLE:
        return None
    usage = odd.usage
    if odd.type == "message_start":
        usage = odd.message.get("usage") if isinstance(odd.message, dict) else None
    if odd.type not in ("message_start", "message_delta") or not isinstance(usage, dict):
        return None
    return str(odd.type), _salvage(usage)


def type_of_event(data: bytes) -> str | None:
    """The `type` of an event's data, `None` if it has none."""
    try:
        return _decode_type(data).type
    except UNREADABLE:
        return None


def usage_of_object(data: bytes) -> Usage | None:
    """A `usage` object by itself, `None` if it isn't one."""
    try:
        return _decode_usage(data)
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
