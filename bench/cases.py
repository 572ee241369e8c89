"""The cases of the bench: what kind of load, for how long, on which targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import targets
from bench.payloads import Exchange, write_json_exchange, write_stream_exchange

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = 1000
STREAM_INTERVAL_MS = 100
# From the first stream's first event to the last one's: some 0.5 s on the machine this was written on.
OPENING_SECONDS = 3.0
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Case:
    """A kind of load."""

    name: str
    title: str
    mode: str
    """`closed`, `open` or `hold`, as `load.c` knows them."""
    connections: int
    seconds: float
    """How long it is measured; with `hold`, with all streams open."""
    exchange: Exchange
    unit: str
    """What CPU time is divided by: `request` or `event`."""
    rate: int = 1
    targets: tuple[str, ...] = (targets.NGINX, targets.FERRYMAN)
    max_rounds: int = 1000


def make_cases(directory: Path, *, quick: bool) -> list[Case]:
    """All cases, their requests and answers written to `directory`."""
    seconds = 1.0 if quick else 3.0
    hold = 2.0 if quick else 5.0
    deltas = int((OPENING_SECONDS + SETTLE_SECONDS + hold) * 1000 / STREAM_INTERVAL_MS)
    small = write_json_exchange(directory, "json_1kb", 1024)
    large = write_json_exchange(directory, "json_100kb", 100 * 1024)
    flood = write_stream_exchange(directory, "sse", 2000, interval_ms=0)
    paced = write_stream_exchange(directory, "streams", deltas, STREAM_INTERVAL_MS)
    return [
        Case(
            "json_1kb",
            "1 KB request and answer",
            "closed",
            32,
            seconds,
            small,
            "request",
            targets=(targets.NGINX, targets.FERRYMAN, targets.PURE),
        ),
        Case("json_100kb", "100 KB request, 1 KB answer", "closed", 16, seconds, large, "request"),
        Case("sse", "SSE, unpaced", "closed", 8, seconds, flood, "event"),
        Case(
            "latency",
            "200 requests/s",
            "open",
            8,
            seconds + 1,
            small,
            "request",
            rate=200,
            targets=(targets.DIRECT, targets.NGINX, targets.FERRYMAN),
        ),
        # Memory hardly moves from run to run, and this is the longest case.
        Case("streams", f"{STREAMS:,} paced streams", "hold", STREAMS, hold, paced, "event", max_rounds=3),
    ]
