"""Status lines, made once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus} | {529: b"Overloaded"}

STATUS_LINES: Final = {code: b"HTTP/1.1 %d %b" % (code, _PHRASES.get(code, b"")) for code in range(1000)}
"""Status code → status line. The phrase is ours: it carries no meaning (RFC 9112, section 4)."""
