"""A message as server-sent events, in the order in which the API sends them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ferryman.simulator import usage as usages
from ferryman.simulator.answer import Message
from ferryman.simulator.control import Control
from ferryman.simulator.validate import Block

CHARACTERS_PER_DELTA = 24
UNKNOWN_TYPE = "simulator_note"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, or with an empty `data` a mere comment."""

    data: dict[str, Any]
    comment: str | None = None

    @property
    def is_delta(self) -> bool:
        """Whether it carries a piece of the answer's content."""
        return self.data.get("type") == "content_block_delta"

    def encode(self, line_end: str = "\n") -> bytes:
        """The event as it is sent, with the empty line that ends it."""
        lines = [] if self.comment is None else [f": {self.comment}"]
        if self.data:
            lines += [f"event: {self.data['type']}", f"data: {msgspec.json.encode(self.data).decode()}"]
        return "".join(line + line_end for line in [*lines, ""]).encode()


def message_events(message: Message, control: Control) -> Iterator[Event]:
    """The events of a message, with what the control adds to them."""
    events = _pinged(_bare_events(message, control), with_pings=not control.no_pings)
    if control.unknown_events:
        events = _noted(events)
    return _commented(events) if control.comments else events


def _bare_events(message: Message, control: Control) -> Iterator[Event]:
    start_usage, delta_usages = usages.split(message.usage, control.start_usage, control.deltas)
    opening = {
        **{name: value for name, value in message.fields.items() if name != "context_management"},
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": start_usage,
    }
    yield Event({"type": "message_start", "message": opening})
    for index, block in enumerate(message.content):
        yield Event({"type": "content_block_start", "index": index, "content_block": _opened(block)})
        for delta in _deltas(block, control):
            yield Event({"type": "content_block_delta", "index": index, "delta": delta})
        yield Event({"type": "content_block_stop", "index": index})
    *early, last = delta_usages
    for usage in early:
        open_end = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        yield Event({"type": "message_delta", "delta": open_end, "usage": usage})
    ending = {
        "stop_reason": message.stop_reason,
        "stop_sequence": message.stop_sequence,
        "stop_details": message.stop_details,
    }
    managed = {name: message.fields[name] for name in ("context_management",) if name in message.fields}
    yield Event({"type": "message_delta", "delta": ending, "usage": last, **managed})
    yield Event({"type": "message_stop"})


def _opened(block: Block) -> dict[str, Any]:
    """The block as content_block_start shows it: what comes by deltas is empty."""
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
        "server_tool_use": {"input": {}},
    }
    return {**block, **empty.get(block["type"], {})}


def _deltas(block: Block, control: Control) -> Iterator[dict[str, str]]:
    kind = block["type"]
    if kind == "text":
        for piece in _pieces(block["text"], control.events):
            yield {"type": "text_delta", "text": piece}
    elif kind == "thinking":
        if block["thinking"]:
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif kind in {"tool_use", "server_tool_use"}:
        yield {"type": "input_json_delta", "partial_json": ""}  # the API begins with an empty one
        for piece in _pieces(msgspec.json.encode(block["input"]).decode()):
            yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str, count: int | None = None) -> Iterator[str]:
    """Divide a text into `count` pieces of nearly the same length, which are empty if it is too short."""
    count = count or -(-len(text) // CHARACTERS_PER_DELTA)
    for index in range(count):
        yield text[index * len(text) // count : (index + 1) * len(text) // count]


def _pinged(events: Iterator[Event], *, with_pings: bool) -> Iterator[Event]:
    waiting = with_pings
    for event in events:
        if waiting and event.data["type"] in {"content_block_delta", "content_block_stop", "message_delta"}:
            waiting = False
            yield Event({"type": "ping"})
        yield event


def _noted(events: Iterator[Event]) -> Iterator[Event]:
    """Add an event that no client knows before the first piece of content and before the last two events."""
    seen_delta = False
    for event in events:
        if (event.is_delta and not seen_delta) or event.data["type"] in {"message_delta", "message_stop"}:
            yield Event({"type": UNKNOWN_TYPE, "note": f"before {event.data['type']}"})
        seen_delta = seen_delta or event.is_delta
        yield event


def _commented(events: Iterator[Event]) -> Iterator[Event]:
    """Add comments, in turn as blocks of their own and as the first line of an event."""
    for number, event in enumerate(events):
        if number % 2:
            yield Event(event.data, comment=f"simulator {number}")
        else:
            yield Event({}, comment=f"simulator {number}")
            yield event
