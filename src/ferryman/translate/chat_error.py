"""Errors in OpenAI's shape, with the status and headers that stay Anthropic's.

Source: openai 2.54.0, _exceptions.py: `message`, `type`, `param` and `code` are what its clients read.
"""

from __future__ import annotations

import msgspec

from ferryman.errors import RelayError
from ferryman.translate.terms import Refused, encode
from ferryman.wire.usage import UNREADABLE, readable

QUOTA = "insufficient_quota"
"""OpenAI's code for a budget that is spent; its clients tell it from a rate limit by it."""

_BUDGETS = frozenset({"billing_error"})


class _Told(msgspec.Struct, gc=False):
    type: str = "api_error"
    message: str = ""
    details: object = None


class _Error(msgspec.Struct, gc=False):
    error: _Told


_decode = msgspec.json.Decoder(_Error).decode


def chat_error(error: RelayError) -> bytes:
    """The body that tells of an `error` of our own."""
    param = error.param if isinstance(error, Refused) else None
    return _body(error.message, error.error_type, error.error_code, param)


def chat_error_of(body: bytes | bytearray, status: int) -> bytes:
    """The body for an answer of the upstream's that is an error.

    Args:
        body: of the answer, without its content coding; in whatever shape.
        status: of the answer.
    """
    told = _told(body)
    if told is None:
        text = bytes(body[:200]).decode(errors="replace").strip()
        said = f": {text}" if text else ""
        return _body(f"The upstream answered with status {status}{said}", "api_error", None, None)
    code = told.details.get("error_code") if isinstance(told.details, dict) else None
    return _body(told.message, told.type, code if isinstance(code, str) else None, None)


def error_of_event(data: bytes) -> bytes:
    """The body for the data of an `error` event."""
    told = _told(data)
    if told is None:
        return _body("The upstream broke off its answer.", "api_error", None, None)
    return _body(told.message, told.type, None, None)


def _told(data: bytes | bytearray) -> _Told | None:
    try:
        return readable(_decode, data).error
    except UNREADABLE:
        return None


def _body(message: str, kind: str, code: str | None, param: str | None) -> bytes:
    if kind in _BUDGETS:
        code = QUOTA
    return encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
