"""Tells workers of keys, limits and budgets: all at the start, then only the parts that a change touches.

A change is answered when the workers that are connected have it. Changes that other control planes make on
the same database are looked for once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog

from ferryman.control.access.compile import (
    defaults_part,
    gateway_scope,
    keys_part,
    scopes_in,
    scopes_part,
    unknown_scope,
    untouched_in,
    users_part,
)
from ferryman.control.access.counters import Counted
from ferryman.control.feed import FeedServer
from ferryman.errors import StoreError, StoreUnavailable
from ferryman.limits.spec import DEFAULTS, GATEWAY, KEYS, SCOPES, USERS, Scope, part_of_scope
from ferryman.process.messages import MAX_SNAPSHOT_BYTES
from ferryman.settings_limits import GatewayLimits
from ferryman.store.access import Change, number_of
from ferryman.store.access_parts import ScopeRows
from ferryman.store.store import Store
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.access")

LIVE_SECONDS = 1.0
"""How long the answer to a change waits for the workers."""

LOOK_SECONDS = 1.0
"""Between two looks for what other control planes have changed, or for a database that was away."""

POLL_SECONDS = 0.005
"""Between two looks at what workers report, which they do as soon as they have a snapshot."""

FULL = 0.9
"""Of the largest snapshot: the rest is for keys that get more limits."""

MAX_UNKNOWN = 10_000
"""End users and sessions that are held to a budget without being known; of those that come beyond them the
first are forgotten, and asked for again when they come back: what they have spent is in the ledger."""

PARTS = 256
BATCH = 32
"""Parts that are read with one question: an eighth of all keys, which bounds what is in memory at once."""

EVERYTHING = frozenset(f"{kind}{number:02x}" for kind in (KEYS, SCOPES) for number in range(PARTS))


class Publisher:
    """Makes parts of the snapshot of what the database has, and tells them.

    Attributes:
        revision: of the database, that all parts are at least of; `None` until the first time.
    """

    def __init__(
        self,
        store: Store,
        feed: FeedServer,
        limits: GatewayLimits,
        rows: Counted,
        others: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        """Tell nothing yet.

        Args:
            store: has them.
            feed: goes to the workers.
            limits: of the settings.
            rows: hands out those of the table of counters.
            others: parts that are told with ours the first time, when workers are told all that there is.
        """
        self.revision: int | None = None
        self._store = store
        self._feed = feed
        self._limits = limits
        self._rows = rows
        self._placed: dict[str, set[str]] = {}  # by part, as below
        self._limits_in: dict[str, set[str]] = {}
        self._unknown: dict[str, Scope] = {}
        self._others = others
        self._tasks = TaskOwner("access")
        self._lock = asyncio.Lock()  # one at a time: of two the later has read what is newer

    def __repr__(self) -> str:
        return f"<Publisher at revision {self.revision}>"

    async def begin(self) -> None:
        """Tell everything for the first time.

        Raises:
            StoreUnavailable: the database is away; nothing was told, so that workers keep what they hold.
            ValueError: it does not fit into a snapshot.
        """
        async with self._lock:
            revision = await asyncio.to_thread(self._store.access.revision)
            made = await self._made(EVERYTHING)
            made = {name: data for name, data in made.items() if data is not None}
            self._feed.publish({**self._others(), **made, DEFAULTS: defaults_part(self._limits)})
            self.revision = revision

    async def tell(self, parts: Iterable[str]) -> int:
        """Tell these parts as they are now: a few at once, many one batch after the other.

        Of many, scopes go first, so that no key names one that is not there yet; and what is changed
        meanwhile, such as a key that is blocked, is told between two batches.

        Returns:
            The version with which they hold.

        Raises:
            StoreUnavailable: the database is away.
            ValueError: they do not fit into a snapshot; workers keep what they hold.
        """
        names = sorted(parts, reverse=True)
        version = self._feed.version
        for start in range(0, len(names), BATCH):
            async with self._lock:
                made = await asyncio.to_thread(self._compiled, names[start : start + BATCH])
                version = self._feed.publish(made)
        return version

    async def live(self, change: Change) -> bool:
        """Tell what `change` has touched, and wait for the workers that are connected.

        Returns:
            Whether all of them have it within `LIVE_SECONDS`; if not, they get it as they can.
        """
        if self.revision is None:
            return False  # nothing was told yet; this is told with all the rest
        told = asyncio.Event()
        self._tasks.spawn(self._tell_all(change, told), "change")
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                await told.wait()
        except TimeoutError:
            log.warning("workers slow", revision=change.revision, seconds=LIVE_SECONDS)
            return False
        return True

    @property
    def is_full(self) -> bool:
        """Whether no more keys should be made: what is told of them would be too large soon."""
        return self._feed.size_bytes > FULL * MAX_SNAPSHOT_BYTES

    async def close(self) -> None:
        """Tell nothing more."""
        await self._tasks.close()

    async def _tell_all(self, change: Change, told: asyncio.Event) -> None:
        """Tell what a change has touched; `told` is set when the workers that are connected have it."""
        try:
            version = await self.tell(change.parts)
        except (StoreError, ValueError) as error:  # the next look tries it again
            log.error("change not told yet", reason=str(error), revision=change.revision)  # noqa: TRY400  # its words say it all
            return
        if change.revision == (self.revision or 0) + 1:
            self.revision = change.revision
        while any(state.snapshot_version < version for state in self._feed.states.values()):  # noqa: ASYNC110  # of several workers
            await asyncio.sleep(POLL_SECONDS)
        told.set()

    async def look(self) -> None:
        """Tell what has changed since the last look, be it by other control planes.

        Raises:
            StoreUnavailable: the database is away.
        """
        if self.revision is None:
            await self.begin()
            return
        revision, parts = await asyncio.to_thread(self._store.access.touched_since, self.revision)
        if revision != self.revision:
            await self.tell(EVERYTHING if parts is None else parts)
            self.revision = revision

    async def _made(self, parts: Iterable[str]) -> dict[str, bytes | None]:
        names = sorted(parts)
        made: dict[str, bytes | None] = {}
        for start in range(0, len(names), BATCH):
            made |= await asyncio.to_thread(self._compiled, names[start : start + BATCH])
        return made

    def _compiled(self, names: list[str]) -> dict[str, bytes | None]:
        numbers = {
            kind: [number_of(name) for name in names if name.startswith(kind)] for kind in (KEYS, SCOPES)
        }
        made: dict[str, bytes | None] = {}
        with self._store.reading_parts() as reader:
            keys, scopes = reader.keys(numbers[KEYS]), reader.scopes(numbers[SCOPES])
        for number, held in keys.items():
            made[f"{KEYS}{number:02x}"] = keys_part(held, self._limits.share)
        for number, rows in scopes.items():
            name = f"{SCOPES}{number:02x}"
            made[name] = scopes_part(self._with_rows(name, rows))
            if self._limits.names_users:
                made[f"{USERS}{number:02x}"] = users_part(rows, self._limits.share)
        return made

    def _with_rows(self, name: str, rows: ScopeRows) -> list[Scope]:
        """The scopes of a part and those beside them that are not in the database, with rows for all."""
        limits: set[str] = set()

        def row_of(limit: str) -> int:
            limits.add(limit)
            return self._rows.row_of(limit)

        scopes = scopes_in(rows, row_of, self._limits.hold)
        known = {scope.id for scope in scopes}
        if name == part_of_scope(GATEWAY) and (gateway := gateway_scope(self._limits, row_of)):
            scopes.append(gateway)
        self._rows.free(self._limits_in.get(name, set()) - limits)
        self._limits_in[name] = limits
        met = []
        for scope_id, scope in list(self._unknown.items()):
            if scope_id in known:
                self._unknown.pop(scope_id, None)  # it has become known
            elif part_of_scope(scope_id) == name:
                met.append(scope)
        capped = {scope.id for scope in (*scopes, *met) if scope.budgets}
        self._rows.drop(self._placed.get(name, set()) - capped)
        untouched = untouched_in(rows)
        new = [scope for scope in scopes if scope.budgets and scope.id in untouched]
        old = [scope for scope in scopes if scope.budgets and scope.id not in untouched]
        placed = [*self._rows.placed(new, are_new=True), *self._rows.placed(old)]
        placed += self._rows.placed(met, are_met=True)
        self._placed[name] = capped
        by_id = {scope.id: scope for scope in placed}
        return [by_id.get(scope.id, scope) for scope in (*scopes, *met)]

    def meet(self, scope_ids: Iterable[str], today: str) -> None:
        """Tell workers of end users and sessions that have come up, and forget those that came first.

        Args:
            scope_ids: as workers ask for them; others than such are passed over.
            today: the day from which windows of so many days are counted.
        """
        parts = set()
        for scope_id in scope_ids:
            scope = self._unknown.pop(scope_id, None) or unknown_scope(scope_id, self._limits, today)
            if scope is not None:
                self._unknown[scope_id] = scope
                parts.add(part_of_scope(scope_id))
        while len(self._unknown) > MAX_UNKNOWN:
            oldest = next(iter(self._unknown))
            del self._unknown[oldest]
            parts.add(part_of_scope(oldest))
        if parts and self.revision is not None:
            self._tasks.spawn(self._tell_of(parts), "met")

    async def _tell_of(self, parts: Iterable[str]) -> None:
        try:
            await self.tell(parts)
        except (StoreError, ValueError) as error:
            log.error("end users and sessions not told", reason=str(error))  # noqa: TRY400  # its words say it all


async def keep_published(publisher: Publisher) -> None:
    """Look for changes, for ever."""
    away = False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await publisher.look()
            away = False
        except StoreUnavailable as error:
            if not away:
                log.warning("keys not looked at", reason=str(error), now="workers keep those they hold")
            away = True
        except (StoreError, ValueError) as error:
            if not away:
                log.error("keys not told", reason=str(error), now="workers keep those they hold")  # noqa: TRY400  # its words say it all
            away = True
