"""The prices in force: the catalog with what the settings file says now."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from ferryman.control.feed import FeedServer
from ferryman.errors import SettingsError
from ferryman.pricing.adjust import adjusted
from ferryman.pricing.catalog import Catalog, load_catalog
from ferryman.process.messages import PRICES, Rereads
from ferryman.settings import Settings
from ferryman.settings_load import reread
from ferryman.settings_prices import price_rules

log = structlog.get_logger("ferryman.prices")

LOOK_SECONDS = 0.5
"""Between two looks at the settings file, so that a change is with the workers within a second."""

_Stamp = tuple[int, int, int]


class Prices:
    """What tokens cost, as the operator wants it now.

    Attributes:
        catalog: in force; another object after a change.
    """

    def __init__(self, settings: Settings, rereads: Rereads | None) -> None:
        """Begin with `settings`; look at the file of `rereads`, if there is one.

        Raises:
            SettingsError: a price cannot be used.
        """
        self._settings = settings
        self._rereads = rereads
        self._shipped = load_catalog()
        self._stamp = self._stamp_now()
        self._rules = price_rules(settings)
        self.catalog: Catalog = adjusted(self._shipped, *self._rules)

    def __repr__(self) -> str:
        return f"<Prices {self.catalog.revision}>"

    @property
    def part(self) -> bytes:
        """What workers are told: the JSON of `PriceRules`."""
        return msgspec.json.encode(self._rules)

    @property
    def may_change(self) -> bool:
        """Whether there is a file that may change them."""
        return self._rereads is not None

    def look(self) -> bool:
        """Whether the file has changed the prices. Reads the file if it is another one than before.

        Raises:
            SettingsError: what it says cannot be used; the prices stay as they were.
        """
        stamp = self._stamp_now()
        if stamp == self._stamp or stamp is None or self._rereads is None:
            return False
        self._stamp = stamp
        rules = price_rules(reread(self._settings, Path(self._rereads.file), self._rereads.names))
        if rules == self._rules:
            return False
        self._rules = rules
        self.catalog = adjusted(self._shipped, *rules)
        return True

    def _stamp_now(self) -> _Stamp | None:
        """What changes with the file; `None` while there is none, as when an editor writes it anew."""
        if self._rereads is None:
            return None
        try:
            found = Path(self._rereads.file).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


async def keep_told(prices: Prices, feed: FeedServer) -> None:
    """Tell the workers the prices whenever the file changes them."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            changed = await asyncio.to_thread(prices.look)
        except SettingsError as error:
            log.error("prices not changed", problems=error.problems, now="the old ones stay in force")  # noqa: TRY400  # its words say it all
            continue
        if changed:
            if feed.version:  # else they are told with all the rest, once that can be read
                feed.publish({PRICES: prices.part})
            log.info("prices changed", revision=prices.catalog.revision)
