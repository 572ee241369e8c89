"""The header lines of a message, kept as they came, and the rules of RFC 9110 about them.

Most lines are only passed on, so they stay together as one block; only the few that somebody looks
at are found in it. Looking for names behind CRLF is safe because llhttp, in strict mode, has refused
everything that could be read as another line: bare LF or CR, folded lines, a space before the colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that speak of one connection only and are not passed on (RFC 9110, section 7.6.1)."""

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say where a body ends; generated anew on each side."""

NOT_PASSED_ON = HOP_BY_HOP | FRAMING

_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive"})


class Fields:
    """The header lines of a message.

    Attributes:
        kept: the block without the lines that are not passed on, each line behind a CRLF.
        found: the value of each watched header, by its name in lower case; the first if repeated.
        repeated: names of the watched headers that stand more than once.
        block: all lines, as they came.
        reader: who has read them.
    """

    __slots__ = ("block", "found", "kept", "reader", "repeated")

    def __init__(self, block: bytes, reader: FieldReader) -> None:
        self.block = block
        self.reader = reader
        self.found: dict[bytes, bytes] = {}
        self.repeated: frozenset[bytes] = frozenset()
        self.kept = block

    @property
    def count(self) -> int:
        """How many lines there are."""
        return self.block.count(b"\r\n")

    def values(self, name: bytes) -> list[bytes]:
        """All values of the watched header `name`, in order."""
        if name not in self.repeated:
            return [self.found[name]] if name in self.found else []
        lines = (line.partition(b":") for line in self.block.split(b"\r\n"))
        return [value.strip(b" \t") for key, _, value in lines if key.lower() == name]

    def text(self, name: bytes) -> str | None:
        """The value of the watched header `name` as text, `None` if there is none."""
        value = self.found.get(name)
        return None if value is None else value.decode("latin-1")


class FieldReader:
    """Reads blocks of header lines, for one side of a worker."""

    __slots__ = ("_dropped", "_pattern")

    def __init__(self, dropped: Set[bytes], watched: Set[bytes]) -> None:
        """Prepare for names in lower case.

        Args:
            dropped: are not passed on; neither are those that `Connection` nominates.
            watched: are passed on, and looked at as well.
        """
        self._dropped = dropped
        # Grouped by their first letter, so that a line of no interest is passed in a few steps.
        groups: dict[bytes, list[bytes]] = {}
        for name in sorted(dropped | watched):
            groups.setdefault(name[:1], []).append(re.escape(name[1:]))
        choices = (first + b"(?:" + b"|".join(rest) + b")" for first, rest in groups.items())
        self._pattern = re.compile(rb"\r\n(" + b"|".join(choices) + rb"):([^\r]*)")

    def read(self, block: bytes) -> Fields:
        """The lines of `block`, which llhttp has taken, each behind a CRLF."""
        fields = Fields(block, self)
        found = fields.found
        dropped = self._dropped
        pieces = []
        at = 0
        for match in self._pattern.finditer(block.lower()):
            name = match[1]
            start, end = match.span(2)
            if name in found:
                fields.repeated |= {name}
            else:
                found[name] = block[start:end].strip(b" \t")
            if name in dropped:
                pieces.append(block[at : match.start()])
                at = end
        pieces.append(block[at:])
        fields.kept = b"".join(pieces)
        connection = found.get(b"connection", b"close")
        if connection.lower() not in _CONNECTION_OPTIONS or b"connection" in fields.repeated:
            fields.kept = _without(fields.kept, list_tokens(fields.values(b"connection")))
        return fields


def _without(block: bytes, names: Set[bytes]) -> bytes:
    lines = block.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in names)


def list_tokens(values: Iterable[bytes]) -> set[bytes]:
    """The members of a comma-separated header, in lower case, over all its lines."""
    return {token for value in values for part in value.split(b",") if (token := part.strip().lower())}
