"""The header lines of a message, kept as they came, and the rules of RFC 9110 about them.

Most lines are only passed on, so they stay whole; only the few that somebody looks at are taken
apart. Splitting at CRLF is safe because llhttp, in strict mode, has refused everything that could
be read as another line: bare LF or CR, folded lines, a space before the colon.
"""

from __future__ import annotations

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

_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive"})


class Fields:
    """The header lines of a message.

    Attributes:
        lines: as they came, without their CRLF.
        marked: for each line with a watched name: its index, the name in lower case, the value.
    """

    __slots__ = ("lines", "marked")

    def __init__(self, block: bytes, watched: Set[bytes]) -> None:
        """Split `block`, the header lines with CRLF between them; `watched` has lower-case names."""
        self.lines = lines = block.split(b"\r\n") if block else []
        self.marked = marked = []
        for index, line in enumerate(lines):
            name, _, value = line.partition(b":")
            name = name.lower()
            if name in watched:
                marked.append((index, name, value.strip(b" \t")))

    def values(self, name: bytes) -> list[bytes]:
        """All values of the watched header `name`, in order."""
        return [value for _, lower, value in self.marked if lower == name]

    def first(self, name: bytes) -> bytes | None:
        """The first value of the watched header `name`, `None` if there is none."""
        for _, lower, value in self.marked:
            if lower == name:
                return value
        return None

    def without(self, names: Set[bytes]) -> list[bytes]:
        """The lines whose names are not among `names`, all of which are watched."""
        lines = self.lines.copy()
        for index, lower, _ in reversed(self.marked):
            if lower in names:
                del lines[index]
        return lines

    def nominated(self) -> set[bytes]:
        """Names that `Connection` declares to be hop-by-hop (RFC 9110, section 7.6.1)."""
        values = [value for _, lower, value in self.marked if lower == b"connection"]
        if all(value.lower() in _CONNECTION_OPTIONS for value in values):
            return set()
        return list_tokens(values) - _CONNECTION_OPTIONS


def drop_named(lines: list[bytes], names: Set[bytes]) -> list[bytes]:
    """`lines` without those whose names (lower case) are among `names`."""
    return [line for line in lines if line.partition(b":")[0].lower() not in names]


def list_tokens(values: Iterable[bytes]) -> set[bytes]:
    """The members of a comma-separated header, in lower case, over all its lines."""
    return {token for value in values for part in value.split(b",") if (token := part.strip().lower())}
