"""The header lines of a message, kept as they came, and the rules of RFC 9110 about them.

Most lines are only passed on, so they stay whole; only the few that somebody looks at are taken
apart. Splitting at CRLF is safe because llhttp, in strict mode, has refused everything that could
be read as another line: bare LF or CR, folded lines, a space before the colon.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

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


class Fields(msgspec.Struct, gc=False):
    """The header lines of a message. A Struct, since its constructor runs in C.

    Attributes:
        block: all lines, with CRLF between them.
        kept: the lines that are passed on, in order.
        found: the value of each watched or dropped header, by its name in lower case; the first if
            it is repeated.
        repeated: names of those that stand more than once.
        places: where the watched lines stand in `kept`, by their name; the first if repeated.
        memo: what a reader of these lines wants to find again when a client repeats its head.
    """

    block: bytes
    kept: list[bytes]
    found: dict[bytes, bytes]
    repeated: list[bytes]
    places: dict[bytes, int]
    memo: object = None

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

    __slots__ = ("_dropped", "_looked_at")

    def __init__(self, dropped: Set[bytes], watched: Set[bytes]) -> None:
        """Prepare for names in lower case.

        Args:
            dropped: are not passed on; neither are those that `Connection` nominates.
            watched: are passed on, and looked at as well.
        """
        self._dropped = dropped
        self._looked_at = dropped | watched

    def read(self, block: bytes) -> Fields:
        """The lines of `block`, which llhttp has taken, with CRLF between them."""
        kept: list[bytes] = []
        found: dict[bytes, bytes] = {}
        repeated: list[bytes] = []
        places: dict[bytes, int] = {}
        looked_at = self._looked_at
        for line in block.split(b"\r\n") if block else ():
            colon = line.find(b":")
            name = line[:colon].lower()
            if name not in looked_at:
                kept.append(line)
                continue
            if name in found:
                repeated.append(name)
            else:
                found[name] = line[colon + 1 :].strip(b" \t")
            if name not in self._dropped:
                places.setdefault(name, len(kept))
                kept.append(line)
        fields = Fields(block, kept, found, repeated, places)
        connection = found.get(b"connection", b"close")
        if connection.lower() not in _CONNECTION_OPTIONS or b"connection" in repeated:
            return self._without_nominated(fields)
        return fields

    def _without_nominated(self, fields: Fields) -> Fields:
        names = list_tokens(fields.values(b"connection")) - self._dropped
        lines = [line for line in fields.block.split(b"\r\n") if line.partition(b":")[0].lower() not in names]
        rest = [line for line in lines if line.partition(b":")[0].lower() != b"connection"]
        return self.read(b"\r\n".join(rest))


def list_tokens(values: Iterable[bytes]) -> set[bytes]:
    """The members of a comma-separated header, in lower case, over all its lines."""
    return {token for value in values for part in value.split(b",") if (token := part.strip().lower())}
