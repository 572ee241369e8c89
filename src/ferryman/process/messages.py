"""What processes tell each other: JSON behind its length, on sockets that only they can reach."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from ferryman.settings import Settings

LENGTH_BYTES = 4

MAX_MESSAGE_BYTES = 64 << 20
"""A snapshot with 100,000 keys has about 20 MB; anything larger is a mistake."""


class Handover(msgspec.Struct, frozen=True):
    """What the supervisor hands to a process that it has started.

    Attributes:
        role: `worker` or `control`.
        number: of a worker, from 1 on; 0 for the control plane.
        settings: in force, with the port that was picked.
        directory: where the processes meet; see `ferryman.process.directory.RuntimeDirectory`.
        listen_fd: the Unix socket that the workers listen on, `None` where each opens its own.
    """

    role: str
    number: int
    settings: Settings
    directory: str
    listen_fd: int | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A process does its work."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A process comes round its loop; see `ferryman.process.child.BEAT_SECONDS`."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A process cannot start because of a setting; a sentence for each problem."""

    problems: list[str]


class ProcessState(msgspec.Struct, frozen=True):
    """A process as the supervisor sees it.

    Attributes:
        role: `supervisor`, `control` or `worker`.
        number: of a worker, from 1 on; 0 for the others.
        state: `starting`, `running`, `waiting` (to be started again) or `stopping`.
        pid: `None` while it is waiting.
        started_at: Unix time in seconds, `None` while it is waiting.
        restarts: since the supervisor was started.
    """

    role: str
    number: int
    state: str
    pid: int | None
    started_at: float | None
    restarts: int


class WorkerState(msgspec.Struct, frozen=True):
    """A worker as it sees itself.

    Attributes:
        number: from 1 on.
        pid: of its process.
        live: exchanges that are not over.
        pool_open: upstream connections, idle ones included.
        held_bytes: of request bodies in memory.
        snapshot_version: of what it works with, 0 for nothing yet.
    """

    number: int
    pid: int
    live: int
    pool_open: int
    held_bytes: int
    snapshot_version: int


class Snapshot(msgspec.Struct, frozen=True):
    """What workers work with, whole.

    Attributes:
        version: grows with each change, also over restarts of the control plane.
        data: by name; empty until there are keys, prices and budgets.
    """

    version: int
    data: dict[str, msgspec.Raw]


T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def framed(message: msgspec.Struct | list[ProcessState]) -> bytes:
    """`message` as it goes over a socket."""
    text = _encode(message)
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


async def read_message(stream: asyncio.StreamReader, kind: type[T]) -> T | None:
    """The next message, `None` when the other side has gone.

    Raises:
        ValueError: it is too large, or not of this `kind`.
    """
    try:
        length = int.from_bytes(await stream.readexactly(LENGTH_BYTES), "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes; at most {MAX_MESSAGE_BYTES}")
        return msgspec.json.decode(await stream.readexactly(length), type=kind)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
