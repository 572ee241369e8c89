"""Keeping what becomes of each exchange: in the journal first, then told to whoever listens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ferryman.errors import JournalUnwritable, Overloaded
from ferryman.ledger.records import Seen, encode
from ferryman.ledger.writer import JournalWriter
from ferryman.model import Usage
from ferryman.relay.record import opening_of

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange


class Recorder:
    """Writes the records of a worker's exchanges."""

    def __init__(
        self, tell: Callable[[bytes], None], journal: JournalWriter | None = None, *, refuses: bool = True
    ) -> None:
        """Write to `journal`, and `tell` of each entry.

        Args:
            tell: takes the JSON of each `Entry`, once.
            journal: `None` for a worker without a ledger.
            refuses: what cannot be written down does not go upstream (`on_ledger_failure: refuse`).
        """
        self._tell = tell
        self._journal = journal
        self._refuses = refuses

    @property
    def healthy(self) -> bool:
        """Whether what happens is written down, if it is to be."""
        return self._journal is None or self._journal.healthy

    @property
    def refusing(self) -> bool:
        """Whether requests are turned away now, because they could not be written down."""
        return self._refuses and self._journal is not None and not self._journal.healthy

    def opened(self, exchange: Exchange) -> None:
        """Its request is about to go upstream.

        Raises:
            Overloaded: it cannot be written down, and must not go.
        """
        if exchange.settled:  # it was refused meanwhile: there is its record already
            return
        exchange.opening = opening = opening_of(exchange, sends_whole=not exchange.streaming)
        if self._journal is None:
            return
        try:
            self._journal.opened(opening)
        except JournalUnwritable as error:
            if self._refuses:
                raise Overloaded(
                    "Ferryman cannot write its ledger, so nothing goes upstream (`on_ledger_failure`); "
                    "its log says why. Try again in a moment."
                ) from error

    def opened_again(self, exchange: Exchange) -> None:
        """Its request is about to go upstream a second time. It is written down already, so it may."""
        if self._journal is not None:
            again = b'%b,"attempts":%d}' % (exchange.opening[:-1], exchange.attempts + 1)
            with contextlib.suppress(JournalUnwritable):  # then one attempt is told
                self._journal.opened(again)

    def seen(self, exchange_id: str, usage: Usage) -> None:
        """Its stream has told what the input came to. What cannot be written is told by the entry."""
        if self._journal is None:
            return
        try:
            self._journal.seen(encode(Seen(exchange_id, usage)))
        except JournalUnwritable:
            return  # the writer has logged it and tries again

    def closed(self, record: bytes) -> None:
        """An exchange has ended: `record` is the JSON of its `Entry`."""
        if self._journal is not None:
            self._journal.closed(record)
        self._tell(record)

    def sweep(self) -> None:
        """Try a failed journal again; called now and then, since refused requests don't try it."""
        if self._journal is not None:
            self._journal.recover()

    def close(self) -> None:
        """Write what is left."""
        if self._journal is not None:
            self._journal.close()
