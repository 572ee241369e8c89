"""What is decoded of answers and events.

Apart from who decodes it, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

import msgspec

from ferryman.model import Usage


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What is looked at in an answer, or in the message that a stream begins with."""

    model: str | None = None
    usage: Usage | None = None
    stop_reason: str | None = None


class StopDetails(msgspec.Struct, gc=False):
    """`stop_details` of a `message_delta`."""

    category: str | None = None


class Delta(msgspec.Struct, gc=False):
    """`delta` of a `message_delta`."""

    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct, gc=False):
    """What is looked at in an event."""

    type: str | None = None
    message: Answer | None = None
    usage: Usage | None = None
    delta: Delta | None = None


class Typed(msgspec.Struct, gc=False):
    """An event of which only the type is of interest."""

    type: str | None = None


class LooseAnswer(msgspec.Struct, gc=False):
    """An `Answer` in which some field has a type that we don't know."""

    model: object = None
    usage: object = None
    stop_reason: object = None


class LooseEvent(msgspec.Struct, gc=False):
    """An `Event` in which some field has a type that we don't know."""

    type: object = None
    message: object = None
    usage: object = None
    delta: object = None
