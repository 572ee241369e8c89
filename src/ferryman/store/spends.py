"""What was spent, and who may spend it: the way to the counters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ferryman.store import definitions, grants
from ferryman.store.counters import Key
from ferryman.store.definitions import Definition
from ferryman.store.engine import Engines
from ferryman.store.grants import Ask, Machine, State


class Spends:
    """The counters of one database. Methods are as in `ferryman.store.definitions` and `.grants`."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def __repr__(self) -> str:
        return f"<Spends in {self._engines.write.dialect.name}>"

    @property
    def are_shared(self) -> bool:
        """Whether other machines may use the same database."""
        return not self._engines.is_sqlite

    def define(self, wanted: Sequence[Definition], now_seconds: float) -> int:
        """Count these windows; how many were not counted before."""
        return definitions.define(self._engines, wanted, now_seconds)

    def since(self, scopes: Iterable[str]) -> dict[Key, float]:
        """From when on, in Unix time, workers count for themselves what comes to these scopes' counters."""
        return definitions.since(self._engines, scopes)

    def undefine(self, keys: Iterable[Key]) -> None:
        """Count these no more."""
        definitions.undefine(self._engines, keys)

    def reset(self, key: Key, to_nanousd: int) -> int | None:
        """Let a counter go on from there; what it was before, `None` if there is none."""
        return definitions.reset(self._engines, key, to_nanousd)

    def states(self, keys: Iterable[Key], journals: Sequence[str], machine: str = "") -> dict[Key, State]:
        """The counters with these keys."""
        return grants.states(self._engines, keys, journals, machine)

    def keys_of_journal(self, journal: str) -> list[Key]:
        """The counters that this journal's entries came to."""
        return grants.keys_of_journal(self._engines, journal)

    def forget_journal(self, journal: str) -> None:
        """A journal is no more."""
        grants.forget_journal(self._engines, journal)

    def grant(self, machine: str, asks: Sequence[Ask]) -> dict[Key, int]:
        """Grant what is asked for, as far as the caps have room."""
        return grants.grant(self._engines, machine, asks)

    def lower(self, machine: str, given_back: Sequence[tuple[Key, int, int]]) -> None:
        """Grant a machine no more than this."""
        grants.lower(self._engines, machine, given_back)

    def forfeit(self, machine: str) -> int:
        """Take back what a machine that is gone has not spent; how much that is."""
        return grants.forfeit(self._engines, machine)

    def machines(self) -> list[Machine]:
        """All that have shared the database and are not forfeited."""
        return grants.known_machines(self._engines)

    def seen(self, machine: str, host: str, at_microseconds: int) -> None:
        """A machine is there."""
        grants.seen(self._engines, machine, host, at_microseconds)
