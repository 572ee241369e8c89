"""What processes tell each other: JSON behind its length, on sockets that only they can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ferryman.limits.owner import Owner
from ferryman.settings import Settings

LENGTH_BYTES = 4

PRICES = "prices"
"""The part of a snapshot with the operator's prices: `ferryman.settings_prices.PriceRules`."""

MODELS = "models"
"""The part with models and aliases, where they are needed: `ferryman.aliases.ModelList`."""

OWNERS_PATH = "/control/owners"
"""Where a worker asks who made what."""

BODIES_PATH = "/control/bodies"
"""Where a worker tells what was asked and answered, for `log_bodies`."""

MAX_PART_BYTES = 1 << 20
"""Of a part of a snapshot. Parts should have 64 KiB or less: decoding that holds up a worker for a
millisecond, and a change costs the parts that it touches."""

MAX_SNAPSHOT_BYTES = 128 << 20
"""Of all parts: 100,000 keys with a budget and two limits each have 63 MB."""

MAX_MESSAGE_BYTES = MAX_PART_BYTES + 4_096
"""The largest message is a part with its name."""


class Rereads(msgspec.Struct, frozen=True):
    """A settings file that is looked at again while we run.

    Attributes:
        file: its path.
        names: the settings that it may change: those that no other source decides.
    """

    file: str
    names: tuple[str, ...]


class Handover(msgspec.Struct, frozen=True):
    """What the supervisor hands to a process that it has started.

    Attributes:
        role: `worker` or `control`.
        number: of a worker, from 1 on; 0 for the control plane.
        settings: in force, with the port that was picked.
        directory: where the processes meet; see `ferryman.process.directory.RuntimeDirectory`.
        listen_fd: the Unix socket that the workers listen on, `None` where each opens its own.
        rereads: `None` where there is no settings file.
    """

    role: str
    number: int
    settings: Settings
    directory: str
    listen_fd: int | None = None
    rereads: Rereads | None = None


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


class PoolState(msgspec.Struct, frozen=True):
    """The connections of a worker to an upstream.

    Attributes:
        upstream: scheme, host and port.
        open: including those that are idle, and those being opened.
        idle: that wait for a request.
        opened: since the worker was started.
    """

    upstream: str
    open: int
    idle: int
    opened: int


class WorkerState(msgspec.Struct, frozen=True, tag="state"):
    """A worker as it sees itself.

    Attributes:
        number: from 1 on.
        pid: of its process.
        live: exchanges that are not over.
        pool_open: upstream connections, idle ones included.
        held_bytes: of request bodies in memory.
        snapshot_version: of what it works with, 0 for nothing yet.
        pools: its upstreams.
        ready: it takes requests.
        journal_healthy: what it writes down is kept.
        bodies_dropped: exchanges of which no bodies are kept, though they should be, since it was started.
    """

    number: int
    pid: int
    live: int
    pool_open: int
    held_bytes: int
    snapshot_version: int
    pools: tuple[PoolState, ...] = ()
    ready: bool = True
    journal_healthy: bool = True
    bodies_dropped: int = 0


class Wanted(msgspec.Struct, frozen=True, tag="wanted"):
    """What calls in a worker wait for.

    Attributes:
        scopes: ids of scopes that are not known, such as those of new sessions.
        rows: of the table of counters: budgets whose window has begun, or of which this machine may not spend
            enough; each with what is needed in nano-dollars.
    """

    scopes: list[str]
    rows: dict[int, int]


class OwnersQuestion(msgspec.Struct, frozen=True):
    """A worker asks who made the resources with these ids of Anthropic's."""

    ids: list[str]


class OwnersAnswer(msgspec.Struct, frozen=True):
    """Who made them, by id; those that nobody is known to have made are left out."""

    owners: dict[str, Owner]


class BodyCopy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of a request or of an answer, or its beginning.

    Attributes:
        data: as it went over the wire; of a request decoded.
        total_bytes: of all of it.
        type, coding: the values of `Content-Type` and `Content-Encoding`.
    """

    data: bytes
    total_bytes: int
    type: str = ""
    coding: str = ""


class KeptBodies(msgspec.Struct, frozen=True, gc=False):
    """The bodies of an exchange that is over.

    Attributes:
        id: of its entry.
        started_at: Unix time in seconds.
        mode: `redacted` or `full`: how they are to be kept.
        response: `None` if nothing was answered.
    """

    id: str
    started_at: float
    mode: str
    request: BodyCopy
    response: BodyCopy | None = None


class BodiesTold(msgspec.Struct, frozen=True):
    """A worker tells of bodies."""

    exchanges: list[KeptBodies]


class Part(msgspec.Struct, frozen=True, tag="part"):
    """A part of what workers work with, which takes the place of the one before of that name.

    Attributes:
        name: of the part, such as that of the prices or of some of the keys.
        data: its JSON.
    """

    name: str
    data: msgspec.Raw


class Removed(msgspec.Struct, frozen=True, tag="removed"):
    """There is no such part any more."""

    name: str


class Version(msgspec.Struct, frozen=True, tag="version"):
    """All parts of a version have been told: from here on it holds.

    Attributes:
        version: grows with each change, as long as one control plane lives.
        whole: all parts were told since the connection began, else those that have changed.
    """

    version: int
    whole: bool


class Snapshot(NamedTuple):
    """What a worker works with.

    Attributes:
        version: of the control plane that it came from.
        parts: what was made of each, by name.
    """

    version: int
    parts: Mapping[str, Any]


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
