"""Reading a Messages event stream as it goes by, in bounded memory.

Line ends may be LF, CRLF or CR, as the event-stream format allows
(https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6).
"""

from __future__ import annotations

from collections.abc import Callable

from ferryman.model import Refusal, Usage
from ferryman.wire.refusal import REFUSAL, note_declined, refusal_of
from ferryman.wire.usage import Report, report_of_event, type_of_event

MAX_EVENT_BYTES = 1 << 20
"""The longest event that is looked into. The two that carry usage stay far below; a longer one
(the result of a server tool, say) is passed over, not held."""

_MARK = b'"message_'
"""Stands in the three events that matter (`message_start`, `message_delta`, `message_stop`), and in no
text: within a JSON string the quote would be escaped. (It is looked for with `find`: `in` on bytes
first tries to read its left side as a number, and what that raises costs more than the search.)"""


_DELTA = b'"content_block_delta"'
_START = b'"content_block_start"'
_FALLBACK = b'"fallback"'
_CONTAINER, _FILE = b'"container"', b'"file_id"'  # `rfind` takes half as long as `find` with these


class WholeEvents:
    """Cuts the bytes of one stream behind whole events, and makes their line ends LF.

    An event longer than `MAX_EVENT_BYTES` is passed over.
    """

    __slots__ = ("_after_cr", "_carry", "_passing_over")

    def __init__(self) -> None:
        self._carry = bytearray()  # the beginning of an event that is not complete
        self._passing_over = False
        self._after_cr = False

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end with a whole event."""
        return not self._carry and not self._passing_over

    def cut(self, data: bytes) -> bytes:
        """The whole events, each with its blank line, that end in `data`, the next bytes; empty for none."""
        if not data:
            return b""
        if self._after_cr or data.find(b"\r") >= 0:
            data = self._with_lf(data)
        if self._carry:
            start = max(len(self._carry) - 1, 0)  # the blank line may be half in the carry
            self._carry += data
            end = self._carry.rfind(b"\n\n", start)
            if end < 0:
                self._bound_carry()
                return b""
            whole, self._carry = bytes(self._carry[: end + 2]), self._carry[end + 2 :]
        else:
            end = data.rfind(b"\n\n")
            if end < 0:
                self._carry += data
                self._bound_carry()
                return b""
            whole = data
            if end + 2 < len(data):
                whole = data[: end + 2]
                self._carry += data[end + 2 :]
        if self._passing_over:
            self._passing_over = False
            whole = whole[whole.find(b"\n\n") + 2 :]
        self._bound_carry()
        return whole

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _bound_carry(self) -> None:
        if len(self._carry) > MAX_EVENT_BYTES:
            self._passing_over = True
            del self._carry[:-1]  # its last byte may begin the blank line


class MessageStream(WholeEvents):
    """Watches the bytes of one stream.

    Attributes:
        usage: what has been reported so far, `None` before `message_start`.
        stopped: `message_stop` has been seen.
        usage_final: `message_delta` has told the final counts: the one with the stop reason, else the last
            before `message_stop`. Those before it tell what was used so far.
        model: that answers, `None` before `message_start`.
        refusal: the answer was refused before it had any output.
        declined: models that handed over to another one → the category of their refusal.
        begun: the answer has some output in it.
        delta_events: `content_block_delta` events, of which each has some output in it.
        delta_bytes: of the reads that brought them.
    """

    __slots__ = (
        "_last",
        "_on_events",
        "_on_start",
        "_told",
        "begun",
        "declined",
        "delta_bytes",
        "delta_events",
        "model",
        "refusal",
        "stopped",
        "usage",
        "usage_final",
    )

    def __init__(
        self,
        on_start: Callable[[Usage], None] = lambda _: None,
        on_events: Callable[[bytes], None] | None = None,
    ) -> None:
        """Tell of some of what is seen.

        Args:
            on_start: hears the usage of `message_start`.
            on_events: hears the whole events of each read in which a container or a file may be told.
        """
        super().__init__()
        self._on_start = on_start
        self._on_events = on_events
        self.usage: Usage | None = None
        self.usage_final = False
        self.stopped = False
        self.model: str | None = None
        self.refusal: Refusal | None = None
        self.declined: dict[str, str | None] = {}
        self.begun = False
        self.delta_events = 0
        self.delta_bytes = 0
        self._last = b""  # the whole events of the last read that brought any
        self._told = False  # some `message_delta` has come

    @property
    def failed(self) -> bool:
        """Whether the last event is an `error`, which is how a stream breaks off."""
        return type_of_event(data_of(self._last.removesuffix(b"\n\n").rpartition(b"\n\n")[2])) == "error"

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        whole = data
        # Most reads bring whole events: then the call is spared, a tenth of the time for an event.
        if self._carry or self._after_cr or not data.endswith(b"\n\n") or data.find(b"\r") >= 0:
            whole = self.cut(data)
            if not whole:
                return
        self._last = whole
        self._read_events(whole)
        if self._on_events is not None and (whole.rfind(_CONTAINER) >= 0 or whole.rfind(_FILE) >= 0):
            self._on_events(whole)

    def _read_events(self, whole: bytes) -> None:
        if deltas := whole.count(_DELTA):
            self.delta_events += deltas
            self.delta_bytes += len(whole)
        hands_over = whole.find(_FALLBACK) >= 0
        if hands_over or not self.begun:
            blocks = whole.count(_START)
            if hands_over:
                blocks -= sum(note_declined(self.declined, data_of(each)) for each in whole.split(b"\n\n"))
            self.begun = self.begun or blocks > 0
        spot = whole.find(_MARK)
        while spot >= 0:
            start = whole.rfind(b"\n\n", 0, spot)
            end = whole.find(b"\n\n", spot)
            self._read_event(data_of(whole[max(start, 0) : end]))
            spot = whole.find(_MARK, end)

    def _read_event(self, data: bytes) -> None:
        if type_of_event(data) == "message_stop":
            self.stopped = True
            self.usage_final = self._told
        else:
            self._take(report_of_event(data))

    def _take(self, found: Report | None) -> None:
        if found is None:
            return
        self.usage = found.usage if self.usage is None else self.usage.updated(found.usage)
        if found.kind == "message_start":
            self.model = found.model
            self._on_start(found.usage)
            return
        self._told = True
        self.usage_final = self.usage_final or found.stop_reason is not None
        if found.stop_reason == REFUSAL and not (self.begun or self.delta_events):
            self.refusal = refusal_of(found.category)


def data_of(event: bytes) -> bytes:
    """The data of an event whose lines end with LF; several `data` lines are joined."""
    values = []
    for line in event.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)
