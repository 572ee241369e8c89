"""Dollars of JSON as whole nano-dollars; the way back is `ferryman.control.spend_row.dollars_of`."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

MAX_DOLLARS = 10**9
"""A billion: in nano-dollars it still fits the integers of both databases."""

_STEP = Decimal("1e-9")


def nanousd_of(dollars: Decimal) -> int:
    """`dollars` in nano-dollars; what is finer than one is left off, so that no cap is above what was meant.

    Raises:
        ValueError: it is negative, more than `MAX_DOLLARS`, or no number.
    """
    if not dollars.is_finite() or (dollars.is_signed() and dollars != 0) or dollars > MAX_DOLLARS:
        raise ValueError(str(dollars))
    # 10 digits before the point and 9 behind it are less than the 28 of the default context.
    return int(dollars.quantize(_STEP, ROUND_FLOOR).scaleb(9))
