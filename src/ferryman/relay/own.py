"""The way to Ferryman's own paths: a line to the control plane, beside that to the upstream."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from ferryman.http1.dial import UnixDialer
from ferryman.http1.fields import FieldReader
from ferryman.http1.pool import Pool, PoolLimits
from ferryman.relay.line import Line
from ferryman.relay.prepare import UpstreamFace
from ferryman.relay.target import Target
from ferryman.relay.values import LineLimits
from ferryman.wire.names import OWN_CREDENTIALS, UPSTREAM_CREDENTIALS

CONNECTIONS = 64
"""Requests for own paths at once: people, a scraper, and whoever makes keys."""

HELD_BYTES = 16 << 20
"""Bodies of such requests in memory at once."""

ANSWER_SECONDS = 60.0
"""For the control plane to begin an answer, and between two parts of it: a report may take a while."""

_LIMITS = PoolLimits(
    connections=CONNECTIONS,
    connect_seconds=5.0,
    # None is kept: a connection over a Unix socket costs 0.1 ms, and none is ever stale, so that no
    # request has to be asked again that may have been carried out.
    idle_seconds=0.0,
    age_seconds=60.0,
)


def control_line(
    line: Line, socket_path: str, *, monotonic: Callable[[], float], dropped: AbstractSet[bytes],
    reader: FieldReader,
) -> Line:  # fmt: skip
    """The line to the control plane that listens on `socket_path`.

    Its exchanges count among those of `line`; they are neither metered nor recorded.

    Args:
        line: that to the upstream.
        socket_path: of the control plane.
        monotonic: the clock, in seconds.
        dropped: names of the request headers that do not go upstream; the credentials among them are
            the control plane's business.
        reader: reads response headers.
    """
    pool = Pool(UnixDialer(socket_path), _LIMITS, monotonic=monotonic, reader=reader)
    limits = LineLimits(
        body_bytes=0,
        batch_bytes=0,
        upload_bytes=0,
        held_bytes=HELD_BYTES,
        first_byte_seconds=ANSWER_SECONDS,
        stream_idle_seconds=ANSWER_SECONDS,
        client_stall_seconds=line.limits.client_stall_seconds,
        on_disconnect="cancel",
        drain_seconds=0,
        drains=0,
    )
    credentials = dropped & (OWN_CREDENTIALS | UPSTREAM_CREDENTIALS)
    handed_on = tuple(sorted(credentials))
    face = UpstreamFace(
        b"", b"ferryman", b"", handed_on, adds_version=False, client_address=line.client_address
    )
    return line.beside(Target("control", pool, face), limits)
