"""Finding one top-level member of a JSON object that is too large to hold."""

from __future__ import annotations

import re

MAX_VALUE_BYTES = 65_536
"""Enough for any `usage`; a longer value is given up."""

_MAX_KEY_BYTES = 64
_OUTSIDE = re.compile(rb'["{}\[\]:,]')
_INSIDE = re.compile(rb'["\\]')


class TopLevelObject:
    """Watches a JSON object go by and keeps the object that is the value of one top-level key.

    Only structure is tracked, so what is not JSON gives no value, or a value that does not decode.
    """

    __slots__ = (
        "_capture",
        "_depth",
        "_escaped",
        "_in_string",
        "_kept_from",
        "_key",
        "_string",
        "_wanted",
        "value",
    )

    def __init__(self, key: bytes) -> None:
        self.value: bytes | None = None
        self._wanted = key
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._string = bytearray()  # the last string at depth 1
        self._key = b""  # the key whose value is being read at depth 1
        self._capture: bytearray | None = None
        self._kept_from = 0  # where in the data at hand the captured value begins

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        position = self._kept_from = 0
        while position < len(data):
            if self._in_string:
                position = self._through_string(data, position)
                continue
            found = _OUTSIDE.search(data, position)
            if found is None:
                break
            position = found.end()
            self._take(found.group(), data, position)
        if self._capture is not None:
            self._capture += data[self._kept_from :]
            if len(self._capture) > MAX_VALUE_BYTES:
                self._capture, self._key = None, b""

    def _take(self, token: bytes, data: bytes, end: int) -> None:
        """Follow one structural character, which ends at `end`."""
        if token == b'"':
            self._in_string = True
            self._string.clear()
        elif token in (b"{", b"["):
            self._depth += 1
            if self._depth == 2 and token == b"{" and self._key == self._wanted:
                self._capture, self._kept_from = bytearray(), end - 1
        elif token in (b"}", b"]"):
            self._depth -= 1
            if self._depth == 1 and self._capture is not None:
                self.value = bytes(self._capture) + data[self._kept_from : end]
                self._capture = None
        elif self._depth == 1:
            self._key = bytes(self._string) if token == b":" else b""

    def _through_string(self, data: bytes, position: int) -> int:
        """Go on inside a string; the position behind it, or the end of `data`."""
        if self._escaped:
            self._escaped = False
            return position + 1
        found = _INSIDE.search(data, position)
        end = len(data) if found is None else found.start()
        if self._depth == 1 and len(self._string) < _MAX_KEY_BYTES:
            self._string += data[position : min(end, position + _MAX_KEY_BYTES)]
        if found is None:
            return end
        if found.group() == b'"':
            self._in_string = False
        else:
            self._escaped = True
            if len(self._string) < _MAX_KEY_BYTES:
                self._string += b"\\"  # a key with an escape is not ours
        return end + 1
