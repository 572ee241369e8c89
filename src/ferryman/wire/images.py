"""Images and PDFs that a Messages body names by URL, and what stands in their place once they are here.

Found are the sources `{"type":"url","url":…}` of `image` and `document` blocks: in messages, in the content
of a `tool_result`, and in that of a document. Nothing else is looked into: the input of a tool is free.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.edit import Member, elements, members, twice
from ferryman.wire.search import may_contain
from ferryman.wire.usage import UNREADABLE

Kind = Literal["image", "document"]

MAX_SOURCES = 1_000
"""Values `"url"` of a body that is looked into. Anthropic takes at most 600 images in a request; each costs
tens of microseconds, in which nobody else is served."""

MAX_ELEMENTS = 100_000
"""Of a list that is looked through: as many messages as Anthropic takes in a request. They cost less than
a microsecond each."""

MAX_OBJECTS = 500_000
"""Braces in such a list, those in its texts included: what is counted before any of it is decoded."""

_MAX_DEPTH = 3
"""Lists of blocks within each other: of a message, in it of a tool result, in it of a document."""

SIGNATURE_BYTES = 12
"""Of a file's beginning that tell its type."""

_ESCAPES = (b"\\u007", b"\\u006")
_MARKS = (b'"url"', *_ESCAPES)
"""The word, and the escapes of its letters that could spell it otherwise."""

_MARKS_OF_VALUES = (*(before + b'"url"' for before in (b":", b" ", b"\n", b"\t", b"\r")), *_ESCAPES)
"""The same where it can be a value: tools often have a parameter of this name, and in JSON without spaces
that is told here, at a fifth of the cost of `_VALUE`."""

_VALUE = re.compile(rb':[ \t\r\n]*+"(?:u|\\u0075)(?:r|\\u0072)(?:l|\\u006[cC])"')
"""A member whose value is `url`. Within a string no quote stands unescaped."""

_TYPES: tuple[tuple[re.Pattern[bytes], str, Kind], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", "image"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", "image"),
    (re.compile(rb"GIF8[79]a"), "image/gif", "image"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp", "image"),
    (re.compile(rb"%PDF-"), "application/pdf", "document"),
)
"""What a file of each type that Anthropic takes begins with, and the kind of block it can stand in."""

WANTED = {"image": "PNG, JPEG, GIF or WEBP", "document": "PDF"}
"""The types for each kind of block, for people."""


_KINDS: dict[str, Kind] = {"image": "image", "document": "document"}


class _Object(msgspec.Struct, gc=False):
    """Any object."""


_decode_objects = msgspec.json.Decoder(list[_Object]).decode
_decode_text = msgspec.json.Decoder(str).decode


class Wanted(NamedTuple):
    """What is to be fetched: the same URL cannot be an image and a PDF."""

    kind: Kind
    url: str


class UrlSource(NamedTuple):
    """One source that is a URL.

    Attributes:
        kind: of its block.
        url: as the client wrote it, without JSON's escapes.
        start, end: offsets of the whole source object in the body, braces included.
    """

    kind: Kind
    url: str
    start: int
    end: int

    @property
    def wanted(self) -> Wanted:
        """What stands there, wherever that is."""
        return Wanted(self.kind, self.url)


def url_sources(body: bytes | bytearray) -> list[UrlSource]:
    """The URL sources in the messages of `body`, in order; a URL may stand in several.

    A body that is no JSON, or no Messages body, has none: it goes upstream as it came, whose answer is the
    one that clients know.

    Args:
        body: without its content coding.

    Raises:
        InvalidRequest: a field on the way to a source stands twice, or there is too much to look through.
    """
    if not may_contain(body, _MARKS) or not may_contain(body, _MARKS_OF_VALUES):
        return []
    marks: list[int] = []
    for found in _VALUE.finditer(body):
        if len(marks) == MAX_SOURCES:
            raise InvalidRequest(f"The request has more than {MAX_SOURCES} fields with the value `url`.")
        marks.append(found.start())
    if not marks:
        return []
    search = _Search(body, marks)
    try:
        search.through_body()
    except UNREADABLE:
        return []
    return search.found


class _Search:
    """Goes from a body's messages down to their sources, only where one of `marks` stands."""

    def __init__(self, body: bytes | bytearray, marks: Sequence[int]) -> None:
        self.found: list[UrlSource] = []
        self._body = body
        self._marks = marks

    def through_body(self) -> None:
        messages = _only("messages", members(self._body))
        if messages is not None:
            for start, end in self._objects(messages.value_start, messages.end):
                self._through_content(_only("content", self._members(start, end)), 1)

    def _through_content(self, content: Member | None, depth: int) -> None:
        if content is None or depth > _MAX_DEPTH:
            return
        for start, end in self._objects(content.value_start, content.end):
            block = self._members(start, end)
            kind = self._text(_only("type", block))
            if kind == "tool_result":
                self._through_content(_only("content", block), depth + 1)
            elif kind is not None and (which := _KINDS.get(kind)) is not None:
                self._take(which, _only("source", block), depth)

    def _take(self, kind: Kind, source: Member | None, depth: int) -> None:
        if source is None or self._body[source.value_start] != ord("{"):
            return
        inner = self._members(source.value_start, source.end)
        form = self._text(_only("type", inner))
        if form == "content":
            self._through_content(_only("content", inner), depth + 1)
        elif form == "url" and (url := self._text(_only("url", inner))) is not None:
            self.found.append(UrlSource(kind, url, source.value_start, source.end))

    def _objects(self, start: int, end: int) -> list[tuple[int, int]]:
        """Where the objects of a list stand that hold a mark; nothing where there is no list."""
        body = self._body
        if body[start] != ord("[") or not self._holds_mark(start, end):
            return []
        if body.count(b",", start, end) >= MAX_ELEMENTS:
            if body.count(b"{", start, end) > MAX_OBJECTS:
                raise InvalidRequest(f"A list of the request holds more than {MAX_OBJECTS} objects.")
            if len(_decode_objects(body[start:end])) > MAX_ELEMENTS:
                raise InvalidRequest(f"A list of the request has more than {MAX_ELEMENTS} elements.")
        places = elements(body, start, end)
        return [place for place in places if body[place[0]] == ord("{") and self._holds_mark(*place)]

    def _holds_mark(self, start: int, end: int) -> bool:
        return bisect_left(self._marks, start) < bisect_left(self._marks, end)

    def _members(self, start: int, end: int) -> list[Member]:
        """The members of the object from `start` to `end`, with offsets in the whole body."""
        return [
            Member(name, start + key, start + value, start + behind)
            for name, key, value, behind in members(self._body[start:end])
        ]

    def _text(self, member: Member | None) -> str | None:
        """The value of `member`, `None` if it is no string."""
        if member is None or self._body[member.value_start] != ord('"'):
            return None
        return _decode_text(self._body[member.value_start : member.end])


def _only(name: str, found: Sequence[Member]) -> Member | None:
    having = [member for member in found if member.name == name]
    if len(having) > 1:
        raise twice(name)
    return having[0] if having else None


def media_type_of(data: bytes | bytearray, kind: Kind) -> str | None:
    """The media type that the first bytes of a file tell, `None` if a block of `kind` cannot hold it.

    What its server says of it is not asked. `SIGNATURE_BYTES` are enough.
    """
    for signature, media_type, of in _TYPES:
        if of == kind and signature.match(data):
            return media_type
    return None


def base64_source(media_type: str, data: bytes | bytearray) -> bytes:
    """The source object with `data` in it, which takes the place of one with a URL."""
    text = b2a_base64(data, newline=False)
    return b'{"type":"base64","media_type":"%b","data":"%b"}' % (media_type.encode("ascii"), text)
