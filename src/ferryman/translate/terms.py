"""Words that the modules here share."""

from __future__ import annotations

from typing import Any

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import SHOWN_CHARACTERS, shown, without_keys

Block = dict[str, Any]
"""A JSON object: a content block of Anthropic's, a tool, or a message."""

ABSENT_RAW = msgspec.Raw(b"")
"""In the place of a field that is not there."""

encode = msgspec.json.Encoder().encode


class Refused(InvalidRequest):
    """What is asked for cannot be translated; `param` names it as OpenAI's errors do."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = without_keys(param[:SHOWN_CHARACTERS])


def refused(param: str, problem: str) -> Refused:
    """The error that says what is wrong with `param`; a client's own name in it is not endless."""
    return Refused(param, f"{shown(param)} {problem}")


def value_of(data: bytes | bytearray | msgspec.Raw, param: str) -> object:
    """The JSON value `data`, which stands at `param`.

    Raises:
        Refused: it cannot be read.
    """
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        raise refused(param, "cannot be read: it is no JSON, or nested too deeply.") from None
