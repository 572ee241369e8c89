"""How far a journal has been read: what is stored with the entries that were read."""

from __future__ import annotations

import msgspec

from ferryman.model import Usage


class Live(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An exchange that is not closed, as far as it was told of.

    Attributes:
        opened: the JSON of an `Opened`, which is read only if nothing closes it: nearly all are closed.
        usage: that was seen.
    """

    opened: msgspec.Raw
    usage: Usage | None = None


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a journal has been read.

    Attributes:
        worker: the name of its directory.
        segment: the number of the segment that is being read, 0 before the first.
        offset: bytes of it that have been read.
        sequence: the number of the last record read.
        carried: the exchanges that were open where the segment begins.
        finished: what was open at `offset` has been settled as interrupted.
    """

    worker: str
    segment: int = 0
    offset: int = 0
    sequence: int = 0
    carried: tuple[Live, ...] = ()
    finished: bool = False
