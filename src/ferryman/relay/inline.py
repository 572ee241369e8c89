"""Images and PDFs that a request names by URL, for an upstream that takes none: they are fetched first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ferryman.errors import InternalError, InvalidRequest, RelayError
from ferryman.http1.client import Body
from ferryman.relay.fetch.values import edits, failures
from ferryman.relay.read import no_room
from ferryman.wire.images import UrlSource, url_sources
from ferryman.wire.splice import Splice

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange
    from ferryman.relay.fetch.images import Images
    from ferryman.relay.line import Line

LARGE_BYTES = 262_144
"""A body above this size is searched on a thread: in a megabyte it takes some milliseconds."""

log = structlog.get_logger("ferryman.relay")


def inlines(exchange: Exchange, text: Body) -> bool:
    """Whether `exchange` waits for what its request names by URL; its `go_on` is called then.

    Args:
        exchange: it has been let through, and its upstream is known.
        text: its body, without a content coding.

    Raises:
        InvalidRequest: the body cannot be read where a URL stands.
    """
    images = exchange.line.images
    if images is None or exchange.target.manners.images == "off" or not exchange.route.reads_call:
        return False
    found = url_sources(text) if len(text) <= LARGE_BYTES else None
    if found == []:
        return False
    exchange.fetching = exchange.line.tasks.spawn(_guarded(exchange, images, text, found), "images")
    return True


async def _guarded(exchange: Exchange, images: Images, text: Body, found: list[UrlSource] | None) -> None:
    """Whatever becomes of it, `exchange` does not wait for ever."""
    began = exchange.line.monotonic()
    try:
        splices = await _fetched(exchange, images, text, found)
    except RelayError as error:
        failure = error
    except Exception:
        log.exception("images not fetched", id=exchange.id)
        failure = InternalError("Ferryman failed at the images of this request; its log says where.")
    else:
        if not exchange.settled:  # the client may have left meanwhile
            exchange.edits = [*exchange.edits, *splices]
            exchange.ready_at += exchange.line.monotonic() - began
            exchange.go_on(text)
        return
    if not exchange.settled:
        exchange.fail(failure)


async def _fetched(
    exchange: Exchange, images: Images, text: Body, found: list[UrlSource] | None
) -> list[Splice]:
    """The edits that put them into the body.

    Raises:
        InvalidRequest: one cannot be had, and the upstream's `images` is `error`.
        Overloaded: they do not fit beside the bodies that are held already.
    """
    line = exchange.line
    room = _Room(line)
    if found is None:
        found = await asyncio.to_thread(url_sources, text)
    outcomes = await images.inline(found, _conversation(exchange), room.hold)
    if room.was_full:
        raise no_room(line.limits.held_bytes)
    if exchange.target.manners.images == "error" and (failed := failures(outcomes)):
        raise InvalidRequest(failed[0].message)
    return [Splice(start, end, made, "images") for start, end, made in edits(found, outcomes)]


class _Room:
    """Counts what has come for a request among the bodies in memory: in the end it is part of one.

    Attributes:
        was_full: there was more than may be held.
    """

    def __init__(self, line: Line) -> None:
        self.was_full = False
        self._line = line

    def hold(self, size_bytes: int) -> bool:
        """Count so many more bytes, or less; whether there is room for them."""
        line = self._line
        line.held_bytes += size_bytes
        if size_bytes > 0 and line.held_bytes > line.limits.held_bytes:
            self.was_full = True
            return False
        return True


def _conversation(exchange: Exchange) -> str:
    """Where a URL stands for the same bytes: clients name their sessions, so each caller has its own."""
    principal = "" if exchange.caller is None else exchange.caller.principal.id
    session = None if exchange.attribution is None else exchange.attribution.session_id
    return f"{principal}\n{session or ''}"
