"""What the cells of a row come to. Pure; see `ferryman.limits.admission` for what is in them."""

from __future__ import annotations

from ferryman.limits.layout import CELL_WORDS, COUNT, PREVIOUS

GAUGE_EPOCH = 2
"""Of what counts at once; 1 is the start of a window without end."""

MINUTE_MS = 60_000


def sum_in(cells: tuple[int, ...], epoch: int, word: int = COUNT) -> int:
    """What the cells of a budget or a gauge come to in an epoch; of a budget also `SPENT`."""
    total = 0
    for begun, count in zip(cells[::CELL_WORDS], cells[word::CELL_WORDS], strict=True):
        if begun == epoch:
            total += count
    return total


def minutes_in(cells: tuple[int, ...], epoch: int) -> tuple[int, int]:
    """What the cells of a rate come to in the minute `epoch`, and in the one before."""
    used = before = 0
    for at in range(0, len(cells), CELL_WORDS):
        late = cells[at] - epoch
        if late == 0:
            used += cells[at + COUNT]
            before += cells[at + PREVIOUS]
        elif late == -1:
            before += cells[at + COUNT]
        elif late == 1:  # its worker has looked at the clock later
            used += cells[at + COUNT] + cells[at + PREVIOUS]
    return used, before


def rate_of(used: int, before: int, now_seconds: float) -> int:
    """How much there was in the last 60 seconds, by the estimate, rounded up.

    Args:
        used: in this minute.
        before: in the one before.
        now_seconds: the Unix time.
    """
    return used - (-before * (MINUTE_MS - int(now_seconds * 1_000) % MINUTE_MS) // MINUTE_MS)
