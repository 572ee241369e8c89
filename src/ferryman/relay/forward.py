"""When a lost request may be sent again, and what its client is told otherwise."""

from __future__ import annotations

from ferryman.errors import UpstreamUnreachable
from ferryman.http1.origin import Origin

STALE_SECONDS = 2.0
"""A connection that the upstream had closed already dies within a round trip of being used."""


def may_ask_again(attempts: int, waited_seconds: float, *, fresh: bool, answered: bool) -> bool:
    """Whether a lost request may be sent once more without the risk of paying for it twice.

    Only where the connection had served before (the upstream may have closed it as idle while our
    request was on its way), brought no byte of an answer, and died at once: an upstream that was
    silent for longer may have been at work.
    """
    return attempts == 1 and not fresh and not answered and waited_seconds < STALE_SECONDS


def connection_lost(origin: Origin, error: Exception | None, *, answered: bool) -> UpstreamUnreachable:
    """The error for a connection that ended before its answer did.

    Args:
        origin: the upstream.
        error: why it ended, `None` when the upstream closed it.
        answered: at least one byte of the answer had come.
    """
    when = "before the end of its answer" if answered else "without an answer"
    reason = f" ({error})" if error is not None else ""
    return UpstreamUnreachable(f"The upstream {origin} closed the connection {when}{reason}; try again.")
