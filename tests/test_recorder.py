"""What a worker writes down of its exchanges, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ferryman.ledger.tail import ENTRIES, Tail
from ferryman.ledger.writer import JournalWriter
from ferryman.relay.recorder import Recorder
from tests.support.gateway import HeldClock


class Settled:
    """An exchange that was refused before its request could go upstream."""

    settled = True


def test_exchange_that_has_its_record_is_not_opened_behind_it(tmp_path: Path) -> None:
    """It would be open for ever, and be settled a second time when the worker ends."""
    journal = JournalWriter(tmp_path / "1", HeldClock())
    Recorder(lambda _: None, journal).opened(cast("Any", Settled()))
    journal.close()
    tail = Tail(tmp_path / "1", None, ENTRIES)
    assert tail.read().entries == []
    assert tail.live == 0
    tail.close()
