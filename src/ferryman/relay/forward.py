"""What becomes of a request under way: when it is sent again, when it goes on without its client."""

from __future__ import annotations

from ferryman.errors import Overloaded, RelayError, Unavailable, UpstreamTimeout, UpstreamUnreachable
from ferryman.http1.origin import Origin
from ferryman.model import Call
from ferryman.relay.values import LineLimits, Route

STALE_SECONDS = 2.0
"""A connection that the upstream had closed already dies within a round trip of being used."""


def may_ask_again(attempts: int, waited_seconds: float, *, fresh: bool, answered: bool) -> bool:
    """Whether a lost request may be sent once more without the risk of paying for it twice.

    Only where the connection had served before (the upstream may have closed it as idle while our
    request was on its way), brought no byte of an answer, and died at once: an upstream that was
    silent for longer may have been at work.
    """
    return attempts == 1 and not fresh and not answered and waited_seconds < STALE_SECONDS


def lost(origin: Origin, error: Exception | None, *, answered: bool) -> RelayError:
    """The error for a connection that ended before its answer did.

    Args:
        origin: the upstream.
        error: why it ended, `None` when the upstream closed it; one for clients is passed on.
        answered: at least one byte of the answer had come.
    """
    if isinstance(error, RelayError):
        return error
    if origin.scheme == "unix":
        return Unavailable("Ferryman's control plane ended before its answer did; try again in a moment.")
    when = "before the end of its answer" if answered else "without an answer"
    reason = f" ({error})" if error is not None else ""
    return UpstreamUnreachable(f"The upstream {origin} closed the connection {when}{reason}; try again.")


def silent(origin: Origin, limits: LineLimits, *, answered: bool) -> UpstreamTimeout:
    """The error for an upstream that has neither sent nor taken anything for as long as it may."""
    if origin.scheme == "unix":
        return UpstreamTimeout(f"Ferryman's control plane sent nothing for {limits.first_byte_seconds:g} s.")
    seconds, name = limits.first_byte_seconds, "first_byte_timeout_seconds"
    if answered:
        seconds, name = limits.stream_idle_seconds, "stream_idle_timeout_seconds"
    return UpstreamTimeout(f"The upstream {origin} sent nothing for {seconds:g} s (`{name}`); try again.")


def shutting_down() -> RelayError:
    """The error for an exchange that the worker has no more time for."""
    return Overloaded("Ferryman is shutting down; try again in a moment.")


def worth_finishing(route: Route, call: Call, limits: LineLimits, *, draining: int, whole: bool) -> bool:
    """Whether a request whose client has left is let finish, so that its cost is told.

    A stream tells what it has cost as it goes and would go on costing, so it is ended; of any other
    answer only the end tells the usage. `on_disconnect` changes either.

    Args:
        route: where the request goes; worth it is what is metered, and the id of a new batch, without which
            nobody can tell later what it has cost.
        call: what it asks for.
        limits: the bounds.
        draining: exchanges that go on without their clients already.
        whole: all of the request has come.
    """
    if not ((route.metered or route.batch == "create") and whole) or draining >= limits.drains:
        return False
    if limits.on_disconnect == "auto":
        return call.stream is not True
    return limits.on_disconnect == "drain"
