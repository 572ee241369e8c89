"""The header lines of a message, kept as they came, and the rules of RFC 9110 about them.

Most lines are only passed on, so they stay together; only the few that somebody looks at are found
among them. Looking for names behind CRLF is safe because llhttp, in strict mode, has refused all
that could be read as another line: bare LF or CR, folded lines, a space before the colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from ferryman.http1.message import Fields

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

_CONNECTION_OPTIONS: Final = frozenset({b"close", b"keep-alive"})


class FieldReader:
    """Reads blocks of header lines, for one side of a worker."""

    __slots__ = ("_dropped", "_split")

    def __init__(self, dropped: AbstractSet[bytes], watched: AbstractSet[bytes]) -> None:
        """Prepare for names in lower case.

        Args:
            dropped: are not passed on; neither are those that `Connection` nominates.
            watched: are passed on, and looked at as well.
        """
        self._dropped = dropped
        self._split = pattern_of(dropped | watched).split

    def read(self, block: bytes) -> Fields:
        """The lines of `block`, which llhttp has taken, each behind a CRLF."""
        parts: list[bytes] = self._split(block)  # text, name, value, text, …: one call finds all
        kept = [parts[0]]
        found: dict[bytes, bytes] = {}
        repeated: list[bytes] = []
        for at in range(1, len(parts), 3):
            written, value = parts[at], parts[at + 1]
            name = written.lower()
            if name in found:
                repeated.append(name)
            found[name] = value.strip(b" \t")
            if name not in self._dropped:
                kept.append(b"\r\n%b:%b" % (written, value))
            kept.append(parts[at + 2])
        fields = Fields(block, b"".join(kept), found, repeated)
        connection = found.get(b"connection", b"close")
        if connection.lower() not in _CONNECTION_OPTIONS or b"connection" in repeated:
            nominated = list_tokens(fields.values(b"connection")) - self._dropped
            fields.kept = without(fields.kept, nominated)
            fields.repeated = [name for name in repeated if name not in nominated]
            for name in nominated:
                found.pop(name, None)
        return fields


def pattern_of(names: AbstractSet[bytes]) -> re.Pattern[bytes]:
    """Finds the lines with one of `names` (lower case), in any case; groups: the name as sent, the value.

    Letters stand as classes, not under IGNORECASE, and names are grouped by their first letter, which is
    looked at before all else: so a line of no interest is passed in a few steps. Behind a CR stands an LF, by
    llhttp: as any byte, so that the search begins with one byte alone, which takes half the time.
    """
    groups: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        groups.setdefault(name[:1], []).append(_in_any_case(name[1:]))
    firsts = b"".join(first + first.upper() for first in groups)
    choices = (_in_any_case(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in groups.items())
    return re.compile(rb"\r.(?=[" + firsts + rb"])(" + b"|".join(choices) + rb"):([^\r]*)", re.DOTALL)


def without(block: bytes, names: AbstractSet[bytes]) -> bytes:
    """`block` without the lines that have one of `names` (lower case)."""
    lines = block.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in names)


def list_tokens(values: Iterable[bytes]) -> set[bytes]:
    """The members of a comma-separated header, in lower case, over all its lines."""
    return {token for value in values for part in value.split(b",") if (token := part.strip().lower())}


def _in_any_case(text: bytes) -> bytes:
    return b"".join(
        b"[%c%c]" % (letter, letter - 32) if 97 <= letter <= 122 else re.escape(bytes([letter]))
        for letter in text
    )
