"""Message batches: what their requests ask for, where their answers point to, and their results line by line.

Source: anthropic 2.12.0, types/messages/message_batch.py and resources/messages/batches.py: `results()`
follows `results_url` with the client's credential, whatever host it names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.edit import elements, members
from ferryman.wire.once import Once
from ferryman.wire.shapes import Answer
from ferryman.wire.usage import UNREADABLE, answer_of

MAX_LINE_BYTES = 32 << 20
"""Of one result that is held to be read. An answer of 128,000 tokens has about half a megabyte; what tools
at Anthropic add to it is bounded by the same model's context."""

MAX_MODELS = 64
"""Models of one batch that are told apart; what is beyond them counts under the last."""

MAX_ID_CHARACTERS = 200

MAX_MODEL_CHARACTERS = 256
"""Of a model's name; a longer one is none."""

_PATH = "/v1/messages/batches/"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:?//[^/?#]*")


class Asked(NamedTuple):
    """What the requests of a batch ask for.

    Attributes:
        requests: how many there are.
        models: how many of them ask for each model.
        max_tokens: what these may generate all together.
        names: of all models, however many; an empty one for requests that name none, or none that can be one.
    """

    requests: int
    models: dict[str, int]
    max_tokens: dict[str, int]
    names: frozenset[str]


@dataclass(init=False, repr=False, eq=False)
class _Params:
    model: object = Once("model")  # a descriptor
    max_tokens: object = Once("max_tokens")


@dataclass(init=False, repr=False, eq=False)
class _Item:
    params: _Params | None = Once("params")  # type: ignore[assignment]  # noqa: RUF009


@dataclass(init=False, repr=False, eq=False)
class _Requests:
    requests: list[_Item] = Once("requests")  # type: ignore[assignment]  # noqa: RUF009


class _Batch(msgspec.Struct, gc=False):
    id: str


class _Result(msgspec.Struct, gc=False):
    type: str | None = None
    message: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct, gc=False):
    result: _Result


_decode_requests = msgspec.json.Decoder(_Requests).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def asked_in(body: bytes | bytearray) -> Asked | None:
    """What the body of a creation asks for, `None` if it cannot be read.

    Takes some 0.4 s for the largest body, of 250 MB.

    Raises:
        InvalidRequest: a field that is looked at stands twice: two readers could take two different ones.
    """
    try:
        items = _decode_requests(body).__dict__.get("requests")
    except UNREADABLE:
        return None
    if items is None:
        return None
    models: Counter[str] = Counter()
    max_tokens: Counter[str] = Counter()
    names: set[str] = set()
    for item in items:
        params = item.__dict__.get("params")
        said = {} if params is None else params.__dict__
        model = said.get("model")
        if not isinstance(model, str) or len(model) > MAX_MODEL_CHARACTERS:
            model = ""
        names.add(model)
        if model not in models and len(models) >= MAX_MODELS:
            model = next(reversed(models))
        models[model] += 1
        asked_tokens = said.get("max_tokens")
        if isinstance(asked_tokens, int) and asked_tokens > 0:
            max_tokens[model] += asked_tokens
    return Asked(len(items), dict(models), dict(max_tokens), frozenset(names))


def renamed(asked: Asked, names: Mapping[str, str]) -> Asked:
    """`asked` with other names in the place of those that `names` has."""
    models: Counter[str] = Counter()
    max_tokens: Counter[str] = Counter()
    for counts, sums in ((asked.models, models), (asked.max_tokens, max_tokens)):
        for name, number in counts.items():
            sums[names.get(name, name)] += number
    told = frozenset(names.get(name, name) for name in asked.names)
    return Asked(asked.requests, dict(models), dict(max_tokens), told)


def batch_id_in(body: bytes) -> str | None:
    """The id of the batch that an answer shows, `None` if it shows none."""
    try:
        found = _decode_batch(body).id
    except UNREADABLE:
        return None
    return found if 0 < len(found) <= MAX_ID_CHARACTERS else None


def results_path(url: str) -> str:
    """The path of a `results_url`, from `/v1/messages/batches/` on if that is in it, with its query."""
    rest = _URL.sub("", url, count=1) if _URL.match(url) else url
    at = rest.find(_PATH)
    return rest[at:] if at >= 0 else "/" + rest.lstrip("/\\")


def with_results_urls(body: bytes, base: str) -> bytes:
    """`body`, which shows a batch or a page of them, with each `results_url` below `base`.

    Only the bytes of these values change. One that is null stays so.

    Args:
        body: the JSON of an answer.
        base: what stands before `/v1/…`: scheme, host, and the prefix that the client has come by.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no JSON object, or of a shape in which
            such a value could hide.
        InvalidRequest: a batch has more members than are looked at.
    """
    parts: list[bytes] = []
    at = 0
    for start, end in _url_spots(body, 0, len(body)):
        if body[start:end] == b"null":
            continue
        told = base + results_path(_decode_text(body[start:end]))
        parts += (body[at:start], _encode(told))
        at = end
    return b"".join((*parts, body[at:])) if parts else body


def _url_spots(body: bytes, start: int, end: int, *, is_page: bool = True) -> Iterator[tuple[int, int]]:
    """Where the values of `results_url` stand, in the object at `start` and in those of its `data`."""
    for member in members(body[start:end]):
        value = start + member.value_start, start + member.end
        if member.name == "results_url":
            yield value
        elif member.name == "data" and is_page and body[value[0] : value[0] + 1] == b"[":
            for one in elements(body, *value):
                if body[one[0] : one[0] + 1] == b"{":
                    yield from _url_spots(body, *one, is_page=False)


REFUSED = (*UNREADABLE, InvalidRequest)
"""What `with_results_urls` raises."""


class Succeeded(NamedTuple):
    """A result that is paid for.

    Attributes:
        answer: what its message tells.
        message: the message itself.
    """

    answer: Answer
    message: bytes


def succeeded_in(line: bytes) -> Succeeded | None:
    """The message of a result; `None` for one that errored, expired or was canceled, which cost nothing.

    Raises:
        ValueError: it is no result.
        RecursionError: the same.
    """
    result = _decode_line(line).result
    if result.type != "succeeded":
        return None
    message = bytes(result.message)
    return Succeeded(answer_of(message), message)


class Lines:
    """Splits JSON lines that come in pieces. Holds one line at most.

    Attributes:
        count: of the lines so far; blank ones are none.
        lost: of these, how many were too long to be held.
    """

    __slots__ = ("_carry", "_on_line", "_passing_over", "count", "lost")

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        """`on_line` hears each line, without its end."""
        self._on_line = on_line
        self._carry = bytearray()
        self._passing_over = False
        self.count = 0
        self.lost = 0

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        first, *rest = data.split(b"\n")
        if not rest:
            self._carry_on(first)
            return
        self._carry_on(first)
        self.end()
        for line in rest[:-1]:
            self._take(line)
        self._carry_on(rest[-1])

    def end(self) -> None:
        """The line at hand has ended, or all of them."""
        line = bytes(self._carry)
        self._carry.clear()
        if self._passing_over:
            self._passing_over = False
            self.count += 1
            self.lost += 1
        else:
            self._take(line)

    def _carry_on(self, piece: bytes) -> None:
        if self._passing_over:
            return
        self._carry += piece
        if len(self._carry) > MAX_LINE_BYTES:
            self._passing_over = True
            self._carry.clear()

    def _take(self, line: bytes) -> None:
        if line and not line.isspace():
            self.count += 1
            self._on_line(line)
