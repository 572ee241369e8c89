"""How often somebody may try to sign in: bounds for an address and for all together. Decides only."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_SECONDS = 300.0
MAX_OF_ADDRESS = 10
"""Failures within the window: people mistype, programs guess."""

MAX_OF_ALL = 200
"""The same of all addresses, for whoever has many; also the most that is remembered."""

MAX_ADDRESSES = 1_000
"""That are remembered: each has failed at least once, and all together at most `MAX_OF_ALL` times within the
window."""


class Throttle:
    """Counts failures."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=MAX_OF_ALL)

    def __repr__(self) -> str:
        return f"<Throttle {len(self._failures)} addresses>"

    def wait_seconds(self, address: str, now: float) -> int:
        """Whole seconds until `address` may try again; 0 for now."""
        own = self._failures.get(address, deque())
        waits = [
            times[0] + WINDOW_SECONDS - now
            for times, most in ((own, MAX_OF_ADDRESS), (self._all, MAX_OF_ALL))
            if len(times) >= most and times[0] + WINDOW_SECONDS > now
        ]
        return max((int(wait) + 1 for wait in waits), default=0)

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        self._failures.setdefault(address, deque(maxlen=MAX_OF_ADDRESS)).append(now)
        self._failures.move_to_end(address)
        self._all.append(now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forget what `address` has mistyped."""
        self._failures.pop(address, None)
