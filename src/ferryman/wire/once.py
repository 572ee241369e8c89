"""What is decoded of request bodies, in which no key may stand twice.

Apart from who decodes it, since `hatch_build.py` can compile no module that defines a dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ferryman.model import Metadata
from ferryman.wire.edit import twice


class Once:
    """A field of a dataclass that msgspec may set once: a key that stands twice is an error."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __set__(self, head: object, value: object) -> None:
        fields = head.__dict__
        if self._name in fields:
            raise twice(self._name)
        fields[self._name] = value


@dataclass(init=False, repr=False, eq=False)
class Counted:
    """A `Call` for which a key that stands twice is an error.

    msgspec sets the field of a dataclass for every key that names it, however the key is spelled; of a
    Struct it keeps the last one and tells nothing. To look for a second key in all bytes would double
    the cost of reading.
    """

    model: str | None = Once("model")  # type: ignore[assignment]
    stream: bool | None = None
    max_tokens: int | None = Once("max_tokens")  # type: ignore[assignment]
    metadata: Metadata | None = Once("metadata")  # type: ignore[assignment]
    litellm_metadata: msgspec.Raw = Once("litellm_metadata")  # type: ignore[assignment]


@dataclass(init=False, repr=False, eq=False)
class Requests:
    """The requests of a batch, each as it came."""

    requests: list[msgspec.Raw] = Once("requests")  # type: ignore[assignment]  # a descriptor
