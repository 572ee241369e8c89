"""The body of a request: which bounds it has, and what its client is told beyond them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ferryman.errors import BodyTooLarge, Overloaded, RelayError
from ferryman.http1.client import Body
from ferryman.http1.message import Request
from ferryman.model import Call
from ferryman.relay.values import LineLimits, Route
from ferryman.wire.request import decoded, read_call

CONTROL_BODY_BYTES = 1 << 20
"""Of a request for one of Ferryman's own paths: the longest names some thousand keys."""

SMALL_BODY_BYTES: Final = 65_536
"""A body up to this size is read to its end before anything is done with it: so a refused request
leaves its connection usable, and a request that the upstream loses can be sent again."""


def body_limit(route: Route, limits: LineLimits) -> tuple[int, str]:
    """How large a body may be, in bytes, and what says so."""
    if route.control:
        return CONTROL_BODY_BYTES, "own paths take no more"
    if route.reads_call:
        return limits.body_bytes, "`max_body_bytes`"
    if route.whole:
        return limits.batch_bytes, "`max_batch_bytes`"
    return limits.upload_bytes, "`max_upload_bytes`"


def room_for(route: Route, request: Request, held_bytes: int, limits: LineLimits) -> int:
    """How large the body of a request may become, in bytes.

    Args:
        route: where the request goes.
        request: its head, which may announce a length.
        held_bytes: of the bodies in memory.
        limits: the bounds of both.

    Raises:
        BodyTooLarge: it announces more.
        Overloaded: what it announces cannot be held now.
    """
    limit_bytes = limits.body_bytes if route.reads_call else body_limit(route, limits)[0]
    length = request.length or 0
    if length > limit_bytes:
        raise too_large(route, limits)
    if route.whole and held_bytes + length > limits.held_bytes:
        raise no_room(limits.held_bytes)
    return limit_bytes


def too_large(route: Route, limits: LineLimits) -> BodyTooLarge:
    """The error for a larger body than a request on `route` may have."""
    limit_bytes, name = body_limit(route, limits)
    return BodyTooLarge(f"The request body is larger than {limit_bytes} bytes ({name}).")


def call_in(body: Body) -> Call | RelayError:
    """The call in `body`, or why it is refused."""
    try:
        return read_call(body)
    except RelayError as error:
        return error


async def call_aside(
    body: Body, coding: bytes, limits: LineLimits, on_call: Callable[[Call | RelayError, Body], None]
) -> None:
    """Read the call in a compressed `body` on a thread: it can take a tenth of a second.

    Args:
        body: as it came.
        coding: the value of `Content-Encoding`.
        limits: the decoded body may be as large as one that comes as it is.
        on_call: gets the call, or why it is refused, and the body that this was read of. Where the body
            cannot be decoded, the call is empty.
    """
    text = await asyncio.to_thread(decoded, body, coding, limits.body_bytes)
    if text is None:
        on_call(Call(), body)
    elif len(text) <= limits.body_bytes:
        on_call(call_in(text), text)
    else:
        on_call(
            BodyTooLarge(
                f"The decoded request body is larger than {limits.body_bytes} bytes (`max_body_bytes`)."
            ),
            body,
        )


def ends_at_once(error: RelayError, request: Request) -> bool:
    """Whether a refused `request` is answered before its body has come, which ends its connection.

    So it is where the body costs something, and where nginx and haproxy end what they cannot read.
    """
    if (request.length or 0) > SMALL_BODY_BYTES or request.expects_continue:
        return True
    return error.status in {400, 405}


def no_room(limit_bytes: int) -> Overloaded:
    """The error for a body that does not fit beside those that are held already."""
    return Overloaded(
        f"The requests under way hold {limit_bytes} bytes of bodies already (`max_held_bytes`); "
        "try again in a moment."
    )
