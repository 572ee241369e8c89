"""What is decoded of answers that show resources: the places where Anthropic itself puts ids.

Apart from who decodes it, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

import msgspec


class WithId(msgspec.Struct, gc=False):
    """A container, or what a file belongs to."""

    id: object = None


class Output(msgspec.Struct, gc=False):
    """One of `outputs`, of a dream."""

    memory_store_id: object = None


class ResourceObject(msgspec.Struct, gc=False):
    """A resource by itself, or on a page of a list."""

    id: object = None
    scope: WithId | None = None
    deployment_id: object = None
    session_id: object = None
    outputs: list[Output] | None = None


class Part(msgspec.Struct, gc=False):
    """A part of a block that tells of a file."""

    file_id: object = None


class Result(msgspec.Struct, gc=False):
    """What a tool has given back."""

    content: list[Part] | None = None


class BlockType(msgspec.Struct, gc=False):
    """A content block of which only the type is of interest."""

    type: object = None


class ResultBlock(msgspec.Struct, gc=False):
    """A content block with what a tool has given back."""

    content: Result | None = None


class Holder(msgspec.Struct, gc=False):
    """A message, or its `delta`: what can tell of a container."""

    container: WithId | None = None
    content: msgspec.Raw = msgspec.Raw()


class ShowingEvent(msgspec.Struct, gc=False):
    """An event of a stream."""

    message: Holder | None = None
    delta: Holder | None = None
    content_block: msgspec.Raw = msgspec.Raw()
