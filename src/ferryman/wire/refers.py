"""Which resources the body of a request refers to by their ids.

A body in which nothing is named is not read: its bytes are only searched, for the names as they are usually
spelled and for the escapes that could spell them otherwise. One that names something is read whole, and what
two readers could read in two ways is refused.

Source: anthropic 2.12.0, types/**/*_param*.py: the fields of request bodies that hold ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.wire.edit import twice
from ferryman.wire.once import Requests
from ferryman.wire.owned import BATCHES, FILES, SKILLS, Resource, is_anthropics
from ferryman.wire.search import may_contain
from ferryman.wire.usage import UNREADABLE

_OBJECTS = frozenset({"container", "agent", "agents", "predefined_agents"})
"""Names of an id, of an object with an `id`, or of a list of either."""

MESSAGES = frozenset({"file_id", "skill_id", "user_profile_id", "container"})
"""What a Messages body, or one of a batch, names."""

_PREFIXES = ("file", "skill", "user_profile", "agent", "environment", "session", "vault", "deployment",
             "memory_store", "dream", "tunnel", "container")  # fmt: skip
EVERYTHING = MESSAGES | _OBJECTS | {f"{prefix}_{end}" for prefix in _PREFIXES for end in ("id", "ids")}
"""What any other body names: of sessions, deployments, agents, dreams."""

_FREE = frozenset({"input", "input_schema", "input_examples", "schema", "metadata", "litellm_metadata"})
"""The caller's own JSON: whatever stands in it, nobody looks it up."""

_TOLD_APART = frozenset({"type", "id"})
"""Names that decide what an object is, so that neither may stand twice."""

_ECHO = "code_execution_output"
"""The end of the type of a block that tells a model which file a tool has written: nobody looks it up."""

MAX_REFERENCES = 10_000
"""Different ids of one body. A batch has at most 100,000 requests; those that use files share a few."""

MAX_PARTS = 500_000
"""Commas and brackets of a body that is read, those in its texts included: so it takes half a second at most.
A context of a million tokens, in JSON that is quoted as text, has about as many."""

STEP_BYTES: Final = 1 << 20
"""Of a batch that are looked at between two steps: some milliseconds."""

_CONTAINER: Final = b'"container"'
_FILE: Final = b'file_id"'
_SKILL: Final = b'"skill_id"'
"""How `MESSAGES` are usually spelled; `user_profile_id` ends like the second."""

_END: Final = b'_id"'
"""Of the last two."""

_BACKSLASH: Final = b"\\"
_MARKS = (_CONTAINER, _FILE, _SKILL, b"\\u00")
_LARGE_BYTES: Final = 4_096
"""A body for which it pays to look at first whether any of `_MARKS` stands in it."""

_ESCAPE = re.compile(rb"\\(?=u00[567])")
_ESCAPED_KEY = re.compile(
    rb'"(?<!\\")([a-z_]*+(?:\\u00[567][0-9a-fA-F][a-z_]*+)++)"[ \t\r\n]*+:'
)  # names are of these letters alone
_KEY = re.compile(rb'"(?<!\\")([a-z_]++)"[ \t\r\n]*+:')
"""Any key of these letters. Within a string each quote is escaped, and outside of strings nothing is."""
_BOUND = re.compile(rb"[ \t\r\n]*+(.?)", re.DOTALL)

_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


_decode_batch = msgspec.json.Decoder(Requests).decode


def refers(resource: Resource | None) -> bool:
    """Whether a body of this request can refer to anything: uploads cannot, however they are called.

    `resource` is `None` for Messages and counting their tokens. What refers is to be read whole.
    """
    if resource is None:
        return True
    is_upload = resource.kind in {FILES, SKILLS}
    return resource.verb in {"create", "change"} and not is_upload


def references_in(body: bytes | bytearray, resource: Resource | None) -> set[str]:
    """The ids that a body refers to, without those of Anthropic's own skills.

    Args:
        body: without its content coding.
        resource: that the request is about, `None` for Messages and counting tokens.

    Raises:
        InvalidRequest: it refers to something in a way that two readers could read differently: a field
            twice, a name spelled with escapes, another encoding than UTF-8, no JSON; or to too much.
    """
    if resource is not None and resource.kind == BATCHES:
        *_, found = batch_references(body)
        return found
    if resource is None:
        _check_encoding(body)
        return _read(body, MESSAGES) if _may_refer(body) else set()
    return _read(body, EVERYTHING) if _check_encoding(body) else set()


def batch_references(body: bytes | bytearray) -> Iterator[set[str]]:
    """What a batch refers to so far, each time that `STEP_BYTES` more are read; the last is all.

    Raises:
        InvalidRequest: as of `references_in`.
    """
    found: set[str] = set()
    _check_encoding(body)
    try:
        items = _decode_batch(body).__dict__.get("requests", [])
    except UNREADABLE as error:
        raise _unreadable() from error
    passed = 0
    for item in items:
        text = bytes(item)
        if _may_refer(text):
            found |= _read(text, MESSAGES)
            _check_number(found)
        passed += len(text)
        if passed >= STEP_BYTES:
            passed = 0
            yield found
    yield found


def _may_refer(body: bytes | bytearray) -> bool:
    """Whether something is named, as names are usually spelled, or could be in another spelling."""
    if len(body) > _LARGE_BYTES and not may_contain(body, _MARKS):
        return False
    # From behind: `find` and `in` take up to three times as long. The last two names have an end in common.
    if body.rfind(_CONTAINER) >= 0:
        return True
    if body.rfind(_END) >= 0 and (body.rfind(_FILE) >= 0 or body.rfind(_SKILL) >= 0):
        return True
    if body.find(_BACKSLASH) < 0:
        return False
    return _ESCAPE.search(body) is not None and _ESCAPED_KEY.search(body) is not None


def _check_encoding(body: bytes | bytearray) -> bool:
    """Whether it can be JSON of an object or a list, in UTF-8: what follows reads nothing else.

    Raises:
        InvalidRequest: it may be JSON in another encoding, which some readers take (RFC 4627, section 3).
    """
    if body.startswith(b'{"') or (body[:1] == b"{" and body[1:2] != b"\0"):
        return True
    head = bytes(body[:4])
    if b"\0" in head or head[:3] == b"\xef\xbb\xbf" or head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise InvalidRequest("The request body is not in UTF-8, or begins with a byte order mark.")
    first = _BOUND.match(body)
    return first is not None and first[1] in {b"{", b"["}


def _read(body: bytes | bytearray, names: frozenset[str]) -> set[str]:
    """The ids in `body` under `names`.

    Raises:
        InvalidRequest: as of `references_in`.
    """
    if sum(map(body.count, (b"[", b"{", b","))) > MAX_PARTS:
        raise InvalidRequest(
            f"The request refers to files or the like, and has more than {MAX_PARTS} parts; send fewer."
        )
    counted = {*names, *_TOLD_APART}
    for key in _ESCAPED_KEY.finditer(body) if _ESCAPE.search(body) is not None else ():
        if _decode_text(b'"%b"' % key[1]) in counted:
            raise InvalidRequest("A field that refers to something is spelled with escapes; use none.")
    try:
        root = _decode(body)
    except UNREADABLE as error:
        raise _unreadable() from error
    walk = _Walk(names)
    walk.through(root)
    # A reader that takes the first of two, and one that takes the last, would see two different ids.
    written = Counter(_KEY.findall(body))
    for name, seen in walk.seen.items():
        if written[name.encode()] != seen:
            raise twice(name)
    _check_number(walk.ids)
    return walk.ids


class _Walk:
    """Goes through a document that has been read.

    Attributes:
        ids: that were found.
        seen: how often each name is a key, anywhere.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.ids: set[str] = set()
        self.seen = dict.fromkeys((*names, *_TOLD_APART), 0)
        self._names = names

    def through(self, root: object) -> None:
        """Look at all of it."""
        waiting: list[tuple[Any, bool]] = [(root, False)]
        while waiting:
            node, is_free = waiting.pop()
            if isinstance(node, list):
                waiting += [(one, is_free) for one in node if isinstance(one, dict | list)]
                continue
            if not isinstance(node, dict):
                continue
            is_echo = is_free or str(node.get("type")).endswith(_ECHO)
            for name, value in node.items():
                if name in self.seen:
                    self.seen[name] += 1
                    if name in self._names and not is_echo:
                        self._take(name, value)
                if isinstance(value, dict | list):
                    waiting.append((value, is_free or name in _FREE))

    def _take(self, name: str, value: object) -> None:
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict) and name in _OBJECTS:
                one = one.get("id")  # noqa: PLW2901  # of the object that stands in the place of the id
            if isinstance(one, str) and not (name.startswith("skill") and is_anthropics(SKILLS, one)):
                self.ids.add(one)


def _check_number(ids: set[str]) -> None:
    if len(ids) > MAX_REFERENCES:
        raise InvalidRequest(f"The request refers to more than {MAX_REFERENCES} files and the like.")


def _unreadable() -> InvalidRequest:
    return InvalidRequest(
        "The request body may refer to files and the like, and is no JSON that can be read here; correct it."
    )
