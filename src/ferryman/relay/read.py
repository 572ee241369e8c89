"""The body of a request: which bounds it has, and what its client is told beyond them."""

from __future__ import annotations

from ferryman.errors import BodyTooLarge, Overloaded
from ferryman.relay.values import LineLimits, Route

SMALL_BODY_BYTES = 65_536
"""A body up to this size is read to its end before anything is done with it: so a refused request
leaves its connection usable, and a request that the upstream loses can be sent again."""


def body_limit(route: Route, limits: LineLimits) -> tuple[int, str]:
    """How large a body may be, in bytes, and the setting that says so."""
    if route.reads_call:
        return limits.body_bytes, "max_body_bytes"
    if route.whole:
        return limits.batch_bytes, "max_batch_bytes"
    return limits.upload_bytes, "max_upload_bytes"


def room_for(route: Route, length: int, held_bytes: int, limits: LineLimits) -> int:
    """How large the body of a request may become, in bytes.

    Args:
        route: where the request goes.
        length: what it announces, 0 if nothing.
        held_bytes: of the bodies in memory.
        limits: the bounds of both.

    Raises:
        BodyTooLarge: it announces more.
        Overloaded: what it announces cannot be held now.
    """
    limit_bytes, _ = body_limit(route, limits)
    if length > limit_bytes:
        raise too_large(route, limits)
    if route.whole and held_bytes + length > limits.held_bytes:
        raise no_room(limits.held_bytes)
    return limit_bytes


def too_large(route: Route, limits: LineLimits) -> BodyTooLarge:
    """The error for a larger body than a request on `route` may have."""
    limit_bytes, name = body_limit(route, limits)
    return BodyTooLarge(f"The request body is larger than {limit_bytes} bytes (`{name}`).")


def no_room(limit_bytes: int) -> Overloaded:
    """The error for a body that does not fit beside those that are held already."""
    return Overloaded(
        f"The requests under way hold {limit_bytes} bytes of bodies already (`max_held_bytes`); "
        "try again in a moment."
    )
