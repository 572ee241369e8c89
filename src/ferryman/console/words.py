"""Figures and times as people read them. Pure; what is rounded has the exact figure beside it."""

from __future__ import annotations

from datetime import datetime, timedelta

NANO = 10**9


def exact_dollars(nanousd: int) -> str:
    """`nanousd` in dollars to the last digit: `$1,234.50`, `$0.000123`."""
    sign, amount = "−" if nanousd < 0 else "", abs(nanousd)
    decimals = f"{amount % NANO:09}".rstrip("0").ljust(2, "0")
    return f"{sign}${amount // NANO:,}.{decimals}"


def short_dollars(nanousd: int) -> str:
    """The same in cents, below a dollar in hundredths of cents, rounded half up; `<$0.0001` for less."""
    sign, amount = "−" if nanousd < 0 else "", abs(nanousd)
    if amount == 0:
        return "$0.00"
    if amount < NANO // 10_000:
        return f"<{sign}$0.0001"
    if amount < NANO - 50_000 and amount % (NANO // 100):
        return f"{sign}$0.{(amount + 50_000) // 100_000:04}"
    cents = (amount + 5_000_000) // 10_000_000
    return f"{sign}${cents // 100:,}.{cents % 100:02}"


def short_count(number: int) -> str:
    """A count in at most four figures: `950`, `12.3k`, `4.56M`."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            scaled = number / size
            decimals = 2 if scaled < 10 else 1 if scaled < 100 else 0
            return f"{scaled:.{decimals}f}{unit}"
    return str(number)


def percent(part: int, whole: int) -> str:
    """`part` of `whole`, such as `12.3 %`; a dash where there is no whole."""
    if whole <= 0:
        return "–"
    share = 100 * part / whole
    return f"{share:.1f} %" if share < 99.95 and share > 0 else f"{share:.0f} %"


def seconds_text(seconds: float | None) -> str:
    """A length of time: `840 µs`, `12 ms`, `1.24 s`, `3 min 12 s`, `2 h 5 min`, `4 d`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        milliseconds = seconds * 1e3
        short = f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms"
        return short if milliseconds >= 1 else f"{seconds * 1e6:.0f} µs"
    whole = round(seconds)
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    if whole < 172_800:
        hours, rest = divmod(whole, 3600)
        return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    return f"{whole // 86_400} d"


def distance_text(moment: datetime, now: datetime) -> str:
    """How far away `moment` is: `just now`, `3 min ago`, `in 5 d`."""
    passed = now - moment
    if abs(passed) < timedelta(seconds=2):
        return "just now"
    seconds = abs(passed.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size * (2 if size > 60 else 1):
            number = round(seconds / size)
            return f"{number} {unit} ago" if passed > timedelta(0) else f"in {number} {unit}"
    return "just now"


def bytes_text(number: int | None) -> str:
    """A size: `512 B`, `3.4 kB`, `12.0 MB`."""
    if number is None:
        return "–"
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
