"""The body of an answer that is held until it has been read: as text, and as another one."""

from __future__ import annotations

from ferryman.http1.fields import without
from ferryman.http1.message import ResponseHead
from ferryman.wire.names import CODING
from ferryman.wire.request import decoded

MAX_ANSWER_BYTES = 4 << 20
"""Of an answer that shows resources. The longest page has 1,000 of them; a batch has about 600 bytes."""

_PLAIN = frozenset({b"", b"identity"})
_CODING = frozenset({CODING})


def text_of(head: ResponseHead, held: bytearray) -> bytes | None:
    """The body `held` of an answer without its content coding; `None` if it cannot be, or is too long."""
    coding = b",".join(head.fields.values(CODING)).lower()
    text = bytes(held) if coding in _PLAIN else decoded(held, coding, MAX_ANSWER_BYTES)
    return text if text is not None and len(text) <= MAX_ANSWER_BYTES else None


def put(head: ResponseHead, held: bytearray, text: bytes) -> None:
    """Make `text` the body of an answer; its head is made to agree."""
    fields = head.fields
    if CODING in fields.found:
        fields.kept = without(fields.kept, _CODING)
        fields.repeated = [name for name in fields.repeated if name != CODING]
        del fields.found[CODING]
    held[:] = text
    head.length = None if head.length is None else len(text)


def noted(mutations: str, name: str) -> str:
    """The value of `x-ferryman-mutations` with one more change."""
    return name if mutations == "none" else f"{mutations}, {name}"
