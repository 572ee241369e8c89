"""What answers of Anthropic's show of resources: what was made, and what stands in a list.

Nothing here is taken from what a model or a client has written, only from where Anthropic itself puts ids:
otherwise a caller could have a stranger's file called its own.

Source: anthropic 2.12.0, types/**: the fields of answers that hold ids; pagination.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.edit import elements, members
from ferryman.wire.owned import CHANGE, CONTAINERS, CREATE, FILES, LIST, READ, Resource, is_id
from ferryman.wire.shown_shapes import BlockType, Holder, Part, ResourceObject, ResultBlock, ShowingEvent
from ferryman.wire.sse import data_of
from ferryman.wire.usage import UNREADABLE

REFUSED = (*UNREADABLE, InvalidRequest)
"""What `shown_in` and `with_only` raise: it is no page of a list."""

OWNERSHIP = "ownership"
"""What `x-ferryman-mutations` says of a list from which something was cut."""

MAX_MADE = 1_000
"""Resources of one exchange that are noted. A page of a list has as many; a Messages answer a few."""

_RUNS, _SESSIONS, _MEMORY_STORES = "deployment_runs", "sessions", "memory_stores"
_YIELDING = frozenset({_RUNS, "dreams"})
"""Kinds whose resources tell of others that Anthropic has made for them."""

_DEPLOYMENTS, _RUN = "deployments", "run"

_RESULT = "code_execution_tool_result"
_UPLOAD = "container_upload"
_CONTAINER_MARK: Final = b'"container"'
_FILE_MARK: Final = b'"file_id"'


class Shown(NamedTuple):
    """A resource that an answer shows.

    Attributes:
        id: its own; empty if it has none that can be read, so that nobody owns it.
        parent: the id of that which it was made by: a file's session, a session's or a run's deployment;
            `None` for none.
        made: what Anthropic has made for it, by id, and the kind of each.
    """

    id: str
    parent: str | None = None
    made: tuple[tuple[str, str], ...] = ()


_decode_object = msgspec.json.Decoder(ResourceObject).decode
_decode_blocks = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_type = msgspec.json.Decoder(BlockType).decode
_decode_part = msgspec.json.Decoder(Part).decode
_decode_result = msgspec.json.Decoder(ResultBlock).decode
_decode_holder = msgspec.json.Decoder(Holder).decode
_decode_event = msgspec.json.Decoder(ShowingEvent).decode


def tells(resource: Resource) -> bool:
    """Whether a good answer is to be read: it is a list, or tells what was made.

    Such an answer is short: it is held, so that what it tells is noted before the client can know of it.
    """
    return resource.verb in {CREATE, LIST} or _yields(resource)


def _yields(resource: Resource) -> bool:
    return _is_run(resource) or (resource.kind in _YIELDING and resource.verb == READ and not resource.within)


def _is_run(resource: Resource) -> bool:
    return resource.verb == CHANGE and (resource.kind, resource.within) == (_DEPLOYMENTS, _RUN)


def made_in(resource: Resource, body: bytes) -> dict[str, str]:
    """What a good answer about a resource of the caller's tells to be made, by id, and the kind of each.

    Args:
        resource: that the request was about, not a list.
        body: of the answer, without its content coding. What is no JSON object tells nothing.
    """
    if not tells(resource):
        return {}
    runs = _is_run(resource)
    shown = _shown(body, yields=runs or resource.kind in _YIELDING)
    made = dict(shown.made)
    if shown.id and (runs or resource.verb == CREATE):
        made[shown.id] = _RUNS if runs else resource.kind
    return made


def made_in_message(body: bytes) -> dict[str, str]:
    """The container and the files that a Messages answer tells of, by id, and the kind of each.

    `body` is the JSON of the answer, without its content coding; other bytes tell nothing.
    """
    if not _may_tell(body):
        return {}
    try:
        holder = _decode_holder(body)
        blocks = _decode_blocks(holder.content) if bytes(holder.content) else []
    except UNREADABLE:
        return {}
    return _made(holder, blocks)


def made_in_events(events: bytes) -> dict[str, str]:
    """The same of whole events of a stream, whose lines end with LF."""
    made: dict[str, str] = {}
    if not _may_tell(events):
        return made
    for each in events.split(b"\n\n"):
        if not _may_tell(each):
            continue
        try:
            event = _decode_event(data_of(each))
        except UNREADABLE:
            continue
        blocks = [event.content_block] if bytes(event.content_block) else []
        made |= _made(event.message or event.delta, blocks)
    return made


def _may_tell(data: bytes) -> bool:
    return data.rfind(_CONTAINER_MARK) >= 0 or data.rfind(_FILE_MARK) >= 0  # `find` takes three times as long


def _made(holder: Holder | None, blocks: Iterable[msgspec.Raw]) -> dict[str, str]:
    made: dict[str, str] = {}
    if holder is not None and holder.container is not None and (known := _id(holder.container.id)):
        made[known] = CONTAINERS
    for block in blocks:
        try:
            made |= dict.fromkeys(_files(block), FILES)
        except UNREADABLE:
            continue
        if len(made) >= MAX_MADE:
            break
    return made


def _files(block: msgspec.Raw) -> list[str]:
    """The ids of files that a content block tells of; a tool's input, which a model writes, is none."""
    kind = str(_decode_type(block).type)
    if kind == _UPLOAD:
        parts: list[Part] | None = [_decode_part(block)]
    elif kind.endswith(_RESULT):
        result = _decode_result(block).content
        parts = None if result is None else result.content
    else:
        parts = None
    return [known for part in parts or () if (known := _id(part.file_id))]


def shown_in(kind: str, body: bytes) -> list[Shown]:
    """What a page of a list shows, in order.

    Args:
        kind: of the collection.
        body: of the answer, without its content coding.

    Raises:
        REFUSED: it is no object with a list called `data`.
    """
    return [_shown(body[start:end], yields=kind in _YIELDING) for start, end in _spots(body).spots]


def with_only(kind: str, body: bytes, sees: Callable[[Shown], bool]) -> bytes:
    """A page of a list, with only what the caller sees; every other byte stays.

    `has_more`, `first_id`, `last_id` and `next_page` stay too: they are where the next page begins, whoever
    owns what stands there. So a page may be empty with more behind it.

    Args:
        kind: of the collection.
        body: of the answer, without its content coding.
        sees: whether the caller sees it.

    Returns:
        `body` itself if nothing was cut.

    Raises:
        REFUSED: it is no object with a list called `data`.
    """
    page = _spots(body)
    yields = kind in _YIELDING
    # An element goes with the space around it, up to the commas.
    starts = [page.start + 1, *(_behind_comma(body, end) for _, end in page.spots[:-1])]
    ends = [start - 1 for start in starts[1:]] + [page.end - 1]
    kept = [
        body[start:end]
        for start, end, (begin, over) in zip(starts, ends, page.spots, strict=False)
        if sees(_shown(body[begin:over], yields=yields))
    ]
    if len(kept) == len(page.spots):
        return body
    return body[: page.start + 1] + b",".join(kept) + body[page.end - 1 :]


class _Page(NamedTuple):
    """Where the list of a page stands, and its elements."""

    start: int
    end: int
    spots: list[tuple[int, int]]


def _spots(body: bytes) -> _Page:
    found = [member for member in members(body) if member.name == "data"]
    if len(found) != 1:
        raise InvalidRequest("The answer has no list, or two.")
    start, end = found[0].value_start, found[0].end
    return _Page(start, end, elements(body, start, end))


def _behind_comma(body: bytes, at: int) -> int:
    return body.index(b",", at) + 1


def _shown(text: bytes, *, yields: bool) -> Shown:
    try:
        one = _decode_object(text)
    except UNREADABLE:
        return Shown("")
    parent = _id(one.scope.id if one.scope is not None else one.deployment_id)
    if not yields:
        return Shown(_id(one.id), parent or None)
    made = [(known, _MEMORY_STORES) for out in one.outputs or () if (known := _id(out.memory_store_id))]
    if session := _id(one.session_id):
        made.append((session, _SESSIONS))
    return Shown(_id(one.id), parent or None, tuple(made))


def _id(value: object) -> str:
    return value if isinstance(value, str) and is_id(value) else ""
